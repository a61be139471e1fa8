"""A ranker over judged sets: what it makes of the first stage's order, and what that costs.

Takes any `Ranker`: a local model, an HTTP client, a remote handle. Queries and documents are never logged.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from finerank.errors import FinerankError, InvalidInput, ScoreError, UnreadableQuery
from finerank.evaluation.datasets import JudgedQuery, JudgedSet
from finerank.evaluation.measures import MEASURES, Values, check_measures, measure
from finerank.evaluation.results import Cost, Evaluation, QueryResult, SetResult
from finerank.ranking import Ranker, Ranking

logger = logging.getLogger("finerank")

Progress = Callable[[int, int], None]
"""Called with pairs done and pairs in all."""


def evaluate(
    ranker: Ranker,
    sets: Iterable[JudgedSet],
    *,
    measures: Sequence[str] = MEASURES,
    depth: int | None = None,
    max_queries: int | None = None,
    seed: int | None = None,
    top_n: int | None = None,
    with_text: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Rerank every query's candidates, and measure that order and the first stage's.

    `depth` takes the first so many candidates, for both orders; `max_queries` the first so many queries of a set, or
    with a `seed` a random draw; `top_n` asks the ranker for no more. `with_text` keeps the queries' text in the result.
    A candidate the ranker does not return counts as not found.

    >>> from finerank.testing import stub_reranker
    >>> from finerank import Document
    >>> candidates = (Document("Keep it dry.", id="a"), Document("Hold the reset button.", id="b"))
    >>> query = JudgedQuery("q", "reset button", candidates, {"b": 1})
    >>> evaluation = evaluate(stub_reranker(), [JudgedSet("manual", (query,), "en")], measures=["RR@10"])
    >>> [row] = evaluation.by_set()
    >>> row.first_stage, row.reranked
    ({'RR@10': 0.5}, {'RR@10': 1.0})
    """
    measures = check_measures(measures)
    limited = [judged.limited(max_queries, depth, seed) for judged in sets]
    total = sum(len(query.candidates) for judged in limited for query in judged.queries)
    done, results, model = 0, [], ""
    for judged in limited:
        rankings, cost = {}, Cost()
        for query in judged.queries:
            start = time.perf_counter()
            ranking = rank_query(ranker, judged, query, top_n)
            cost += _cost(ranking, query, time.perf_counter() - start)
            rankings[query.id] = _ranked_ids(ranking, judged, query)
            model = model or ranking.model
            done += len(query.candidates)
            if progress is not None:
                progress(done, total)
        results.append(_set_result(judged, rankings, measures, cost, with_text))
    return Evaluation(model, measures, tuple(results), depth, max_queries, seed)


def rank_query(ranker: Ranker, judged: JudgedSet, query: JudgedQuery, top_n: int | None = None) -> Ranking:
    """The ranking of a query's candidates: an empty one, which measures count as 0, if the model knows none of the
    query's words. Another error names the set and the query."""
    if not query.candidates:
        return Ranking((), "")
    try:
        return ranker.rank(query.text, query.candidates, top_n=top_n)
    except UnreadableQuery:
        logger.warning("%s: the model knows none of its words; it counts as not answered", _place(judged, query))
        return Ranking((), "")
    except (InvalidInput, ScoreError) as error:
        raise type(error)(f"{_place(judged, query)}: {error}") from error


def _ranked_ids(ranking: Ranking, judged: JudgedSet, query: JudgedQuery) -> list[str]:
    indices = [result.index for result in ranking]
    if len(set(indices)) < len(indices) or not set(indices) <= set(range(len(query.candidates))):
        raise FinerankError(f"{_place(judged, query)}: the ranker returned a document twice, or one it was not given")
    return [str(query.candidates[index].id) for index in indices]


def _cost(ranking: Ranking, query: JudgedQuery, seconds: float) -> Cost:
    usage = ranking.usage
    return Cost(usage.pairs or len(query.candidates), usage.tokens, usage.truncated, usage.cached, seconds)


def _set_result(
    judged: JudgedSet, rankings: dict[str, list[str]], measures: tuple[str, ...], cost: Cost, with_text: bool
) -> SetResult:
    grades = {query.id: query.grades for query in judged.queries}
    found = {query.id: [str(document.id) for document in query.candidates] for query in judged.queries}
    before, after = measure(grades, found, measures), measure(grades, rankings, measures)
    queries = tuple(_query_result(query, before, after, rankings[query.id], with_text) for query in judged.queries)
    return SetResult(judged.name, judged.language, queries, cost, judged.notes)


def _query_result(
    query: JudgedQuery, before: Values, after: Values, ranking: list[str], with_text: bool
) -> QueryResult:
    return QueryResult(
        id=query.id,
        first_stage=before[query.id],
        reranked=after[query.id],
        first_stage_right=any(document.id in query.relevant for document in query.candidates[:1]),
        reranked_right=any(id_ in query.relevant for id_ in ranking[:1]),
        length=len(query.text),
        candidates=len(query.candidates),
        text=query.text if with_text else "",
    )


def _place(judged: JudgedSet, query: JudgedQuery) -> str:
    return f"{judged.name}, query {query.id!r}"
