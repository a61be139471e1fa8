"""Answers to requests, with scores that can be told apart."""

from collections.abc import Callable, Sequence

import pytest

from finerank.ranking import Ranking, Usage, rank_by_score
from finerank.serving.request import Answer, RerankRequest

AnswerTo = Callable[..., Answer]


@pytest.fixture(scope="session")
def answer_to() -> AnswerTo:
    """`answer_to(request, logits)`: its documents ranked by these logits; by default the last is the best."""

    def make(request: RerankRequest, logits: Sequence[float] | None = None) -> Answer:
        count = len(request.documents)
        logits = [float(index - count + 1) for index in range(count)] if logits is None else logits
        results = rank_by_score(request.documents, logits, top_n=request.top_n)
        seconds = {"queue": 0.001, "encode": 0.002, "forward": 0.0305, "total": 0.034}
        usage = Usage(pairs=count, tokens=10 * count, truncated=0, cached=1, seconds=seconds)
        return Answer(request, Ranking(results, "bge-reranker-v2-m3", usage), "Some CPU", "int8")

    return make
