import pytest
from hypothesis import given
from hypothesis import strategies as st

from finerank.text.pool import POOLINGS, pool


@pytest.mark.parametrize(
    ("pooling", "logits", "expected"),
    [
        ("max", [0.5, 2.0, -1.0], (2.0, 1)),
        ("max", [-3.0, -2.0, -2.0], (-2.0, 1)),
        ("first", [0.5, 2.0], (0.5, 1)),
        ("mean", [3.0, -9.0, 1.0, 2.0], (2.0, 0)),
        ("mean", [1.0, 2.0], (1.5, 1)),
    ],
)
def test_pooling(pooling: str, logits: list[float], expected: tuple[float, int]) -> None:
    assert pool(logits, pooling) == expected


@given(st.floats(-50, 50))
def test_one_passage_speaks_for_its_document(logit: float) -> None:
    assert {pool([logit], pooling) for pooling in POOLINGS} == {(logit, 0)}
