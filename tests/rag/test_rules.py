from datetime import UTC, datetime

import pytest
from tests.rag.conftest import passage

from finerank.errors import InvalidSetting
from finerank.rag.results import FoundPassage
from finerank.rag.rules import apply_rules, parse_rules

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD = passage("The warranty covers one year, and no accident.", 1, date="2023-01-01", status="draft")
NEW = passage("The warranty covers two years and all accidents.", 2, date="2026-01-01T00:00:00+00:00")
SHORT = passage("Yes.", 3)
AGAIN = passage("The warranty covers TWO years, and all accidents!", 4)


def reasons(*tables: dict[str, object], score: float = 0.5) -> list[str]:
    found = [FoundPassage(each, rank, rank, score) for rank, each in enumerate([OLD, NEW, SHORT, AGAIN], start=1)]
    kept, dropped = apply_rules(found, parse_rules(tables, NOW), below=0.7)
    assert len(kept) + len(dropped) == 4
    return [f"{drop.passage.rank}: {drop.reason}" for drop in dropped]


def test_every_rule_gives_its_reason():
    assert reasons({"drop": "older", "years": 2}) == ["1: older than 2 years: of 2023-01-01"]
    assert reasons({"drop": "short", "characters": 10}) == ["3: shorter than 10 characters: 4"]
    assert reasons({"drop": "source", "allowed": ["2.md", "/docs/[13].*"]}) == [
        "4: its source is not one of 2.md, /docs/[13].*"
    ]
    assert reasons({"drop": "metadata", "name": "status", "values": ["draft"]}) == ["1: its status is draft"]
    assert reasons({"drop": "duplicate"}) == ["4: says what passage 2 says: 100% of their terms are the same"]


@pytest.mark.parametrize(
    ("metadata", "rule"),
    [
        ({"status": ["draft", "new"]}, {"name": "status", "values": ["draft"]}),
        ({"final": False}, {"name": "final", "values": [False]}),
        ({"final": False}, {"name": "final", "values": ["false"]}),
        ({"year": 2020.0}, {"name": "year", "values": [2020]}),
        ({"review": {"state": "open"}}, {"name": "review.state", "values": ["open"]}),
    ],
)
def test_a_rule_on_metadata_reads_it_as_filters_do(metadata: dict[str, object], rule: dict[str, object]):
    rules = parse_rules([{"drop": "metadata", **rule}])
    found = [FoundPassage(passage("text", 1, **metadata), 1, 1, 0.5), FoundPassage(passage("text", 2), 2, 2, 0.5)]
    kept, dropped = apply_rules(found, rules, below=0.7)
    assert ([each.rank for each in kept], [drop.passage.rank for drop in dropped]) == ([2], [1])


def test_strong_passages_are_kept_whatever_the_rules_say():
    rules = [{"drop": "older", "years": 2}, {"drop": "short", "characters": 99}]
    assert len(reasons(*rules)) == 4
    assert reasons(*rules, score=0.7) == []


def test_age_is_counted_from_now(monkeypatch: pytest.MonkeyPatch):
    class Clock(datetime):
        year_now = 2024

        @classmethod
        def now(cls, tz=None):
            return datetime(cls.year_now, 6, 1, tzinfo=tz)

    monkeypatch.setattr("finerank.rag.rules.datetime", Clock)
    rules = parse_rules([{"drop": "older", "years": 2}])
    found = [FoundPassage(OLD, 1, 1, 0.5)]
    assert apply_rules(found, rules, below=0.7)[1] == []
    Clock.year_now = 2026
    assert len(apply_rules(found, rules, below=0.7)[1]) == 1


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"drop": "old"}, "older, source, short"),
        ({}, "drop = None"),
        ({"drop": "older"}, "needs years"),
        ({"drop": "older", "years": "two"}, "number 1"),
        ({"drop": "older", "years": 1e9}, "number 1"),
        ({"drop": "short", "characters": 1, "words": 2}, "unknown words"),
        ({"drop": "source", "allowed": "docs"}, "must be a list"),
    ],
)
def test_a_wrong_rule_is_named(table: dict[str, object], complaint: str):
    with pytest.raises(InvalidSetting, match=complaint):
        parse_rules([table])
