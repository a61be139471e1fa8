import pickle
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank import (
    Document,
    FinerankError,
    InvalidInput,
    InvalidSetting,
    OutOfMemory,
    PairScore,
    RankedDocument,
    Ranking,
    Reranker,
    ScoreError,
)
from finerank.ranking import is_blank, sigmoid
from finerank.scoring.batch import Batch
from finerank.testing import OverlapBackend, stub_reranker

PASSAGES = ["The lamp is green.", "Hold the reset button.", "A button."]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates too


def order(ranking: Ranking) -> list[int]:
    return [result.index for result in ranking]


def test_the_passage_with_the_querys_words_comes_first() -> None:
    ranking = stub_reranker().rank("reset button", PASSAGES)
    assert order(ranking) == [1, 2, 0]
    assert [result.rank for result in ranking] == [1, 2, 3]
    assert ranking.model == "OverlapBackend"
    assert ranking.degraded == ""
    for result in ranking:
        assert result.score == sigmoid(result.logit)
        assert (result.truncated, result.best_span) == (False, None)


def test_documents_come_back_as_the_objects_they_were() -> None:
    documents = [Document(text, id=number, metadata={"page": number}) for number, text in enumerate(PASSAGES)]
    ranking = stub_reranker(clean=True, long_documents="chunk").rank("reset button", documents)
    assert all(result.document is documents[result.index] for result in ranking)
    assert stub_reranker().rank("reset", ["text"])[0].document == Document("text")


def test_top_n_and_threshold() -> None:
    reranker = stub_reranker(threshold=0.6)
    assert order(reranker.rank("reset button", PASSAGES)) == [1, 2]
    assert order(reranker.rank("reset button", PASSAGES, threshold=0.7)) == [1]
    assert order(reranker.rank("reset button", PASSAGES, threshold=0.0)) == [1, 2, 0]
    assert order(reranker.rank("reset button", PASSAGES, top_n=1)) == [1]
    assert order(reranker.rank("reset button", PASSAGES, top_n=0)) == []
    assert order(reranker.rank("reset button", PASSAGES, top_n=np.int64(1), threshold=np.float32(0.7))) == [1]
    with pytest.raises(InvalidSetting, match="top_n=-1: must be a whole number"):
        reranker.rank("reset", PASSAGES, top_n=-1)
    with pytest.raises(InvalidSetting, match="threshold=2: scores lie between 0 and 1"):
        reranker.rank("reset", PASSAGES, threshold=2)


def test_requests_are_ranked_each_on_its_own_in_shared_batches() -> None:
    backend = OverlapBackend()
    requests = [("reset button", PASSAGES), ("green lamp", []), ("green lamp", iter(PASSAGES[:2]))]
    rankings = stub_reranker(backend).rank_many(iter(requests))
    assert [order(ranking) for ranking in rankings] == [[1, 2, 0], [], [0, 1]]
    assert [ranking.usage.pairs for ranking in rankings] == [3, 0, 2]
    assert len(backend.batches) == 1
    assert stub_reranker().rank_many([]) == []


def test_pairs_are_scored_in_the_order_given_whatever_the_threshold() -> None:
    reranker = stub_reranker(threshold=0.99, max_length=11)
    scores = reranker.score_pairs([("lamp", "no"), ("reset", PASSAGES[1]), ("lamp", "green " * 9)])
    logits = [pytest.approx(-0.0001), pytest.approx(0.9995), pytest.approx(-0.0007)]
    assert [score.logit for score in scores] == logits
    assert scores[2] == PairScore(sigmoid(scores[2].logit), scores[2].logit, truncated=True)
    assert reranker.score_pairs([]) == []


def test_the_template_is_put_around_the_query() -> None:
    reranker = stub_reranker(template="lamp {query} lamp")
    assert order(reranker.rank("{query}", PASSAGES)) == [0, 2, 1]
    assert reranker.rank("a", [""]).usage.tokens == 3 + 3


def test_what_was_cut_is_marked() -> None:
    ranking = stub_reranker(max_length=10).rank("reset", ["one two", "one two three four five six", "x " * 7])
    assert {result.index: result.truncated for result in ranking} == {0: False, 1: False, 2: True}
    assert ranking.usage.truncated == 1
    ranking = stub_reranker(max_length=10).rank("a query of far too many words", ["one", ""])
    assert [result.truncated for result in ranking] == [True, True]
    assert ranking.usage.tokens == 2 * (3 + 6) + 1


