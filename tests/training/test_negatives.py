"""Negatives come from the ranks asked for, are never a query's own passages, and are checked by the teacher."""

from collections.abc import Iterable, Sequence

import pytest

from finerank import InvalidSetting, PairScore
from finerank.ranking import sigmoid
from finerank.training.candidates import Bm25
from finerank.training.examples import Example
from finerank.training.negatives import Mined, Mining, mine_negatives, only_relevant

CORPUS = [f"passage {number}" for number in range(100)]


class InOrder:
    """Finds the passages in the order of the corpus."""

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        return [list(range(min(k, len(CORPUS)))) for _ in queries]


class Teacher:
    """A passage's logit is its number, negated and divided by ten, or that of a table."""

    def __init__(self, **logits: float) -> None:
        self.logits = logits
        self.seen: list[str] = []

    def score_pairs(self, pairs: Iterable[tuple[str, str]]) -> list[PairScore]:
        texts = [passage for _, passage in pairs]
        self.seen += texts
        logits = [self.logits[text] if text in self.logits else -int(text.split()[1]) / 10 for text in texts]
        return [PairScore(sigmoid(logit), logit) for logit in logits]


def mine(*examples: Example, teacher: Teacher | None = None, **options: object) -> Mined:
    return mine_negatives(examples, CORPUS, InOrder(), Mining(**options), teacher=teacher)


def added(mined: Mined, own: int = 1) -> list[list[str]]:
    return [list(example.passages[own:]) for example in mined.examples]


def test_the_top_of_the_ranks_is_taken():
    mined = mine(Example("q", ("right",), (2.0,), language="en"), negatives=3, ranks=(5, 10), sample=False)
    assert mined.examples == [
        Example("q", ("right", "passage 4", "passage 5", "passage 6"), (2.0, 0.0, 0.0, 0.0), language="en")
    ]
    assert (mined.mined, mined.short, mined.relabelled, mined.dropped) == (3, 0, 0, {})


def test_a_draw_stays_within_the_ranks_and_follows_the_seed():
    examples = [Example(f"q{number}", ("right",), (1.0,)) for number in range(80)]
    first, again = (added(mine(*examples, negatives=5, ranks=(11, 30), seed=1)) for _ in range(2))
    assert first == again
    assert first != added(mine(*examples, negatives=5, ranks=(11, 30), seed=2))
    drawn = {text for texts in first for text in texts}
    assert drawn == {f"passage {number}" for number in range(10, 30)}
    assert all(len(set(texts)) == 5 for texts in first)
    assert len({tuple(texts) for texts in first}) > 40, "each query has its own draw"


def test_a_query_never_gets_its_own_passages():
    mined = mine(
        Example("q", ("passage 0", "bad"), (1.0, 0.0)),
        Example("q", (" passage  1\n",), (1.0,)),
        Example("other", ("passage 2",), (1.0,)),
        negatives=2, ranks=(1, 2), sample=False,
    )  # fmt: skip
    assert mined.examples[0].passages == ("passage 0", "bad", "passage 2", "passage 3")
    assert mined.examples[1].passages[1:] == ("passage 2", "passage 3")
    assert mined.examples[2].passages[1:] == ("passage 0", "passage 1")
    assert mined.dropped == {"own passage": 5}


def test_the_same_text_is_taken_once():
    corpus = ["reset  it", "reset it", "reset them"]
    examples = [Example("reset", ("right",), (1.0,))]
    mined = mine_negatives(examples, corpus, Bm25(corpus), Mining(negatives=3))
    assert mined.mined == 2
    assert mined.short == 1
    assert mined.dropped == {"duplicate": 1}


def test_candidates_above_the_margin_are_dropped():
    # The lowest positive has -0.5, so with a margin of 0.2 nothing above -0.7 is taken: passages 0 to 6 are out.
    teacher = Teacher(high=9.0, low=-0.5, bad=-7.0)
    example = Example("q", ("high", "low", "bad"), (1.0, 2.0, 0.0))
    mined = mine(example, teacher=teacher, negatives=2, ranks=(1, 50), sample=False, margin=0.2)
    assert mined.examples[0].passages[3:] == ("passage 7", "passage 8")
    assert mined.examples[0].labels == (1.0, 2.0, 0.0, 0.0, 0.0)
    assert mined.examples[0].teacher == (9.0, -0.5, -7.0, -0.7, -0.8)
    assert mined.dropped == {"above margin": 7}


def test_candidates_above_the_maximum_score_are_dropped():
    teacher = Teacher(right=9.0)
    example = Example("q", ("right",), (1.0,))
    mined = mine(example, teacher=teacher, negatives=1, sample=False, max_score=sigmoid(-0.35))
    assert added(mined) == [["passage 4"]]
    assert mined.dropped == {"above max_score": 4}


def test_relabelled_candidates_carry_the_teachers_score():
    teacher = Teacher(right=-0.05)
    example = Example("q", ("right",), (1.0,))
    mined = mine(example, teacher=teacher, negatives=2, sample=False, false_negatives="relabel")
    assert mined.examples[0].passages == ("right", "passage 0", "passage 1")
    assert mined.examples[0].labels == (1.0, sigmoid(0.0), 0.0)
    assert mined.examples[0].teacher == (-0.05, 0.0, -0.1)
    assert (mined.relabelled, mined.dropped) == (1, {})


def test_the_teacher_sees_no_more_than_it_must():
    teacher = Teacher(right=9.0)
    mine(Example("q", ("right",), (1.0,)), teacher=teacher, negatives=3, sample=False)
    assert teacher.seen == ["right", "passage 0", "passage 1", "passage 2"]


def test_a_query_that_runs_out_is_short():
    mined = mine(Example("q", ("right",), (1.0,)), teacher=Teacher(right=-9.0), negatives=2, ranks=(1, 5))
    assert (mined.mined, mined.short, mined.dropped) == (0, 1, {"above margin": 5})
    assert mined.examples[0].teacher == (-9.0,)


def test_only_what_is_relevant_stays():
    example = Example("q", ("a", "b", "c"), (1.0, 0.0, 2.0), (3.0, 2.0, 1.0))
    assert only_relevant(example) == Example("q", ("a", "c"), (1.0, 2.0))
    assert only_relevant(Example("q", ("a",), (0.0,))) == Example("q", ("a",), (0.0,))


def test_without_a_positive_nothing_is_taken():
    mined = mine(Example("q", ("wrong",), (0.0,)), negatives=2)
    assert mined.examples == [Example("q", ("wrong",), (0.0,))]


def test_without_a_teacher_no_example_keeps_logits_for_some_of_its_passages():
    (example,) = mine(Example("q", ("right",), (1.0,), (3.0,)), negatives=2).examples
    assert example.teacher is None
    assert len(example.passages) == 3


def test_progress_reaches_the_end():
    seen: list[tuple[int, int]] = []
    examples = [Example(f"q{number}", ("right",), (1.0,)) for number in range(100)]
    mine_negatives(examples, CORPUS, InOrder(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 100), (100, 100)]
    assert mine_negatives([], CORPUS, InOrder()).examples == []


@pytest.mark.parametrize(
    "options", [{"negatives": 0}, {"ranks": (0, 5)}, {"ranks": (6, 5)}, {"max_score": 2}, {"false_negatives": "keep"}]
)
def test_wrong_options_are_named(options: dict[str, object]):
    with pytest.raises(InvalidSetting, match=next(iter(options))):
        Mining(**options)
