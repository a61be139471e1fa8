"""What is scored: questions about Python, and passages cut from Python's own documentation to a number of tokens.

The text is `pydoc_data.topics` of the standard library: real prose and code, there in every Python, no download.
Lengths are log-uniform between two bounds, as the lengths of passages in real collections are skewed.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pydoc_data.topics import topics

from tokenizers import Tokenizer

Query = tuple[str, list[str]]

QUESTIONS = [
    "how do I make a class attribute read-only",
    "what is the difference between is and ==",
    "how are default argument values evaluated",
    "what does the with statement do when an exception is raised inside it",
    "order of evaluation of operands in an expression",
    "how to define an asynchronous generator",
    "when is __del__ called",
    "python slice with negative step",
    "how does method resolution order work with multiple inheritance",
    "format a float with two decimal places",
    "can a tuple be used as a dictionary key",
    "what happens to the loop variable after a for loop ends",
    "how do I set a breakpoint in the debugger",
    "meaning of the else clause after a while loop",
    "how to raise an exception from another exception",
    "what is a metaclass and how is it chosen",
    "difference between a global and a nonlocal variable",
    "why can't I assign to a variable of the enclosing function",
    "how to import a module relative to the current package",
    "how do I split a string on whitespace",
    "what values are considered false in a boolean context",
    "how to unpack a list into function arguments",
    "how to match a mapping pattern with a match statement",
    "what does yield from do",
    "how are integer and float comparisons done exactly",
    "remove all items from a list while iterating over it",
    "how do descriptors and __get__ work",
    "what is the difference between bytes and bytearray",
    "how to write a decorator that takes arguments",
    "how do I catch several exceptions at once",
    "which characters are allowed in an identifier",
    "how to make an object callable",
]


@dataclass(frozen=True, slots=True)
class Workload:
    """`queries` requests of `passages` passages each, `shortest` to `longest` tokens a passage."""

    queries: int
    passages: int
    shortest: int
    longest: int
    seed: int

    def smaller(self) -> "Workload":
        """For a trial run: at most 4 queries of 10 passages."""
        return replace(self, queries=min(self.queries, 4), passages=min(self.passages, 10))


WORKLOADS = {
    "1x100": Workload(1, 100, 20, 512, seed=1),
    "32x20": Workload(32, 20, 20, 512, seed=2),
    "1x10x512": Workload(1, 10, 512, 512, seed=3),
    "1x1": Workload(1, 1, 128, 128, seed=4),
}


def build(workload: Workload, tokenizer: Tokenizer) -> list[Query]:
    """The queries of a workload; the same for the same workload, tokenizer and Python version."""
    rng = random.Random(workload.seed)
    questions = rng.sample(QUESTIONS, workload.queries)
    lengths = _lengths(workload, rng)
    cut = _passages(_documentation(), tokenizer, lengths, rng)
    return [(question, [next(cut) for _ in range(workload.passages)]) for question in questions]


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


def _documentation() -> str:
    """All topics in one line, without the rulers of headings and tables."""
    text = " ".join(topics[name] for name in sorted(topics))
    return re.sub(r"\s+", " ", re.sub(r"[*=~^-]{4,}|\s[|+](?=\s)", " ", text))


def _passages(text: str, tokenizer: Tokenizer, lengths: list[int], rng: random.Random) -> Iterator[str]:
    """Neighbouring pieces of the text from a random place on, starting and ending between words."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    words, offsets = encoding.words, encoding.offsets
    starts = [index for index, word in enumerate(words) if index == 0 or word != words[index - 1]]
    boundary = set(starts)
    position = rng.choice(starts)
    for length in lengths:
        while not {position, position + length} <= boundary:
            position = (position + 1) % (len(words) - length)
        yield text[offsets[position][0] : offsets[position + length - 1][1]]
        position += length
