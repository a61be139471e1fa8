"""Add a teacher's logits to the lists of one language, for distillation.

python recipes/finerank-mini/teach.py LISTS TEACHER OUT --language en --limit 4000
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from finerank import Reranker
from finerank.training.examples import Example, read_examples, write_examples

LISTS_AT_ONCE = 64


def taught(lists: list[Example], teacher: Reranker) -> Iterator[Example]:
    for first in range(0, len(lists), LISTS_AT_ONCE):
        some = lists[first : first + LISTS_AT_ONCE]
        for example, ranking in zip(
            some, teacher.rank_many((example.query, example.passages) for example in some), strict=True
        ):
            logits = {result.index: result.logit for result in ranking}
            yield replace(example, teacher=tuple(logits[index] for index in range(len(example.passages))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path)
    parser.add_argument("teacher", help="a model that finerank loads")
    parser.add_argument("out", type=Path)
    parser.add_argument("--language", default="en")
    parser.add_argument("--limit", type=int, default=4000)
    options = parser.parse_args()
    lists = list(read_examples(options.lists))
    of_language = [place for place, example in enumerate(lists) if example.language == options.language]
    chosen = of_language[: options.limit]
    with Reranker.from_pretrained(options.teacher, max_length=256) as teacher:
        for place, example in zip(chosen, taught([lists[place] for place in chosen], teacher), strict=True):
            lists[place] = example
    write_examples(options.out, lists)
    print(f"{len(chosen)} of {len(lists)} lists taught")


if __name__ == "__main__":
    main()
