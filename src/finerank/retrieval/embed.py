"""Texts to vectors: the static embedder that ships inside, any model2vec or sentence-transformers model, an endpoint.

Knows nothing of where vectors are kept and how they are searched.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finerank.errors import BrokenModel, EndpointError, InvalidSetting
from finerank.paths import expand
from finerank.retrieval.endpoint import Endpoint
from finerank.scoring.encode import encodable
from finerank.scoring.model_files import EMBEDDED_DIR
from finerank.scoring.text_tokenizer import TextTokenizer, unknown_token
from finerank.scoring.tokenizer import load_tokenizer
from finerank.settings import nearest

Vectors = NDArray[np.float32]

DEFAULT_EMBEDDER = "finerank-embed"
"""The static multilingual embedder that ships inside the package."""

ENDPOINT_BATCH = 64
"""Texts of one request to an endpoint; OpenAI takes 2048, others as few as 64."""

_DTYPES = {"F32": "<f4", "F16": "<f2", "I8": "i1", "I64": "<i8", "I32": "<i4", "F64": "<f8"}
_CHARACTERS_PER_TOKEN = 10
"""Of a text no more than this many characters a token are tokenised; the rest is beyond max_length anyhow."""


class Embedder(Protocol):
    """Texts to vectors, one row each. Queries and passages apart, since many models put a prompt before one of them."""

    def embed_queries(self, texts: Sequence[str]) -> Vectors: ...
    def embed_passages(self, texts: Sequence[str]) -> Vectors: ...


def load_embedder(
    name: str = DEFAULT_EMBEDDER,
    device: str | None = None,
    *,
    model: str = "",
    key: str = "",
    timeout_s: float = 60.0,
) -> Embedder:
    """The embedder of a name: finerank-embed; a local folder or hub id of a model2vec or sentence-transformers model;
    or the URL of an OpenAI-compatible server (http://localhost:11434/v1) with the `model` it shall use.

    Raises `InvalidSetting` if its library is not installed or it cannot be loaded.
    """
    if name.startswith(("http://", "https://")):
        if not model:
            raise InvalidSetting(f"embedder={name}: name the server's model too (embedder_model)")
        return EndpointEmbedder(Endpoint(name, key, timeout_s, attempts=3), model)
    folder = EMBEDDED_DIR / name if (EMBEDDED_DIR / name / "modules.json").is_file() else expand(name)
    if not folder.is_dir() and (folder.exists() or name.startswith((".", "/", "~"))):
        what = "is a file" if folder.exists() else "no such folder"
        raise InvalidSetting(f"embedder={name}: {what}; name the model's folder")
    if _config(name, folder).get("model_type") == "model2vec":
        return StaticEmbedder(folder if folder.is_dir() else _downloaded(name))
    try:
        return SentenceTransformerEmbedder(str(folder) if folder.is_dir() else name, device)
    except ImportError as error:
        raise InvalidSetting(
            f"embedder={name}: needs sentence-transformers: pip install sentence-transformers"
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"embedder={name}: is no sentence-transformers model: {error}") from error


def absolute_name(name: str) -> str:
    """The full path of an embedder in a local folder, which holds in every working directory; else the name."""
    if name.startswith(("http://", "https://")) or (EMBEDDED_DIR / name / "modules.json").is_file():
        return name
    folder = expand(name)
    return os.path.abspath(folder) if os.path.isdir(folder) else name


class StaticEmbedder:
    """A model2vec folder: a text's vector is the mean of its tokens' vectors, scaled to length 1 if its config says so.

    Reads config.json, tokenizer.json and model.safetensors; raises `BrokenModel` if they do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        config = _config(str(folder), folder)
        tensors = read_safetensors(folder / "model.safetensors")
        tokenizer = load_tokenizer(folder / "tokenizer.json")
        if "embeddings" not in tensors:
            raise BrokenModel(f"{folder}/model.safetensors: holds no embeddings; download the model again")
        self._rows = tensors["embeddings"]
        self._mapping, self._weights = tensors.get("mapping"), tensors.get("weights")
        words = len(self._rows) if self._mapping is None else len(self._mapping)
        if tokenizer.get_vocab_size() > words:
            raise BrokenModel(f"{folder}: its tokenizer makes tokens it has no vector for; download the model again")
        self._max_length = int(config.get("max_length") or 512)
        self._normalise = bool(config.get("normalize", True))
        # model2vec leaves the unknown token out of the mean
        self._unknown = unknown_token(tokenizer)
        self._tokenizer = TextTokenizer(tokenizer)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        cut = [encodable(text[: self._max_length * _CHARACTERS_PER_TOKEN]) for text in texts]
        vectors = np.zeros((len(texts), self._rows.shape[1]), np.float32)
        for row, tokens in zip(vectors, self._tokenizer.encode_batch(cut), strict=True):
            ids = np.array([token for token in tokens if token != self._unknown][: self._max_length], np.int64)
            if len(ids):
                row[:] = self._mean(ids)
        if self._normalise:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-32)
        return vectors

    embed_passages = embed_queries

    def _mean(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        rows = self._rows[ids if self._mapping is None else self._mapping[ids]].astype(np.float32)
        if self._weights is not None:
            rows = rows * self._weights[ids][:, None]
        mean: NDArray[Any] = rows.mean(axis=0)
        return mean


class SentenceTransformerEmbedder:
    """A sentence-transformers model, with the prompts it brings for queries and documents."""

    def __init__(self, name: str, device: str | None = None) -> None:
        from sentence_transformers import SentenceTransformer

        from finerank.scoring.torch_backend import check_not_forked

        self._check_not_forked = check_not_forked
        check_not_forked()
        # Pickled weights can run code.
        self._model = SentenceTransformer(name, device=device, model_kwargs={"use_safetensors": True})

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        self._check_not_forked()
        return np.asarray(self._model.encode_query(list(texts), show_progress_bar=False), np.float32)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self._check_not_forked()
        return np.asarray(self._model.encode_document(list(texts), show_progress_bar=False), np.float32)


class EndpointEmbedder:
    """`POST /embeddings` of an OpenAI-compatible server. Raises `EndpointError`."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        parts = [self._embed(texts[start : start + ENDPOINT_BATCH]) for start in range(0, len(texts), ENDPOINT_BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    embed_passages = embed_queries

    def _embed(self, texts: Sequence[str]) -> Vectors:
        # Servers refuse an empty text; a space has a vector too.
        body = {"model": self._model, "input": [text or " " for text in texts], "encoding_format": "float"}
        answer = self._endpoint.post("/embeddings", body)
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in rows], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise EndpointError(f"{self._endpoint.url}: its answer holds no list of embeddings ({error!r})") from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise EndpointError(f"{self._endpoint.url}: answered {len(rows)} embeddings for {len(texts)} texts")
        return vectors


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file, mapped into memory (https://github.com/huggingface/safetensors#format).

    Raises `BrokenModel` if it cannot be read.
    """
    try:
        content = np.memmap(path, np.uint8, mode="r")
        length = int(content[:8].view("<u8")[0])
        header = json.loads(content[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        return {name: _tensor(content[8 + length :], fields) for name, fields in header.items()}
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BrokenModel(f"{path}: not readable as safetensors: {error}. Download it again.") from error


def _tensor(content: NDArray[np.uint8], fields: Mapping[str, Any]) -> NDArray[Any]:
    start, end = fields["data_offsets"]
    if end > len(content):
        raise ValueError(f"it ends after {len(content)} bytes, and a tensor reaches to {end}")
    return content[start:end].view(_DTYPES[fields["dtype"]]).reshape(fields["shape"])


def _config(name: str, folder: Path) -> Mapping[str, Any]:
    """The model's config.json, or nothing if it has none."""
    path = folder / "config.json"
    if not folder.is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

        try:
            path = Path(hf_hub_download(name, "config.json"))
        except EntryNotFoundError:
            return {}
        except (HFValidationError, HfHubHTTPError, OSError) as error:
            hint = nearest(name, [DEFAULT_EMBEDDER])
            raise InvalidSetting(
                f"embedder={name}: neither a local folder nor a hub id that can be downloaded{hint}"
            ) from error
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InvalidSetting(f"{path}: is not JSON; download the model again") from error
    return config if isinstance(config, dict) else {}


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=["config.json", "tokenizer.json", "model.safetensors"]))