def test_usage_counts_pairs_tokens_and_what_the_cache_answered() -> None:
    reranker = stub_reranker(cache="memory")
    first = reranker.rank("reset button", PASSAGES).usage
    assert (first.pairs, first.tokens, first.cached) == (3, 3 * (2 + 3) + 5 + 5 + 3, 0)
    again = reranker.rank("reset button", [*PASSAGES, "new"]).usage
    assert (again.pairs, again.cached) == (4, 3)
    assert set(again.seconds) == {"encode", "forward", "total"}
    assert again.seconds["total"] >= again.seconds["encode"] + again.seconds["forward"] > 0


def test_progress_is_reported() -> None:
    calls: list[tuple[int, int]] = []
    stub_reranker().rank("reset", PASSAGES, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 3)]


FILLER = "The lamp is green. It is on the wall. "


@pytest.mark.parametrize("clean", [False, True])
def test_a_long_document_is_ranked_by_its_best_passage(clean: bool) -> None:
    document = FILLER * 20 + "Hold the reset button. " + FILLER * 20
    reranker = stub_reranker(max_length=24, long_documents="chunk", clean=clean)
    ranking = reranker.rank("reset button", ["A button.", document])
    assert order(ranking) == [1, 0]
    start, end = ranking[0].best_span
    assert "Hold the reset button." in document[start:end]
    assert len(document[start:end].split()) < 24
    assert ranking[1].best_span == (0, 9)
    assert ranking.usage.pairs > 20
    assert not any(result.truncated for result in ranking)
    assert order(stub_reranker(max_length=24).rank("reset button", ["A button.", document])) == [0, 1]


def test_the_best_span_lies_in_the_original_of_a_cleaned_document() -> None:
    best = "Hold &lt;reset&gt;\n<b>button</b>&excl;"
    document = f"<p title='reset button'>{FILLER * 5}</p>\n<p>{best}</p>{FILLER * 5}"
    reranker = stub_reranker(max_length=13, long_documents="chunk", clean=True)
    assert document[slice(*reranker.rank("reset button", [document])[0].best_span)] == best


def test_markup_counts_unless_cleaned_away() -> None:
    documents = ["<p class='reset'>Keep it dry.</p>", "<p>Press re<!-- -->set.</p>"]
    assert order(stub_reranker().rank("reset", documents)) == [0, 1]
    assert order(stub_reranker(clean=True).rank("reset", documents)) == [1, 0]


@pytest.mark.parametrize(("pooling", "logit"), [("max", 0.9996), ("first", -0.0005), ("mean", 0.33283)])
def test_pooling_of_passages(pooling: str, logit: float) -> None:
    document = "The lamp is green. Hold the reset button. Keep it very dry."
    reranker = stub_reranker(max_length=10, long_documents="chunk", pooling=pooling)
    (ranked,) = reranker.rank("reset button", [document])
    assert ranked.logit == pytest.approx(logit, abs=3e-4)
    assert document[slice(*ranked.best_span)] == "Hold the reset button."


def test_passages_overlap_as_set() -> None:
    document = "One two three. Four five six. Seven eight nine. Ten."
    for overlap, tokens in ((0, 8 + 6), (4, 8 + 10)):
        reranker = stub_reranker(max_length=14, long_documents="chunk", chunk_overlap=overlap)
        assert reranker.rank("q", [document]).usage.tokens == 2 * (1 + 3) + tokens


def test_out_of_memory_and_fallback() -> None:
    with pytest.raises(OutOfMemory):
        stub_reranker(OverlapBackend(memory_tokens=8)).rank("reset button", PASSAGES)
    ranking = stub_reranker(OverlapBackend(memory_tokens=8), fallback="cpu").rank("reset button", PASSAGES)
    assert order(ranking) == [1, 2, 0]
    assert "on the CPU" in ranking.degraded


