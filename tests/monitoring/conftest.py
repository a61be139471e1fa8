"""Rankings out of logits, and a clock to turn by hand."""

from collections.abc import Callable, Sequence

import pytest

from finerank.ranking import Document, Ranking, rank_by_score

MakeRanking = Callable[..., Ranking]


class Clock:
    """Stands still until it is turned."""

    def __init__(self, now: float = 1_732_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def ranked() -> MakeRanking:
    """The ranking of documents with these logits, in the caller's order."""

    def make(logits: Sequence[float], model: str = "m", *, truncated: Sequence[bool] | None = None) -> Ranking:
        documents = [Document(f"text {number}") for number in range(len(logits))]
        return Ranking(rank_by_score(documents, logits, truncated=truncated), model)

    return make
