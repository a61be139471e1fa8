"""A request as the model reads it: from documents to pairs, and from the pairs' logits back to documents."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise
from typing import Self

from finerank.ranking import Document, Span
from finerank.scoring.batch import EncodedPair
from finerank.text.pool import pool


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRequest:
    """A query, as the template puts it, and its documents: `counts[i]` neighbouring `pairs` belong to document i (none
    if it is not to be scored), and `spans` says where in it each pair's passage lies (None: it is the whole document).
    """

    query: str
    documents: list[Document]
    pairs: list[EncodedPair]
    counts: list[int]
    spans: list[Span | None]

    def places(self) -> list[range]:
        """Where each document's pairs lie."""
        return [range(*ends) for ends in pairwise(accumulate(self.counts, initial=0))]

    def pooled(self, logits: Sequence[float], pooling: str) -> list[tuple[float, int] | None]:
        """For every document that has pairs, its logit and the position of the best of them."""
        documents: list[tuple[float, int] | None] = []
        for place in self.places():
            logit, best = pool([logits[pair] for pair in place], pooling) if place else (0.0, 0)
            documents.append((logit, place.start + best) if place else None)
        return documents

    def only(self, kept: Collection[int]) -> Self:
        """The same, with no pairs of the documents that are not kept."""
        places = self.places()
        pairs = list(chain.from_iterable(place for document, place in enumerate(places) if document in kept))
        return replace(
            self,
            pairs=[self.pairs[pair] for pair in pairs],
            counts=[count if document in kept else 0 for document, count in enumerate(self.counts)],
            spans=[self.spans[pair] for pair in pairs],
        )
