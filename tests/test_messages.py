"""Messages with codes, and that all of them can be said in Chinese."""

import ast
import copy
import json
import math
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import finerank
from finerank.errors import InvalidInput, MissingExtra, Overloaded
from finerank.messages import Message, change_text, message_json, message_of

SOURCES = Path(finerank.__file__).parent
REFUSALS = {
    "RequestTooLarge",
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "Overloaded",
    "Unavailable",
    "DeadlineExceeded",
}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield f"{path.relative_to(SOURCES)}:{node.lineno}", node


def test_a_message_is_a_string_with_a_code_and_values():
    message = Message("{name!r} took {seconds:g} s", "slow", name="a", seconds=2.0)
    assert message == "'a' took 2 s"
    assert json.dumps(message) == json.dumps("'a' took 2 s")
    assert message_json(message) == {"code": "slow", "values": {"name": "a", "seconds": 2.0}}
    assert message_json("plain") == {"code": "", "values": {}}


def test_values_are_what_json_holds():
    message = Message("{logit} {path} {error}", "x", logit=math.nan, path=Path("a"), error=ValueError("no"))
    assert json.loads(json.dumps(message_json(message), allow_nan=False))["values"] == {
        "logit": "nan",
        "path": "a",
        "error": "no",
    }


def test_a_value_that_is_a_message_keeps_its_code():
    inner = InvalidInput(Message("{count} are too many", "many", count=3))
    outer = Message("not reranked: {why}", "note", why=inner)
    assert outer == "not reranked: 3 are too many"
    why = {"message": "3 are too many", "code": "many", "values": {"count": 3}}
    assert message_json(outer)["values"] == {"why": why}


@pytest.mark.parametrize("change", [copy.copy, copy.deepcopy, lambda message: pickle.loads(pickle.dumps(message))])
def test_a_message_survives_copying(change):
    message = Message("{braces} {count}", "code", braces="{not a slot}", count=1)
    copied = change(message)
    assert (copied, copied.code, copied.values) == (message, "code", {"braces": "{not a slot}", "count": 1})


def test_an_exception_gives_its_message_back():
    assert message_of(Overloaded(Message("full", "full"), retry_after_s=1)).code == "full"
    assert message_of(MissingExtra("reading DOCX", "rag")).code == "extra.missing"
    assert message_of(KeyError("a")) == "'a'"
    assert message_of(ValueError()) == ""


def test_text_is_changed_in_the_values_too():
    message = Message("{path}: {why}", "x", path="/secret/a", why=Message("no {path}", "y", path="/secret/a"))
    changed = change_text(message, lambda text: text.replace("/secret", "..."))
    assert "/secret" not in changed + json.dumps(message_json(changed))
    assert changed.code == "x"
    assert change_text("plain", str.upper) == "PLAIN"


def test_every_code_has_its_chinese():
    chinese = (SOURCES / "serving/ui/js/said.js").read_text(encoding="utf-8")
    codes = {
        place: node.args[1].value
        for place, node in calls()
        if node.func.id == "Message" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
    }
    assert len(codes) > 30
    assert {place: code for place, code in codes.items() if f'"{code}":' not in chinese} == {}


def test_every_refusal_of_the_server_has_a_code():
    plain = [
        place
        for place, node in calls()
        if place.startswith("serving/") and node.func.id in REFUSALS
        if not (isinstance(node.args[0], ast.Call) and node.args[0].func.id == "Message")
    ]
    assert plain == []
