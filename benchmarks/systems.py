"""The systems under test: an adapter each, from a model folder to a function that scores queries.

An adapter uses the system as its documentation tells a user to, on the CPU, with its default batch size, and changes
only what makes the scores comparable: raw logits, pairs cut to 512 tokens. Where a system takes the pairs of many
queries in one call, it gets them so.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

Query = tuple[str, list[str]]
Score = Callable[[list[Query]], list[float]]
"""Queries to the logits of their passages, in the order given."""

REFERENCE = "st-torch"
"""Whose logits the others are held to, and whose speed is 1.00."""


@dataclass(frozen=True, slots=True)
class System:
    """`model` names a folder of `benchmarks.models`; `requirements`, apart by spaces, are what a user installs."""

    label: str
    model: str
    load: Callable[[Path], Score]
    requirements: str
    environment: str = "main"


def finerank(folder: Path, **options: Any) -> Score:
    from finerank import Reranker

    reranker = Reranker.from_pretrained(folder, **{"device": "cpu", **options})

    def score(queries: list[Query]) -> list[float]:
        rankings = reranker.rank_many(queries)
        return [result.logit for ranking in rankings for result in sorted(ranking, key=lambda result: result.index)]

    return score


def sentence_transformers(folder: Path, device: str = "cpu", **options: Any) -> Score:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    model = CrossEncoder(str(folder), device=device, activation_fn=Identity(), **options)
    return lambda queries: model.predict(pairs(queries)).tolist()


def flag_embedding(folder: Path, device: str = "cpu", use_fp16: bool = False) -> Score:
    from FlagEmbedding import FlagReranker

    reranker = FlagReranker(str(folder), use_fp16=use_fp16, devices=device)
    return lambda queries: list(reranker.compute_score(pairs(queries)))


def fastembed(folder: Path) -> Score:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model("bench/minilm", ModelSource(hf="bench/minilm"), model_file="onnx/model.onnx")
    model = TextCrossEncoder("bench/minilm", specific_model_path=str(folder))
    return lambda queries: list(model.rerank_pairs(pairs(queries)))


def flashrank(folder: Path) -> Score:
    from flashrank import Ranker, RerankRequest

    ranker = Ranker("ms-marco-MiniLM-L-12-v2", cache_dir=str(folder))

    def score_one(query: str, passages: list[str]) -> list[float]:
        candidates = [{"id": index, "text": text} for index, text in enumerate(passages)]
        ranked = ranker.rerank(RerankRequest(query, candidates))
        return [_logit(result["score"]) for result in sorted(ranked, key=lambda result: result["id"])]

    return lambda queries: [logit for query, passages in queries for logit in score_one(query, passages)]


def transformers_loop(folder: Path) -> Score:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    @torch.inference_mode()
    def score(queries: list[Query]) -> list[float]:
        encoded = (tokenizer(*pair, truncation=True, return_tensors="pt") for pair in pairs(queries))
        return [model(**pair).logits.item() for pair in encoded]

    return score


def pairs(queries: list[Query]) -> list[tuple[str, str]]:
    return [(query, passage) for query, passages in queries for passage in passages]


def _logit(score: float) -> float:
    """The inverse of the sigmoid, for a system that gives nothing else; its float32 costs up to 1e-3 near +10."""
    score = min(max(float(score), 1e-30), 1 - 2**-25)
    return math.log(score / (1 - score))


_OPENVINO_FP32 = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}

SYSTEMS: Mapping[str, System] = {
    "finerank": System("finerank, own engine, int16", "fp32", finerank, "finerank"),
    "finerank-fp32": System("finerank, own engine, fp32", "fp32", partial(finerank, dtype="fp32"), "finerank"),
    "finerank-torch": System("finerank, torch fp32", "fp32", partial(finerank, backend="torch"), "finerank[torch]"),
    "finerank-bf16": System("finerank, torch bf16", "fp32", partial(finerank, dtype="bf16"), "finerank[torch]"),
    "finerank-onnx": System("finerank, ONNX fp32 by export", "finerank-onnx", finerank, "finerank[onnx]"),
    "finerank-int8": System("finerank, int8 as published", "int8", finerank, "finerank[onnx]"),
    "finerank-int8-export": System("finerank, int8 by export", "finerank-int8", finerank, "finerank[onnx]"),
    "st-torch": System("sentence-transformers, torch fp32", "fp32", sentence_transformers, "sentence-transformers"),
    "st-bf16": System(
        "sentence-transformers, torch bf16",
        "fp32",
        partial(sentence_transformers, model_kwargs={"dtype": "bfloat16"}),
        "sentence-transformers",
    ),
    "st-onnx": System(
        "sentence-transformers, ONNX fp32",
        "optimum-onnx",
        partial(sentence_transformers, backend="onnx"),
        "sentence-transformers[onnx]",
        "optimum",
    ),
    "st-openvino": System(
        "sentence-transformers, OpenVINO, its default",
        "optimum-openvino",
        partial(sentence_transformers, backend="openvino"),
        "sentence-transformers[openvino]",
        "optimum",
    ),
    "st-openvino-fp32": System(
        "sentence-transformers, OpenVINO fp32",
        "optimum-openvino",
        partial(sentence_transformers, backend="openvino", model_kwargs=_OPENVINO_FP32),
        "sentence-transformers[openvino]",
        "optimum",
    ),
    "flagembedding": System("FlagEmbedding, torch fp32", "fp32", flag_embedding, "FlagEmbedding"),
    "fastembed": System("fastembed, ONNX fp32", "optimum-onnx", fastembed, "fastembed"),
    "flashrank": System("FlashRank, ONNX int8", "flashrank", flashrank, "FlashRank"),
    "transformers-loop": System("transformers, one pair at a time", "fp32", transformers_loop, "transformers torch"),
}
"""By default OpenVINO computes in bf16 where the CPU has it, and in fp32 elsewhere."""
