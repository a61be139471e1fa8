"""The funnel: what it finds, orders, merges, drops, answers and remembers."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from tests.rag.conftest import TEXTS, passage

from finerank.errors import EndpointError, InvalidInput, OutOfMemory
from finerank.rag.answer_cache import AnswerCache
from finerank.rag.gate import Effect, Evidence
from finerank.rag.generate import ChatEndpoint
from finerank.rag.pipeline import UNKNOWN, UNKNOWN_IN_CHINESE, CacheKey
from finerank.rag.results import Answer, Search, Stage, answer_from_json, answer_json
from finerank.ranking import RankedDocument, Ranking
from finerank.retrieval.endpoint import Endpoint
from finerank.settings import DEFAULT_MODEL
from finerank.testing import OverlapBackend, ScriptedGenerator, stub_reranker

QUESTION = "reset the router"
HARM = Evidence("stub", "nDCG@10", Effect(-0.2, -0.3, -0.1, 50))


def texts(search: Search) -> list[str]:
    return [each.document.text for each in search.passages]


def test_the_funnel_narrows_and_counts(make_pipeline):
    found = make_pipeline(settings={"rerank_top": 3, "prompt_top": 1, "threshold": 0.52}).search(QUESTION)
    assert texts(found) == [TEXTS[2]]
    assert [(each.rank, each.recall_rank) for each in found.reranked] == [(1, 3), (2, 4), (3, 2)]
    assert found.passages[0].score == found.reranked[0].score > 0.5
    assert [(stage.name, stage.given, stage.kept) for stage in found.stages] == [
        ("recall", 0, 4), ("rerank", 4, 4), ("merge", 4, 3), ("rules", 3, 2),
    ]  # fmt: skip
    assert [drop.reason for drop in found.dropped] == ["its score 0.500 is below 0.52"]
    assert all(stage.seconds >= 0 for stage in found.stages)
    assert found.decision.order == "rerank"


def test_a_light_reranker_goes_first(make_pipeline):
    light, ranker = OverlapBackend(), OverlapBackend()
    pipeline = make_pipeline(
        settings={"light_top": 2, "light_model": "light"}, light=stub_reranker(light), ranker=stub_reranker(ranker)
    )
    found = pipeline.search(QUESTION)
    assert [stage.name for stage in found.stages][:3] == ["recall", "light rerank", "rerank"]
    assert sum(map(len, light.batches)) == 4
    assert sum(map(len, ranker.batches)) == 2
    assert len(found.reranked) == 2


def test_nearly_equal_passages_are_merged(make_pipeline):
    twin = TEXTS[2].replace("To reset", "To  RESET")
    found = make_pipeline([*TEXTS, twin]).search(QUESTION)
    assert texts(found).count(TEXTS[2]) + texts(found).count(twin) == 1
    assert len(found.reranked[0].merged) == 1
    assert len(found.reranked) == 4


def test_passages_are_judged_under_their_headings(make_pipeline):
    documents = [passage("Hold it for ten seconds.", 1, heading="Router > Reset"), passage("Router reset", 2)]
    seen = []

    class Spy:
        def rank(self, query, documents, *, top_n=None):
            seen.extend(document.text for document in documents)
            return stub_reranker().rank(query, documents, top_n=top_n)

    found = make_pipeline(documents, ranker=Spy()).search(QUESTION)
    assert seen[0] == "Router > Reset\nHold it for ten seconds."
    assert found.passages[0].document.text in ("Hold it for ten seconds.", "Router reset")


@pytest.mark.parametrize(
    ("evidence", "alert", "setting", "order"),
    [
        (None, "", "auto", "rerank"),
        (HARM, "", "auto", "keep"),
        (replace(HARM, overall=Effect(-0.01, -0.05, 0.03, 50)), "", "auto", "blend"),
        (replace(HARM, overall=Effect(0.1, 0.05, 0.2, 50)), "", "auto", "rerank"),
        (replace(HARM, scripts={"latin": Effect(0.1, 0.05, 0.2, 30)}), "", "auto", "rerank"),
        (replace(HARM, scripts={"latin": Effect(0.1, 0.05, 0.2, 3)}), "", "auto", "keep"),
        (replace(HARM, scripts={"han": Effect(0.1, 0.05, 0.2, 30)}), "", "auto", "keep"),
        (None, "low scores", "auto", "blend"),
        (HARM, "low scores", "rerank", "rerank"),
        (None, "", "keep", "keep"),
    ],
)
def test_the_gate_does_no_harm(make_pipeline, evidence, alert: str, setting: str, order: str):
    found = make_pipeline(settings={"gate": setting}, evidence=evidence, alert=lambda: alert).search(QUESTION)
    assert found.decision.order == order
    firsts = {"rerank": TEXTS[2], "keep": TEXTS[0], "blend": TEXTS[2]}
    assert texts(found)[0] == firsts[order]
    if order == "keep":
        assert texts(found) == list(TEXTS)
        assert {each.score for each in found.passages} == {None}
    assert found.decision.why


def test_the_default_model_keeps_off_scripts_it_cannot_read(make_pipeline):
    pipeline = make_pipeline(model=DEFAULT_MODEL)
    assert pipeline.search("πώς επαναφέρω τον δρομολογητή;").decision.order == "keep"
    assert pipeline.search(QUESTION).decision.order == "rerank"
    assert make_pipeline(model="another").search("πώς επαναφέρω τον δρομολογητή;").decision.order == "rerank"


def test_a_ranker_that_fails_leaves_the_first_order_and_says_so(make_pipeline):
    broken = stub_reranker(OverlapBackend(error=OutOfMemory("no memory")))
    found = make_pipeline(ranker=broken).search(QUESTION)
    assert texts(found) == list(TEXTS)
    assert found.decision.order == "keep"
    assert "no memory" in found.notes[0]
    assert "[3]" in make_pipeline(ranker=broken).ask(QUESTION).text
    found = make_pipeline(light=broken).search(QUESTION)
    assert found.decision.order == "rerank"
    assert "no memory" in found.notes[0]


def test_a_ranker_that_failed_open_leaves_the_first_order_too(make_pipeline):
    class FailsOpen:
        def rank(self, query, documents, *, top_n=None):
            results = tuple(RankedDocument(each, 0.0, 0.0, n, n + 1) for n, each in enumerate(documents))
            return Ranking(results, "m", degraded="not reranked, this is the order given: it broke")

    found = make_pipeline(ranker=FailsOpen(), settings={"threshold": 0.3}).search(QUESTION)
    assert texts(found) == list(TEXTS)
    assert found.decision.order == "keep"
    assert "it broke" in found.notes[0]


def test_without_a_generator_the_answer_is_the_best_sentences(make_pipeline):
    answer = make_pipeline(settings={"threshold": 0.52}).ask(QUESTION)
    assert answer.kind == "extractive"
    assert answer.text.split("\n") == [
        "To reset the router, hold the reset button for ten seconds. [1]",
        "A reset of the lamp takes a minute or two. [2]",
    ]
    assert [(each.number, each.source) for each in answer.citations] == [(1, "/docs/2.md"), (2, "/docs/3.md")]


@pytest.mark.parametrize("generator", [None, ScriptedGenerator(["never asked"])])
def test_what_no_passage_answers_is_not_known(make_pipeline, generator):
    answer = make_pipeline(settings={"threshold": 0.9}, generator=generator).ask(QUESTION)
    assert (answer.text, answer.kind, answer.citations) == (UNKNOWN, "unknown", ())
    assert generator is None or not generator.asked
    assert make_pipeline([]).ask(QUESTION).kind == "unknown"
    assert make_pipeline([]).ask("如何重置路由器？").text == UNKNOWN_IN_CHINESE


def test_a_generator_writes_from_the_numbered_passages(make_pipeline):
    generator = ScriptedGenerator(["Hold the button", " [2], then wait [1, 2]【1】."])
    events = list(make_pipeline(settings={"prompt_top": 2}, generator=generator).stream(QUESTION))
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert [event for event in events if isinstance(event, str)] == list(generator.pieces)
    assert [type(event) for event in events].index(Search) == sum(isinstance(event, Stage) for event in events)
    assert (answer.kind, answer.generator, answer.notes) == ("generated", "scripted", ())
    assert [(each.number, each.source) for each in answer.citations] == [(2, "/docs/3.md"), (1, "/docs/2.md")]
    prompt = generator.asked[0][1]["content"]
    assert f"[1] {TEXTS[2]}\n\n[2] {TEXTS[3]}" in prompt
    assert "[3]" not in prompt
    assert prompt.endswith(f"Question: {QUESTION}")


def test_a_citation_of_nothing_is_noted(make_pipeline):
    answer = make_pipeline(generator=ScriptedGenerator(["So [9] and [1]."])).ask(QUESTION)
    assert [each.number for each in answer.citations] == [1]
    assert "cites [9]" in answer.notes[0]


def test_a_generator_that_breaks_off_leaves_what_it_wrote(make_pipeline):
    generator = ScriptedGenerator(["Hold the button [1]"], EndpointError("broke off"))
    answer = make_pipeline(generator=generator).ask(QUESTION)
    assert (answer.text, answer.kind) == ("Hold the button [1]", "generated")
    assert "broke off" in answer.notes[0]
    assert not answer.complete


def test_what_a_generator_thinks_is_neither_shown_nor_cited(make_pipeline):
    generator = ScriptedGenerator(["<thi", "nk>maybe [3]", "?</think>\n\nHold", " it [1", "-2]."])
    events = list(make_pipeline(generator=generator).stream(QUESTION))
    answer = events[-1]
    assert answer.text == "".join(event for event in events if isinstance(event, str)) == "Hold it [1-2]."
    assert [each.number for each in answer.citations] == [1, 2]
    assert answer.complete


@pytest.mark.parametrize("error", [EndpointError("its answer is cut at 9 tokens"), None])
def test_a_generator_that_only_thinks_leaves_the_sentences(make_pipeline, error):
    answer = make_pipeline(generator=ScriptedGenerator(["<think>maybe [3], or"], error)).ask(QUESTION)
    assert answer.kind == "extractive"
    assert "maybe" not in answer.text
    assert ("cut at 9" if error else "answered nothing") in answer.notes[0]


def test_a_rewritten_question_holds_no_thoughts(make_pipeline):
    generator = ScriptedGenerator(["<think>\nhm\n</think>\n\nhow do I reset?"])
    found = make_pipeline(settings={"rewrite": "generator"}, generator=generator).search("rset?")
    assert found.query == "how do I reset?"


def test_an_answer_that_was_cut_is_shown_as_such_and_not_remembered(make_pipeline, tmp_path: Path, endpoint):
    answers = CacheKey(AnswerCache(tmp_path / "answers.sqlite", 60), lambda: 1)
    endpoint.reason = "length"
    pipeline = make_pipeline(generator=ChatEndpoint(Endpoint(endpoint.url), "tiny"), answers=answers)
    answer = pipeline.ask(QUESTION)
    assert (answer.text, answer.kind) == ("Hold the button [1].", "generated")
    assert "generator_max_tokens" in answer.notes[0]
    endpoint.reason = "stop"
    again = pipeline.ask(QUESTION)
    assert (again.cached, again.notes) == (False, ())
    assert pipeline.ask(QUESTION).cached


@pytest.mark.parametrize("error", [EndpointError("is down"), None])
def test_a_generator_that_says_nothing_leaves_the_sentences(make_pipeline, error):
    answer = make_pipeline(generator=ScriptedGenerator([], error)).ask(QUESTION)
    assert answer.kind == "extractive"
    assert answer.text.endswith("]")
    assert ("is down" if error else "answered nothing") in answer.notes[0]


def test_the_question_can_be_rewritten(make_pipeline):
    settings = {"rewrite": "template", "rewrite_template": "router: {question}"}
    found = make_pipeline(settings=settings).search("reset the {question}")
    assert (found.question, found.query) == ("reset the {question}", "router: reset the {question}")
    assert found.stages[0].name == "rewrite"
    generator = ScriptedGenerator(["how do I reset\n", "the router"])
    assert (
        make_pipeline(settings={"rewrite": "generator"}, generator=generator).search("rset?").query == "how do I reset"
    )
    failing = ScriptedGenerator([], EndpointError("is down"))
    found = make_pipeline(settings={"rewrite": "generator"}, generator=failing).search(QUESTION)
    assert found.query == QUESTION
    assert "is down" in found.notes[0]
    assert "no generator" in make_pipeline(settings={"rewrite": "generator"}).search(QUESTION).notes[0]


def test_an_empty_question_is_refused(make_pipeline):
    with pytest.raises(InvalidInput, match="empty"):
        make_pipeline().ask(" ")


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def rank(self, query, documents, *, top_n=None) -> Ranking:
        self.calls += 1
        return stub_reranker().rank(query, documents, top_n=top_n)


def test_answers_are_remembered_until_they_expire_or_the_index_changes(make_pipeline, tmp_path: Path):
    now, version, ranker = [1000.0], [1], Counting()
    answers = CacheKey(AnswerCache(tmp_path / "answers.sqlite", 60, lambda: now[0]), lambda: version[0])

    def ask(question: str = QUESTION, **settings: object) -> tuple[bool, str]:
        before = ranker.calls
        answer = make_pipeline(ranker=ranker, answers=answers, settings=settings).ask(question)
        assert answer.cached == (ranker.calls == before)
        assert answer.question == question
        assert answer.citations
        return answer.cached, answer.text

    assert ask() == (False, ask()[1])
    assert ask()[0]
    assert ask(f"  {QUESTION.upper()}?!  ")[0]
    assert not ask("reset the rooter")[0]
    assert not ask("reset the router now")[0]
    assert not ask(prompt_top=2)[0]
    learnt = Evidence("m", "nDCG@10", Effect(0.1, 0.05, 0.2, 30))
    assert not make_pipeline(ranker=ranker, answers=answers, evidence=learnt).ask(QUESTION).cached
    now[0] += 61
    assert not ask()[0]
    version[0] = 2
    assert not ask()[0]
    assert ask()[0]


def test_incomplete_answers_are_not_remembered(make_pipeline, tmp_path: Path):
    answers = CacheKey(AnswerCache(tmp_path / "answers.sqlite", 60), lambda: 1)
    broken = ScriptedGenerator(["Hold"], EndpointError("broke off"))
    assert not make_pipeline(generator=broken, answers=answers).ask(QUESTION).cached
    whole = ScriptedGenerator(["Hold it [1]."])
    assert make_pipeline(generator=whole, answers=answers).ask(QUESTION).text == "Hold it [1]."
    assert make_pipeline(generator=whole, answers=answers).ask(QUESTION).cached
    assert len(whole.asked) == 1


@pytest.mark.parametrize("content", [b"damaged" * 999, None])
def test_a_cache_that_cannot_be_used_costs_a_note_only(make_pipeline, tmp_path: Path, content: bytes | None):
    path = tmp_path / "answers.sqlite"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    answer = make_pipeline(answers=CacheKey(AnswerCache(path, 60), lambda: 1)).ask(QUESTION)
    assert answer.kind == "extractive"
    assert "answer_cache_s" in answer.notes[0]


def test_an_answer_survives_its_json(make_pipeline):
    answer = make_pipeline([*TEXTS, TEXTS[2] + " "]).ask(QUESTION)
    assert answer_json(answer_from_json(answer_json(answer))) == {
        name: value for name, value in answer_json(answer).items() if name != "search"
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("how do routers work?", " How do  ROUTERS work", True),
        ("how do routers work?", "ｈｏｗ　ｄｏ routers work？", True),
        ("如何重置路由器？", "如何重置路由器", True),
        ("where do princes live?", "where do princess live?", False),
        ("where is the news desk?", "where is the new desk?", False),
        ("what is glas?", "what is glass?", False),
        ("who pays customs?", "who pays custom?", False),
        ("ist das nicht erlaubt?", "ist das nichts erlaubt?", False),
        ("wo steht Recht?", "wo steht rechts?", False),
        ("où est la cour?", "où est la cours?", False),
        ("welche Masse hat es?", "welche Maße hat es?", False),
        ("how many m²?", "how many m2?", False),
        ("what is 10⁵?", "what is 105?", False),
        ("what is 5!", "what is 5", False),
        ("what does f() do?", "what does f do?", False),
        ("what does [] mean?", "what does () mean?", False),
        ("where was Martin born?", "where was Martina born?", False),
        ("what is .NET?", "what is net?", False),
        ("???", "?!", True),
    ],
)
def test_which_questions_are_the_same(make_pipeline, tmp_path: Path, one: str, other: str, same: bool):
    answers = CacheKey(AnswerCache(tmp_path / "answers.sqlite", 60), lambda: 1)
    pipeline = make_pipeline(answers=answers)
    assert not pipeline.ask(one).cached
    again = pipeline.ask(other)
    assert (again.cached, again.notes) == (same, ())


def test_an_answer_kept_by_another_version_is_no_answer(make_pipeline, tmp_path: Path):
    path = tmp_path / "answers.sqlite"
    pipeline = make_pipeline(answers=CacheKey(AnswerCache(path, 60), lambda: 1))
    pipeline.ask(QUESTION)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE answers SET answer = '{}'")
    again = pipeline.ask(QUESTION)
    assert (again.cached, again.notes) == (False, ())
    assert pipeline.ask(QUESTION).cached