def test_a_score_that_is_no_number_names_its_document() -> None:
    reranker = stub_reranker(OverlapBackend(nan_word="poison"))
    with pytest.raises(ScoreError, match=r"documents\[2\]: the model answered nan"):
        reranker.rank("reset", ["one", "two", "poison"], top_n=1)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "query is empty"),
        (" \t\n", "query is empty"),
        (None, "query is None; it must be a string"),
        (5, "query is of type int"),
        (b"reset", "query is of type bytes"),
        (["reset"], "query is of type list"),
    ],
)
def test_wrong_queries(query: object, message: str) -> None:
    for use in (lambda r: r.rank(query, PASSAGES), lambda r: r.explain(query, "text")):
        with pytest.raises(InvalidInput, match=message):
            use(stub_reranker())


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("one text", "documents is of type str; it must be a list of strings or Documents"),
        (b"bytes", "documents is of type bytes"),
        (Document("one"), "documents is of type Document"),
        ({"id": "text"}, "documents is of type dict"),
        (None, "documents is None"),
        (7, "documents is of type int"),
        (["a", None], r"documents\[1\] is None; it must be a string or a Document"),
        (["a", "b", 3.0], r"documents\[2\] is of type float"),
        ([["a"]], r"documents\[0\] is of type list"),
        (["a", Document(None)], r"documents\[1\]\.text is None"),
    ],
)
def test_wrong_documents_are_named(documents: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        stub_reranker().rank("reset", documents)


def test_no_documents_give_an_empty_ranking() -> None:
    backend = OverlapBackend()
    assert list(stub_reranker(backend).rank("reset", [])) == []
    assert backend.batches == []


def test_documents_may_come_from_a_generator() -> None:
    assert order(stub_reranker().rank("reset", (text for text in PASSAGES))) == [1, 2, 0]


@pytest.mark.parametrize("long_documents", ["truncate", "chunk"])
def test_odd_texts_rank(long_documents: str) -> None:
    odd = [
        "",
        "  \n",
        "\x00\x07\x1b[0m",
        "\ud800 lone \udfff",
        "👩‍👩‍👧‍👦 🇫🇷 é",
        "إعادة الضبط",
        "\u202eabc\u200b",
        "<",
        "x" * 5000,
    ]
    reranker = stub_reranker(long_documents=long_documents, max_length=32, clean=True)
    for query in ("reset", "\ud83d", "🤖", "زر"):
        assert sorted(order(reranker.rank(query, odd))) == list(range(len(odd)))


def test_words_of_any_script_are_matched() -> None:
    documents = ["nothing", "اضغط على زر", "按住重置按钮", "кнопка сброса", "press 🤖"]
    for index, query in enumerate(("nothing", "زر", "重置", "СБРОСА", "🤖")):
        assert order(stub_reranker().rank(query, documents))[0] == index


def test_duplicates_keep_their_order_and_are_scored_once() -> None:
    backend = OverlapBackend()
    ranking = stub_reranker(backend).rank("reset", ["no", "reset", "no", "reset"])
    assert order(ranking) == [1, 3, 0, 2]
    assert sum(map(len, backend.batches)) == 2


def test_ten_megabytes_of_text_are_cut_in_no_time() -> None:
    document = "reset " + "word " * 2_000_000
    start = time.perf_counter()
    (ranked,) = stub_reranker().rank("reset", [document])
    assert time.perf_counter() - start < 2
    assert ranked.truncated
    assert ranked.logit > 0.9


def test_ten_thousand_documents() -> None:
    ranking = stub_reranker().rank("reset 7777", [f"reset {number}" for number in range(10_000)])
    assert ranking[0].index == 7777
    assert order(ranking)[1:] == [number for number in range(10_000) if number != 7777]


@given(ANY_TEXT, st.lists(ANY_TEXT, max_size=8), st.sampled_from(["truncate", "chunk"]), st.booleans())
@settings(deadline=None, max_examples=150)
def test_any_texts_are_ranked_none_lost(query: str, documents: list[str], long_documents: str, clean: bool) -> None:
    reranker = stub_reranker(long_documents=long_documents, clean=clean, max_length=16)
    ranking = reranker.rank("query" if is_blank(query) else query, documents)
    assert sorted(order(ranking)) == list(range(len(documents)))
    assert [result.logit for result in ranking] == sorted((result.logit for result in ranking), reverse=True)
    for result in ranking:
        start, end = result.best_span or (0, 0)
        assert 0 <= start <= end <= len(documents[result.index])


def test_threads_rank_at_once_as_alone() -> None:
    requests = [(f"word{n} word{n + 1}", [f"word{m} and word{m + 1}" for m in range(n, n + 30)]) for n in range(40)]

    def results(rankings: Iterator[Ranking]) -> list[tuple[RankedDocument, ...]]:
        return [ranking.results for ranking in rankings]

    alone = results(stub_reranker().rank(*request) for request in requests)
    shared = stub_reranker(OverlapBackend(memory_tokens=80), cache="memory", cache_entries=100)
    with ThreadPoolExecutor(4) as threads:
        assert results(threads.map(lambda request: shared.rank(*request), requests)) == alone


def test_leaving_a_with_block_closes_the_backend() -> None:
    backend = OverlapBackend()
    with stub_reranker(backend) as reranker:
        assert repr(reranker) == "Reranker('OverlapBackend', cpu, fp32, max_length=512)"
        assert not backend.closed
    assert backend.closed


def test_a_bad_pair_or_request_is_named() -> None:
    reranker = stub_reranker(OverlapBackend(nan_word="poison"))
    for pairs, place in (
        ([("q", "d"), ("q", None)], r"pairs\[1\]: the passage is None"),
        ([("q", "d"), ("", "d")], r"pairs\[1\]: query is empty"),
        (["ab"], r"pairs\[0\] is of type str"),
        ([("q", "d", "e")], r"pairs\[0\] is of type tuple"),
    ):
        with pytest.raises(InvalidInput, match=place):
            reranker.score_pairs(pairs)  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match=r"pairs\[1\]: documents\[0\]"):
        reranker.score_pairs([("q", "fine"), ("q", "poison")])
    with pytest.raises(InvalidInput, match=r"requests\[1\]: documents\[2\] is None"):
        reranker.rank_many([("q", ["d"]), ("q", ["d", "d", None])])  # type: ignore[list-item]
    for request, kind in (("ab", "str"), (("q", ["d"], 3), "tuple")):
        with pytest.raises(InvalidInput, match=rf"requests\[1\]: a request is of type {kind}"):
            reranker.rank_many([("q", ["d"]), request])  # type: ignore[list-item]


