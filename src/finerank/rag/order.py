"""The order of found passages: by a ranker, blended with the first stage's, and without what is said twice."""

from collections.abc import Sequence
from dataclasses import replace

from finerank.errors import FinerankError
from finerank.rag.results import FoundPassage
from finerank.ranking import Document, Ranker
from finerank.retrieval.fuse import reciprocal_rank_fusion
from finerank.text.terms import terms


def rerank(ranker: Ranker, query: str, passages: Sequence[FoundPassage]) -> tuple[list[FoundPassage], str]:
    """The passages in the ranker's order, with its scores; and what of that was not as asked, if anything.

    It reads each passage under its headings. Raises `FinerankError` if it ranked nothing.
    """
    ranking = ranker.rank(query, [Document(passage_text(passage.document)) for passage in passages])
    if ranking.degraded and not ranking.usage.pairs:
        raise FinerankError(ranking.degraded)  # it failed open: its scores say nothing
    reranked = [
        replace(passages[result.index], rank=rank, score=result.score, logit=result.logit)
        for rank, result in enumerate(ranking, start=1)
    ]
    return reranked, ranking.degraded


def blend(first: Sequence[FoundPassage], reranked: Sequence[FoundPassage]) -> list[FoundPassage]:
    """The reranked passages in the two orders' fused one."""
    places = {passage.recall_rank: passage for passage in reranked}
    fused = reciprocal_rank_fusion([[each.recall_rank for each in first], [each.recall_rank for each in reranked]])
    return [places[recall_rank] for recall_rank, _ in fused if recall_rank in places]


def merge(passages: Sequence[FoundPassage], least_overlap: float, top: int) -> list[FoundPassage]:
    """The first `top` passages that say different things, each with those after it that say nearly the same: that
    share `least_overlap` of their terms with it."""
    kept: list[FoundPassage] = []
    bags: list[set[str]] = []
    for passage in passages:
        bag = set(terms(passage.document.text))
        twin = next((place for place, other in enumerate(bags) if _share(bag, other) >= least_overlap), None)
        if twin is not None:
            kept[twin] = replace(kept[twin], merged=(*kept[twin].merged, passage.document))
        elif len(kept) < top:
            kept.append(passage)
            bags.append(bag)
    return [replace(passage, rank=rank) for rank, passage in enumerate(kept, start=1)]


def overlap(first: str, second: str) -> float:
    """The share of their terms that two texts have in common (Jaccard), 0 to 1."""
    return _share(set(terms(first)), set(terms(second)))


def passage_text(document: Document) -> str:
    """A passage's text under its headings, unless it begins with the last of them itself."""
    heading = str(document.metadata.get("heading") or "")
    first = document.text.lstrip("# \t\n").partition("\n")[0].strip()
    return document.text if not heading or first == heading.split(" > ")[-1] else f"{heading}\n{document.text}"


def _share(one: set[str], two: set[str]) -> float:
    return len(one & two) / len(one | two) if one or two else 0.0
