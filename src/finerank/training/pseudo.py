"""Pseudo pairs: queries and their passages made out of raw text, for pretraining. Knows nothing about models.

documents = list(read_documents(Path("texts")))
lists = PseudoLists(cut_passages(documents, 500), passages=8, seed=0)
lists[0]        # an `Example`; another one, of the same text, after lists.set_epoch(1)
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finerank.errors import InvalidInput
from finerank.io.decode import read_text
from finerank.text.chunk import chunk_spans, sentence_spans
from finerank.training.augment import Augmentation
from finerank.training.examples import Example, read_objects

SENTENCE_REMOVED = 0.9
"""How often a sentence that became the query is taken out of its passage (Lee et al. 2019, "Latent retrieval for weakly
supervised open domain question answering", section 5.2: otherwise matching words alone would do)."""

HARD_NEGATIVES = 0.5
"""The part of the negatives that comes from the passage's own document, if it has as many."""

MIN_QUERY = 10
"""Characters of a sentence that can be a query."""

_KINDS = ("*.txt", "*.md", "*.jsonl", "*.jsonl.gz", "*.jsonl.zst")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of a document with its title or heading, which may be empty."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to learn from, the title over it, and the number of its document."""

    document: int
    title: str
    text: str


def read_documents(path: Path) -> Iterator[list[Section]]:
    """The documents of a folder (with those in it) or a file, each as its sections.

    A .txt file is one; its first line is the title if it is short and stands alone. A .md file is one, cut at its
    headings. A line of a .jsonl file is one, {"text", "title"?}. Raises `InvalidInput` if there are none.
    """
    paths = [path] if path.is_file() else sorted(found for kind in _KINDS for found in path.rglob(kind))
    if not paths:
        raise InvalidInput(f"{path}: holds no .txt, .md or .jsonl file")
    for file in paths:
        yield from (_read_lines(file) if ".jsonl" in file.suffixes else [_read_whole(file)])


def cut_passages(documents: Iterable[Sequence[Section]], characters: int) -> list[Passage]:
    """The passages of all documents, of whole sentences where these fit into so many characters."""
    return [
        Passage(number, section.title, section.text[start:end])
        for number, document in enumerate(documents)
        for section in document
        for start, end in chunk_spans(section.text, _count_characters, characters)
        if start < end
    ]


class PseudoLists(Sequence[Example]):
    """A list for every passage that gives one, made anew in every epoch, the same again after a resume.

    The query is the passage's title, one of its sentences (inverse cloze task) or one of its halves; the passage, or
    what is left of it, is relevant, and passages of the same document and of others are not.
    """

    def __init__(
        self, passages: Sequence[Passage], count: int, seed: int, augmentation: Augmentation | None = None
    ) -> None:
        self._all = passages
        self._count = count
        self._seed = seed
        self._augmentation = augmentation or Augmentation()
        self._epoch = 0
        self._sentences = [sentence_spans(passage.text) for passage in passages]
        self._asked = [index for index in range(len(passages)) if self._kinds(index)]
        self._of_document: defaultdict[int, list[int]] = defaultdict(list)
        for index, passage in enumerate(passages):
            self._of_document[passage.document].append(index)
        if len({passage.text for passage in passages}) < 2 or not self._asked:
            raise InvalidInput("too little text: it takes two passages, and a title or two sentences in one of them")

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices
        rng = np.random.default_rng((self._seed, self._epoch, index))
        at = self._asked[index]
        query, positive = self._pair(at, rng)
        negatives = self._negatives(at, query, positive, rng)
        return self._augmentation(Example(query, (positive, *negatives), (1.0,) + (0.0,) * len(negatives)), rng)

    def _kinds(self, index: int) -> list[str]:
        """Which pairs a passage gives."""
        passage, sentences = self._all[index], self._sentences[index]
        kinds = ["title"] if passage.title.strip() else []
        long = any(end - start >= MIN_QUERY for start, end in sentences)
        return [*kinds, "sentence", "halves"] if len(sentences) > 1 and long else kinds

    def _pair(self, index: int, rng: np.random.Generator) -> tuple[str, str]:
        """A query and the text that is relevant to it."""
        passage, sentences, kinds = self._all[index], self._sentences[index], self._kinds(index)
        kind = kinds[int(rng.integers(len(kinds)))]
        if kind == "title":
            return passage.title, passage.text
        if kind == "sentence":
            return take_sentence(passage.text, sentences, rng)
        middle = sentences[len(sentences) // 2][0]
        halves = (passage.text[:middle].strip(), passage.text[middle:])
        return halves if rng.random() < 0.5 else halves[::-1]

    def _negatives(self, index: int, query: str, positive: str, rng: np.random.Generator) -> list[str]:
        own = self._of_document[self._all[index].document]
        hard = rng.permutation(own)[: round(HARD_NEGATIVES * (self._count - 1)) + 1]
        others = rng.integers(len(self._all), size=_TRIES * self._count)
        texts: dict[str, None] = {}
        for other in [*hard, *others]:
            if len(texts) < self._count - 1 and self._answers_not(int(other), index, query, positive):
                texts[self._all[other].text] = None
        return list(texts)

    def _answers_not(self, other: int, index: int, query: str, positive: str) -> bool:
        """Whether a passage may be taken for a negative: it holds neither query nor answer, and is not of its title."""
        passage, own = self._all[other], self._all[index]
        if any(text in passage.text for text in (own.text, positive, query)):
            return False
        return not (
            own.title and passage.title == own.title and passage.document == own.document and query == own.title
        )


def take_sentence(text: str, sentences: Sequence[tuple[int, int]], rng: np.random.Generator) -> tuple[str, str]:
    """One of the sentences that are long enough, and the text: mostly without it (`SENTENCE_REMOVED`)."""
    long = [(start, end) for start, end in sentences if end - start >= MIN_QUERY]
    start, end = long[int(rng.integers(len(long)))]
    without = f"{text[:start].rstrip()} {text[end:].lstrip()}".strip()
    return text[start:end], without if rng.random() < SENTENCE_REMOVED else text


def _count_characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def _read_lines(path: Path) -> Iterator[list[Section]]:
    for place, fields in read_objects(path):
        if not isinstance(fields.get("text"), str):
            raise InvalidInput(f"{place}: must have a text; its fields are {', '.join(fields) or 'none'}")
        yield [Section(str(fields.get("title") or ""), fields["text"])]


def _read_whole(path: Path) -> list[Section]:
    text = read_text(path)
    return _sections(text) if path.suffix == ".md" else [_titled(text)]


def _titled(text: str) -> Section:
    first, _, rest = text.strip().partition("\n")
    alone = len(first) <= 100 and rest.startswith("\n") and not first.rstrip().endswith((".", "。"))
    return Section(first.strip(), rest.strip()) if alone else Section("", text)


def _sections(markdown: str) -> list[Section]:
    """The text under every heading, and that before the first."""
    headings = list(_HEADING.finditer(markdown))
    starts = [("", 0), *((heading[1], heading.end()) for heading in headings)]
    ends = [*(heading.start() for heading in headings), len(markdown)]
    return [Section(title, markdown[start:end].strip()) for (title, start), end in zip(starts, ends, strict=True)]
