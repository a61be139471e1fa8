"""What ranks in every integration, and how they say what it is not."""

import asyncio
import logging
import subprocess
import sys

import pytest

from finerank import Document, InvalidSetting, MissingExtra, Ranking, RemoteReranker, Usage, rank_by_score
from finerank.integrations.ranker import open_ranker, rank, rank_async
from finerank.reranker import Reranker
from finerank.testing import stub_reranker


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ranker": stub_reranker(), "model": "m"}, "ranker: give it alone"),
        ({"ranker": stub_reranker(), "url": "http://x"}, "ranker: give it alone"),
        ({"ranker": stub_reranker(), "options": {"device": "cpu"}}, "device: is for a model loaded here"),
        ({"url": "http://x", "options": {"dtype": "fp16"}}, "dtype: is for a model loaded here"),
        ({"api_key": "k"}, "api_key: goes with url"),
        ({"options": {"threshold": 2}}, "threshold=2"),
    ],
)
def test_contradictions_are_told(given: dict[str, object], message: str):
    given = {"model": None, "ranker": None, "url": None, "api_key": None, "options": {}} | given
    with pytest.raises(InvalidSetting, match=message):
        open_ranker(**given)


def test_options_reach_the_model(default_model):
    ranker = open_ranker(default_model, None, None, None, {"max_length": 64})
    assert isinstance(ranker, Reranker)
    assert ranker.max_length == 64
    ranker.close()


def test_a_server_takes_a_models_name():
    ranker = open_ranker("other", None, "http://localhost:1", None, {"threshold": 0.5})
    assert isinstance(ranker, RemoteReranker)
    assert (ranker.url, ranker.model) == ("http://localhost:1", "other")
    ranker.close()


class FailsOpen:
    """Gives the order back, as a server does with fail_open."""

    def rank(self, query, documents, *, top_n=None):
        return Ranking(rank_by_score(documents, [0.0] * len(documents), top_n=top_n), "m", Usage(), "it is down")


def test_a_degraded_ranking_is_logged_and_not_emptied(caplog: pytest.LogCaptureFixture):
    documents = [Document("a"), Document("b")]
    with caplog.at_level(logging.WARNING, "finerank"):
        ranking = rank(FailsOpen(), "q", documents, top_n=None, threshold=0.9)
        awaited = asyncio.run(rank_async(FailsOpen(), "q", documents, top_n=None, threshold=0.9))
    assert [result.index for result in ranking] == [result.index for result in awaited] == [0, 1]
    assert [record.reason for record in caplog.records] == ["it is down"] * 2


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("langchain", "langchain_core", "langchain"),
        ("llamaindex", "llama_index", "llamaindex"),
        ("haystack", "haystack", "haystack"),
        ("lancedb", "lancedb", "rag"),
    ],
)
def test_a_missing_library_names_its_extra(module: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"finerank.integrations.{module}", raising=False)
    with pytest.raises(MissingExtra, match=rf"finerank\[{extra}\]"):
        __import__(f"finerank.integrations.{module}")


def test_no_framework_loads_with_what_they_share():
    code = (
        "import sys, finerank.integrations.ranker, finerank.cli.mcp; "
        "print({'langchain_core', 'llama_index', 'haystack', 'lancedb', 'mcp', 'httpx2', 'numpy'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
