"""What is scored: questions about Python, and passages cut from Python's own documentation to a number of tokens.

The text is `pydoc_data.topics` of the standard library: real prose and code, there in every Python, no download.
Lengths are log-uniform between two bounds, as the lengths of passages in real collections are skewed.
"""

import hashlib
import random
import re
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from pydoc_data.topics import topics

from tokenizers import Tokenizer

Query = tuple[str, list[str]]

QUESTIONS = {
    "how do I make a class attribute read-only": "attribute-access",
    "what is the difference between is and ==": "comparisons",
    "how are default argument values evaluated": "function",
    "what does the with statement do when an exception is raised inside it": "with",
    "in which order are the operands of an expression evaluated": "operator-summary",
    "how to define an asynchronous generator": "yield",
    "when is __del__ called": "customization",
    "python slice with negative step": "typesseq",
    "how are base classes and class attributes resolved": "class",
    "format a float with two decimal places": "formatstrings",
    "can a tuple be used as a dictionary key": "typesmapping",
    "what happens to the loop variable after a for loop ends": "for",
    "how do I set a breakpoint in the debugger": "debugger",
    "meaning of the else clause after a while loop": "while",
    "how to raise an exception from another exception": "raise",
    "what is a metaclass and how is it chosen": "specialnames",
    "difference between a global and a nonlocal variable": "nonlocal",
    "why can't I assign to a variable of the enclosing function": "naming",
    "how to import a module relative to the current package": "import",
    "how do I split a string on whitespace": "string-methods",
    "what values are considered false in a boolean context": "truth",
    "how to unpack a list into function arguments": "calls",
    "how to match a mapping pattern with a match statement": "compound",
    "what does yield from do": "yield",
    "are integer and float comparisons exact": "comparisons",
    "remove all items from a list while iterating over it": "for",
    "how do descriptors and __get__ work": "attribute-access",
    "what is the difference between bytes and bytearray": "types",
    "how to write a decorator that takes arguments": "function",
    "how do I catch several exceptions at once": "try",
    "which characters are allowed in an identifier": "identifiers",
    "how to make an object callable": "callable-types",
}
"""Questions, and the topic from which on their passages are cut: the first bear on the question, later ones less."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`queries` requests of `passages` passages each, `shortest` to `longest` tokens a passage.

    Measured in `rounds`, and `repeats` times in each where once would be too short to time. `model` of
    `benchmarks.models` is loaded by the systems that load "fp32"; the others are left out where it is another.
    """

    queries: int
    passages: int
    shortest: int
    longest: int
    seed: int
    rounds: int = 5
    repeats: int = 1
    model: str = "fp32"

    def smaller(self) -> "Workload":
        """For a trial run: at most 4 queries of 10 passages, one round."""
        return replace(self, queries=min(self.queries, 4), passages=min(self.passages, 10), rounds=1)


WORKLOADS = {
    "1x100": Workload(1, 100, 20, 512, seed=1),
    "32x20": Workload(32, 20, 20, 512, seed=2, rounds=3),
    "8x20": Workload(8, 20, 20, 512, seed=5),
    "1x10x512": Workload(1, 10, 512, 512, seed=3),
    "1x1": Workload(1, 1, 128, 128, seed=4, repeats=20),
    "1x1x32": Workload(1, 1, 32, 32, seed=6, repeats=40),
    "1x10x128-m3": Workload(1, 10, 128, 128, seed=7, model="m3"),
}


def build(workload: Workload, tokenizer: Tokenizer) -> list[Query]:
    """The queries of a workload; the same for the same workload, tokenizer and Python version."""
    rng = random.Random(workload.seed)
    text = Documentation(tokenizer)
    lengths = iter(_lengths(workload, rng))
    queries = []
    for question in rng.sample(list(QUESTIONS), workload.queries):
        passages = text.passages(QUESTIONS[question], list(islice(lengths, workload.passages)))
        rng.shuffle(passages)
        queries.append((question, passages))
    return queries


def describe(workload: Workload, queries: list[Query], tokenizer: Tokenizer) -> dict[str, object]:
    """Its parameters, what it came to in pairs and passage tokens, and a hash of its text."""
    passages = [passage for _, some in queries for passage in some]
    digest = hashlib.sha256("\0".join([*(query for query, _ in queries), *passages]).encode())
    tokens = [len(item) for item in tokenizer.encode_batch_fast(passages, add_special_tokens=False)]
    return {
        **asdict(workload),
        "pairs": len(passages),
        "passage_tokens": {"sum": sum(tokens), "shortest": min(tokens), "longest": max(tokens)},
        "sha256": digest.hexdigest(),
    }


def tokenizer_of(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, without padding and truncation."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _lengths(workload: Workload, rng: random.Random) -> list[int]:
    """Evenly spread over the log-uniform distribution, in random order."""
    count = workload.queries * workload.passages
    ratio = workload.longest / workload.shortest
    lengths = [round(workload.shortest * ratio ** ((index + 0.5) / count)) for index in range(count)]
    rng.shuffle(lengths)
    return lengths


class Documentation:
    """All topics as one text, to be cut between words into pieces of so many tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        bodies = [_clean(topics[name]) for name in sorted(topics)]
        first_characters = accumulate((len(body) + 1 for body in bodies), initial=0)
        self._first_character = dict(zip(sorted(topics), first_characters, strict=False))
        self._text = " ".join(bodies)
        encoding = tokenizer.encode(self._text, add_special_tokens=False)
        words, self._offsets = encoding.words, encoding.offsets
        self._word_starts = {i for i, word in enumerate(words) if i == 0 or word != words[i - 1]}

    def passages(self, topic: str, lengths: list[int]) -> list[str]:
        """Neighbouring pieces from the start of a topic on."""
        first = self._first_character[topic]
        position = next(index for index, (start, _) in enumerate(self._offsets) if start >= first)
        pieces = []
        for length in lengths:
            while not {position, position + length} <= self._word_starts:
                position = (position + 1) % (len(self._offsets) - length)
            pieces.append(self._text[self._offsets[position][0] : self._offsets[position + length - 1][1]])
            position += length
        return pieces


def _clean(text: str) -> str:
    """In one line, without the rulers of headings and tables."""
    return re.sub(r"\s+", " ", re.sub(r"[*=~^-]{4,}|\s[|+](?=\s)", " ", text)).strip()
