import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from finerank.errors import FinerankError, InvalidInput, ScoreError
from finerank.evaluation.datasets import JudgedQuery, JudgedSet, read_set
from finerank.evaluation.evaluate import evaluate
from finerank.evaluation.keyword_traps import load_traps, try_traps
from finerank.evaluation.results import evaluation_from_json, evaluation_json, read_evaluation
from finerank.ranking import Document, Ranking, Usage, rank_by_score
from finerank.testing import OverlapBackend, stub_reranker

LETTERS = tuple(Document(letter, id=letter) for letter in "abcd")


class Fixed:
    """A ranker that gives every document the logit its text has in `logits`, and drops the others."""

    def __init__(self, **logits: float) -> None:
        self.logits = logits
        self.queries: list[str] = []

    def rank(self, query: str, documents: Sequence[str | Document], *, top_n: int | None = None) -> Ranking:
        self.queries.append(query)
        known = [document for document in documents if document.text in self.logits]
        ranked = rank_by_score(known, [self.logits[document.text] for document in known], top_n=top_n)
        results = tuple(replace(result, index=documents.index(result.document)) for result in ranked)
        return Ranking(results, "fixed", Usage(pairs=len(documents), tokens=10, truncated=1, cached=2))


def a_set(name: str = "s", language: str = "en", queries: int = 1, relevant: str = "d") -> JudgedSet:
    judged = tuple(JudgedQuery(f"q{number}", f"query {number}", LETTERS, {relevant: 1}) for number in range(queries))
    return JudgedSet(name, judged, language)


def test_first_stage_and_reranked_are_measured_on_the_same_candidates(write_set: Path) -> None:
    evaluation = evaluate(stub_reranker(), [read_set(write_set())], measures=["RR@10", "R@50"])
    first, second = evaluation.sets[0].queries
    assert first.first_stage == pytest.approx({"RR@10": 1 / 3, "R@50": 1})
    assert first.reranked == {"RR@10": 1.0, "R@50": 1.0}
    assert (first.first_stage_right, first.reranked_right) == (False, True)
    assert second.reranked == {"RR@10": 1.0, "R@50": 0.5}, "what the first stage did not find stays lost"
    assert (first.length, first.candidates, first.text) == (len("reset button"), 3, "")


def test_equal_logits_keep_the_first_stages_order() -> None:
    evaluation = evaluate(Fixed(a=0, b=0, c=0, d=0), [a_set(relevant="b")], measures=["RR@10"])
    assert evaluation.sets[0].queries[0].reranked == {"RR@10": 0.5}


def test_a_candidate_the_ranker_leaves_out_is_not_found() -> None:
    evaluation = evaluate(Fixed(a=1.0), [a_set()], measures=["RR@10"])
    query = evaluation.sets[0].queries[0]
    assert (query.first_stage["RR@10"], query.reranked["RR@10"]) == (0.25, 0.0)


def test_a_query_without_candidates_counts_0_and_is_not_put_to_the_ranker() -> None:
    ranker = Fixed(a=1, b=1, c=1, d=2)
    judged = JudgedSet("s", (JudgedQuery("none", "q", (), {"a": 1}), *a_set().queries))
    evaluation = evaluate(ranker, [judged], measures=["RR@10"])
    assert evaluation.by_set()[0].reranked == {"RR@10": 0.5}
    assert ranker.queries == ["query 0"]
    assert evaluation.model == "fixed"


def test_averages_count_each_set_and_each_language_once() -> None:
    good, bad = Fixed(a=0, b=0, c=0, d=1), [a_set("one", queries=8), a_set("two", relevant="a")]
    evaluation = evaluate(good, [*bad, a_set("drei", "de", relevant="x")], measures=["RR@10"])
    assert {row.name: row.reranked["RR@10"] for row in evaluation.by_set()} == {"one": 1, "two": 0.5, "drei": 0}
    languages = {row.name: row for row in evaluation.by_language()}
    assert languages["en"].reranked["RR@10"] == 0.75
    assert (languages["en"].sets, languages["en"].queries) == (2, 9)
    sets, by_language = evaluation.overall()
    assert sets.reranked["RR@10"] == pytest.approx(0.5)
    assert by_language.reranked["RR@10"] == pytest.approx(0.375)
    assert by_language.first_stage["RR@10"] == pytest.approx((0.25 + 1) / 4)


