"""Every other one-label sequence classifier (ModernBERT, DeBERTa, ...), run by transformers over padded batches.

Only tokens come in: the tokenizer, the cut and the batches are finerank's own, as for every backend. Code from a
model's repository is never run. Needs the extra `transformers`.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from finerank.errors import BrokenModel, MissingExtra, UnsupportedModel
from finerank.scoring.batch import Batch
from finerank.scoring.device import Device
from finerank.scoring.families import is_late
from finerank.scoring.late import late_class
from finerank.scoring.model_files import ModelFiles
from finerank.scoring.torch_backend import DTYPES, check_not_forked, out_of_memory_reported

try:
    import torch
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig, AutoModelForSequenceClassification
    from transformers.utils import logging
except ImportError as error:
    raise MissingExtra("this model's architecture", "transformers") from error


class TransformersBackend:
    """A cross-encoder of any architecture transformers has."""

    padded = True

    def __init__(self, files: ModelFiles, device: Device, threads: int | None = None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device(device.name)
        check_not_forked(self._device)
        self._pad_id = files.pad_id
        with out_of_memory_reported():
            self._model = load_model(files, DTYPES[device.precision]).to(self._device).eval()
        self._takes_types = "token_type_ids" in inspect.signature(self._model.forward).parameters

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        check_not_forked(self._device)
        with out_of_memory_reported(), torch.inference_mode():
            ids, types, mask = (torch.from_numpy(array).to(self._device) for array in batch.padded(self._pad_id))
            types_too = {"token_type_ids": types} if self._takes_types else {}
            logits = self._model(input_ids=ids, attention_mask=mask, **types_too).logits
            return np.asarray(logits.float().cpu().numpy()).reshape(len(batch))

    def close(self) -> None:
        del self._model
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def load_model(files: ModelFiles, dtype: torch.dtype, *, headless: bool = False) -> torch.nn.Module:
    """The model as transformers builds it, with a new head where it has none and `headless` allows that.

    Raises `UnsupportedModel` or `BrokenModel`.
    """
    try:
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False)
        if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            raise ValueError(f"{type(config).__name__} has no sequence classifier")
    except Exception as error:  # ValueError, KeyError, and a validation error of the hub's library
        raise UnsupportedModel(
            f"{files.name}: transformers has no architecture of its own for model_type "
            f"{files.config.get('model_type')!r}. Code from a model's repository is not run; try its ONNX export."
        ) from error
    kind = AutoModelForSequenceClassification
    if is_late(files.config):
        kind = late_class(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)])
    try:
        with quietly():
            model, report = kind.from_pretrained(
                files.folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below: its own error refers to a report that `quietly` hides
                **({"num_labels": 1} if headless else {}),
            )
    except Exception as error:  # safetensors, torch and transformers each raise their own
        raise BrokenModel(f"{files.folder}: transformers cannot load it: {error}. Download it again.") from error
    for key, stored, expected in sorted(report["mismatched_keys"]):
        raise BrokenModel(
            f"{files.folder}: its weights named {key} are {list(stored)}, and config.json makes them {list(expected)}. "
            "Download it again; or if that is the head of another task, start from the encoder without it."
        )
    encoder = f"{model.base_model_prefix}."
    unmade = [key for key in report["missing_keys"] if key.startswith(encoder) and "pooler" not in key]
    if missing := unmade if headless else report["missing_keys"]:
        missing = sorted(missing)[0]
        raise BrokenModel(f"{files.folder}: has no weights named {missing}. An encoder without its head cannot rank.")
    if model.config.num_labels != 1:
        raise UnsupportedModel(f"{files.name}: has {model.config.num_labels} labels; a reranker has one.")
    return model  # type: ignore[no-any-return]


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bars and its reports of weights made anew: what is missing is checked here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
