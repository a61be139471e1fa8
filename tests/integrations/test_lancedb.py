"""The LanceDB reranker, with LanceDB."""

from pathlib import Path

import lancedb
import numpy as np
import pytest
from lancedb.index import FTS

from finerank.errors import InvalidInput, InvalidSetting
from finerank.integrations.lancedb import FinerankLanceReranker
from finerank.testing import stub_reranker

from .conftest import BEST_FIRST, QUERY, TEXTS


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory):
    rows = [{"text": text, "place": index, "vector": np.eye(5)[index]} for index, text in enumerate(TEXTS)]
    made = lancedb.connect(tmp_path_factory.mktemp("lance")).create_table("passages", rows)
    made.create_index("text", config=FTS())
    return made


EXPECTED = [result.score for result in stub_reranker().rank(QUERY, TEXTS)]


def test_rows_of_a_vector_query_come_back_best_first(table, source):
    query = table.search(np.ones(5)).limit(5).rerank(FinerankLanceReranker(**source), query_string=QUERY)
    found = query.to_list()
    assert [row["place"] for row in found] == BEST_FIRST
    assert [row["_relevance_score"] for row in found] == EXPECTED
    assert "_distance" not in found[0]


def test_rows_of_a_full_text_query(table, source):
    found = (
        table.search("hold reset button", query_type="fts").limit(5).rerank(FinerankLanceReranker(**source)).to_list()
    )
    assert [row["place"] for row in found] == [1, 2]
    assert "_score" not in found[0]


@pytest.mark.parametrize("return_score", ["relevance", "all"])
def test_rows_of_a_hybrid_query(table, source, return_score: str):
    reranker = FinerankLanceReranker(**source, return_score=return_score)
    query = table.search(query_type="hybrid").vector(np.eye(5)[0]).text(QUERY).limit(5).rerank(reranker)
    found = query.to_list()
    assert [row["place"] for row in found] == BEST_FIRST
    assert [row["_relevance_score"] for row in found] == EXPECTED
    assert ("_distance" in found[0]) is (return_score == "all")


def test_limits(table):
    reranker = FinerankLanceReranker(ranker=stub_reranker(), top_n=2, threshold=0.6)
    found = table.search(np.ones(5)).limit(5).rerank(reranker, query_string=QUERY).to_list()
    assert [row["place"] for row in found] == [1]


def test_no_rows_give_none(table, source):
    reranker = FinerankLanceReranker(**source)
    found = table.search(np.ones(5)).where("place > 9").rerank(reranker, query_string=QUERY).to_arrow()
    assert (len(found), "_relevance_score" in found.column_names) == (0, True)
    assert table.search("xyzzy", query_type="fts").rerank(reranker).to_list() == []


def test_what_cannot_be_ranked_is_told(tmp_path: Path):
    rows = [{"body": 5, "vector": [0.0, 1.0]}, {"body": 6, "vector": [1.0, 0.0]}]
    table = lancedb.connect(tmp_path).create_table("t", rows)
    query = table.search([0.0, 1.0]).limit(2)
    with pytest.raises(InvalidSetting, match=r"column='text'.*body"):
        query.rerank(FinerankLanceReranker(ranker=stub_reranker()), query_string="q").to_list()
    with pytest.raises(InvalidInput, match=r"documents\[0\].text is int"):
        query.rerank(FinerankLanceReranker(ranker=stub_reranker(), column="body"), query_string="q").to_list()


def test_rows_without_text_come_last_and_fail_nothing(tmp_path: Path, source):
    rows = [{"text": text, "vector": [1.0, 0.0]} for text in (None, *TEXTS)]
    table = lancedb.connect(tmp_path).create_table("passages", rows)
    found = table.search([1.0, 0.0]).limit(9).rerank(FinerankLanceReranker(**source), query_string=QUERY).to_list()
    assert sorted(row["text"] for row in found[:-1]) == sorted(TEXTS)
    assert found[0]["text"] == TEXTS[BEST_FIRST[0]]
    assert (found[-1]["text"], found[-1]["_relevance_score"]) == (None, None)
