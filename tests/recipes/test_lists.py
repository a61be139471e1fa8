"""The lists that finerank-mini learns from: whole, graded, and without a shortcut to the answers."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from finerank.io.jsonl import read_objects

DATA = Path(__file__).parents[2] / "recipes/finerank-mini/data"
CHANCE, ROOM = 1 / 6, 0.03

Row = dict[str, object]


def lists(name: str) -> list[dict]:
    return [dict(row) for _, row in read_objects(DATA / f"{name}.jsonl.zst")]


WRITTEN, JUDGED = lists("written"), lists("judged")


def terms(text: str) -> set[str]:
    """The first letters of words, and pairs of characters in scripts without spaces."""
    text = text.lower()
    own = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f"
    words = {word[:5] for word in re.findall(r"[^\W\d_]{3,}|\d+", text) if not re.search(f"[{own}]", word)}
    return words | {run[at : at + 2] for run in re.findall(f"[{own}]+", text) for at in range(len(run) - 1)}


COUNTS = Counter(term for row in WRITTEN for passage in row["passages"] for term in terms(passage))
PASSAGES = 6 * len(WRITTEN)


def bm25(query: str, passage: str) -> float:
    there = terms(passage)
    rarity = sum(math.log(1 + PASSAGES / (COUNTS[term] + 0.5)) for term in terms(query) & there)
    return rarity / (0.4 + 0.6 * len(there) / 30)


CUES: dict[str, Callable[[str, str], float]] = {
    "words shared with the query": lambda query, passage: len(terms(query) & terms(passage)),
    "their share of the passage": lambda query, passage: (
        len(terms(query) & terms(passage)) / max(1, len(terms(passage)))
    ),
    "BM25": bm25,
    "length": lambda query, passage: len(passage),
}


def found(values: Sequence[float], answer: int) -> float:
    """How likely the answer is to be drawn from the passages of the highest value."""
    best = max(values)
    return (values[answer] == best) / list(values).count(best)


@pytest.mark.parametrize("sign", [1, -1], ids=["most", "least"])
@pytest.mark.parametrize("cue", CUES)
def test_no_cheap_cue_finds_the_answers(cue: str, sign: int):
    hits = [
        found([sign * CUES[cue](row["query"], passage) for passage in row["passages"]], row["grades"].index(3))
        for row in WRITTEN
    ]
    assert abs(sum(hits) / len(hits) - CHANCE) <= ROOM


def test_answers_stand_anywhere():
    places = Counter(row["grades"].index(3) for row in WRITTEN)
    assert all(abs(places[place] / len(WRITTEN) - CHANCE) <= ROOM for place in range(6))


def test_passages_without_their_query_do_not_tell_the_answers():
    """A classifier of words and character pairs, trained on other lists, puts the answer first no more often."""
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = HashingVectorizer(n_features=2**16, analyzer="char_wb", ngram_range=(2, 3))
    matrices = [vectorizer.transform(row["passages"]) for row in WRITTEN]
    folds, hits = 5, 0.0
    for fold in range(folds):
        train = [place for place in range(len(WRITTEN)) if place % folds != fold]
        labels = [grade == 3 for place in train for grade in WRITTEN[place]["grades"]]
        model = LogisticRegression(class_weight="balanced", max_iter=200).fit(
            vstack([matrices[i] for i in train]), labels
        )
        for place in range(fold, len(WRITTEN), folds):
            values = model.decision_function(matrices[place]).tolist()
            hits += found(values, WRITTEN[place]["grades"].index(3))
    assert hits / len(WRITTEN) <= CHANCE + ROOM


@pytest.mark.parametrize("rows", [WRITTEN, JUDGED], ids=["written", "judged"])
def test_every_passage_has_a_grade_and_no_list_comes_twice(rows: list[dict]):
    assert all(len(row["grades"]) == len(row["passages"]) == len(set(row["passages"])) for row in rows)
    assert all(grade in (0, 1, 2, 3) for row in rows for grade in row["grades"])
    assert len({row["id"] for row in rows}) == len(rows)


def test_no_list_is_about_a_keyword_trap():
    from finerank.evaluation.keyword_traps import load_traps, trap_languages

    traps = {trap.query for language in trap_languages() for trap in load_traps(language)}
    assert not traps & {row["query"] for row in WRITTEN + JUDGED}


def test_the_licence_of_every_source_is_stated():
    page = (DATA / "README.md").read_text(encoding="utf-8")
    assert {row["source"] for row in JUDGED} <= set(re.findall(r"`([\w-]+)`", page))