def test_depth_and_max_queries_cut_both_stages_alike() -> None:
    evaluation = evaluate(Fixed(a=0, b=0, c=0, d=1), [a_set(queries=5)], measures=["RR@10"], depth=3, max_queries=2)
    assert len(evaluation.sets[0].queries) == 2
    assert all(query.first_stage == query.reranked == {"RR@10": 0.0} for query in evaluation.sets[0].queries)
    assert (evaluation.depth, evaluation.max_queries) == (3, 2)


def test_cost_adds_up() -> None:
    evaluation = evaluate(Fixed(a=1), [a_set("one", queries=2), a_set("two")])
    cost = evaluation.cost
    assert (cost.pairs, cost.tokens, cost.truncated, cost.cached) == (12, 30, 3, 6)
    assert cost.seconds > 0
    assert cost.pairs_per_s == pytest.approx(12 / cost.seconds)


def test_progress_counts_pairs_over_all_sets() -> None:
    seen: list[tuple[int, int]] = []
    evaluate(Fixed(a=1), [a_set("one", queries=2), a_set("two")], progress=lambda *counts: seen.append(counts))
    assert seen == [(4, 12), (8, 12), (12, 12)]


def test_an_error_of_a_pair_names_set_and_query() -> None:
    nan = stub_reranker(OverlapBackend(nan_word="c"))
    with pytest.raises(ScoreError, match=r"s, query 'q0': documents\[2\]"):
        evaluate(nan, [a_set()])
    with pytest.raises(InvalidInput, match="s, query 'q': query is empty"):
        evaluate(stub_reranker(), [JudgedSet("s", (JudgedQuery("q", " ", LETTERS, {"a": 1}),))])


def test_a_ranker_that_repeats_a_document_is_caught() -> None:
    class Repeating:
        def rank(self, query, documents, *, top_n=None):
            ranking = stub_reranker().rank(query, documents)
            return Ranking((ranking[0], ranking[0]), "m")

    with pytest.raises(FinerankError, match="s, query 'q0': the ranker returned a document twice"):
        evaluate(Repeating(), [a_set()])


def test_text_is_kept_only_when_asked_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plain = json.dumps(evaluation_json(evaluate(Fixed(a=1), [a_set()])))
    asked = json.dumps(evaluation_json(evaluate(Fixed(a=1), [a_set()], with_text=True)))
    assert "query 0" not in plain
    assert "query 0" in asked
    assert "query 0" not in caplog.text


def test_an_evaluation_comes_back_from_its_json(tmp_path: Path) -> None:
    evaluation = evaluate(Fixed(a=1, d=2), [a_set(queries=2), a_set("t", "de")], depth=3, max_queries=7, seed=1)
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(evaluation_json(evaluation)), encoding="utf-8")
    assert read_evaluation(path) == evaluation == evaluation_from_json(evaluation_json(evaluation))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 99}', '{"format": 1, "sets": [{}]}'])
def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"other.json: is not an evaluation .*--out DIR"):
        read_evaluation(path)
    with pytest.raises(InvalidInput, match="No such file"):
        read_evaluation(tmp_path / "missing.json")


def test_traps_count_where_the_answer_is_first() -> None:
    traps = load_traps("en")

    class Reads:
        def rank(self, query, documents, *, top_n=None):
            answers = {trap.answer for trap in traps[:3]}
            return Ranking(
                rank_by_score([Document(d) for d in documents], [float(d in answers) for d in documents]), ""
            )

    outcomes = try_traps(Reads(), traps)
    lucky = sum(trap.passages[0] == trap.answer for trap in traps[3:])
    assert sum(outcome.right for outcome in outcomes) == 3 + lucky
    assert [outcome.name for outcome in outcomes] == [trap.name for trap in traps]
    assert {outcome.language for outcome in outcomes} == {"en"}