def test_a_reranker_is_pickled_as_its_settings() -> None:
    passages = ["Our routers come in black.", "Hold the reset button."]
    with Reranker.from_pretrained(max_length=64, threshold=0.0) as one, pickle.loads(pickle.dumps(one)) as other:
        assert other.settings == one.settings
        assert [x.logit for x in other.rank("reset", passages)] == [x.logit for x in one.rank("reset", passages)]
    with pytest.raises(TypeError, match="make it with from_pretrained"):
        pickle.dumps(stub_reranker())


def test_a_pair_scored_on_the_fallback_is_marked() -> None:
    reranker = stub_reranker(OverlapBackend(memory_tokens=8), fallback="cpu")
    marks = [pair.degraded for pair in reranker.score_pairs([("a b c d e", "f g h")])]
    assert "partly on the CPU" in marks[0]


def test_a_closed_reranker_says_so_and_closes_twice() -> None:
    reranker = stub_reranker()
    reranker.close()
    reranker.close()
    with pytest.raises(FinerankError, match="closed"):
        reranker.rank("q", ["d"])


class WaitingBackend(OverlapBackend):
    """Says when it is asked to score, and waits to be let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = threading.Event(), threading.Event()

    def forward(self, batch: Batch) -> np.ndarray:
        self.asked.set()
        assert self.let.wait(10)
        assert not self.closed
        return super().forward(batch)


@pytest.mark.parametrize("what", ["rank", "explain"])
def test_rankings_under_way_end_before_a_reranker_is_closed(what: str) -> None:
    backend = WaitingBackend()
    reranker = stub_reranker(backend, batch_tokens=8)  # several batches
    with ThreadPoolExecutor() as pool:
        running = pool.submit(getattr(reranker, what), "reset button", PASSAGES if what == "rank" else PASSAGES[1])
        assert backend.asked.wait(10)
        reranker.close()
        assert not backend.closed
        with pytest.raises(FinerankError, match="the reranker is closed; load it again"):
            reranker.rank("reset", PASSAGES)
        backend.let.set()
        running.result(timeout=10)
    assert backend.closed
    reranker.close()


def test_a_reranker_may_be_closed_while_it_tells_its_progress() -> None:
    backend = OverlapBackend()
    reranker = stub_reranker(backend)
    assert order(reranker.rank("reset button", PASSAGES, progress=lambda done, total: reranker.close())) == [1, 2, 0]
    assert backend.closed


def test_a_cache_that_cannot_be_written_costs_no_ranking(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    reranker = stub_reranker(cache=str(tmp_path / "scores.db"))
    full = "CREATE TRIGGER full BEFORE INSERT ON scores BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    sqlite3.connect(tmp_path / "scores.db").execute(full).connection.close()
    assert len(reranker.rank("q", ["d"])) == 1
    assert "not cached" in caplog.text
    reranker.close()


@pytest.mark.parametrize("pooling", ["max", "first", "mean"])
def test_a_nan_in_one_passage_of_a_chunked_document_is_not_passed_over(pooling) -> None:
    reranker = stub_reranker(
        OverlapBackend(nan_word="poison"), long_documents="chunk", max_length=20, chunk_overlap=0, pooling=pooling
    )
    text = "The word is here and it is good. " * 4 + "There is some poison in it."
    with pytest.raises(ScoreError, match=r"documents\[1\]"):
        reranker.rank("word", ["fine", text])
