"""LanceDB: a reranker for its vector, full-text and hybrid queries.

>>> table.search("how do I reset it?", query_type="hybrid").rerank(FinerankLanceReranker())   # doctest: +SKIP
"""

from pathlib import Path
from typing import Unpack

from finerank.errors import InvalidSetting, MissingExtra
from finerank.integrations.ranker import documents_of, open_ranker, rank
from finerank.ranking import Ranker
from finerank.settings import Options

try:
    import pyarrow as pa
    from lancedb.rerankers import Reranker as LanceReranker
except ImportError as error:
    raise MissingExtra("the LanceDB integration", "rag") from error


class FinerankLanceReranker(LanceReranker):  # type: ignore[misc]  # LanceDB is untyped
    """The rows, best first, with their scores (0..1) in the column `_relevance_score`; rows without text come last,
    with null.

    Judged is the text in `column`. `return_score="all"` keeps the columns `_distance` and `_score` too. Ranks with a
    model loaded here (`options` are those of `Reranker.from_pretrained`), with any `ranker`, or with the server at
    `url`.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        column: str = "text",
        return_score: str = "relevance",
        ranker: Ranker | None = None,
        url: str | None = None,
        api_key: str | None = None,
        top_n: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(return_score)
        self.column = column
        self.top_n = top_n
        self.threshold = options.get("threshold")
        self._ranker = open_ranker(model, ranker, url, api_key, options)

    def __str__(self) -> str:
        return f"FinerankLanceReranker({self._ranker!r})"

    def rerank_hybrid(self, query: str, vector_results: pa.Table, fts_results: pa.Table) -> pa.Table:
        merge = self._merge_and_keep_scores if self.score == "all" else self.merge_results
        return self._reranked(query, merge(vector_results, fts_results))

    def rerank_vector(self, query: str, vector_results: pa.Table) -> pa.Table:
        return self._reranked(query, vector_results)

    def rerank_fts(self, query: str, fts_results: pa.Table) -> pa.Table:
        return self._reranked(query, fts_results)

    def _reranked(self, query: str, rows: pa.Table) -> pa.Table:
        if self.column not in rows.column_names:
            raise InvalidSetting(
                f"column={self.column!r}: the query returns {', '.join(rows.column_names)}; name the column of the text"
            )
        documents = documents_of(rows[self.column].to_pylist())
        ranking = rank(self._ranker, query, documents, top_n=self.top_n, threshold=self.threshold)
        # float64: in float32 scores near 1 are equal.
        scores = pa.array([placed.score for placed in ranking], pa.float64())
        taken = rows.take(pa.array([placed.index for placed in ranking], pa.int64()))
        return self._keep_relevance_score(taken.append_column("_relevance_score", scores))
