"""Copying a request as curl and as Python: what is copied runs, and names the key without holding it."""

import json
import subprocess
import sys

import pytest

from .conftest import CANDIDATES, QUERY, Site, StartVisit, Visit

HOSTILE = """it's "quoted" $HOME `id` \\n \\\\ !1 %s 重置 😀 \t''' \"\"\"; echo pwned"""


def copied(visit: Visit, name: str, panel: str = "rerank") -> str:
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.locator(f"#{panel} [data-copy={name}]").click()
    visit.page.locator(f"#{panel} .copy-as [role=status]", has_text=visit.said("copy.done")).wait_for()
    return str(visit.page.evaluate("navigator.clipboard.readText()"))


def run(name: str, text: str, key: str = "") -> str:
    command = ["sh", "-s"] if name == "curl" else [sys.executable, "-"]
    environment = {"PATH": "/usr/bin:/bin", "FINERANK_API_KEY": key, "PYTHONUTF8": "1", "no_proxy": "*"}
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["curl", "python"])
def test_what_is_copied_ranks_the_same(english: Visit, name: str) -> None:
    english.rank()
    answer = json.loads(run(name, copied(english, name)))
    assert [result["index"] + 1 for result in answer["results"]] == [int(number) for number in english.order()]


@pytest.mark.parametrize("name", ["curl", "python"])
def test_any_text_is_quoted(english: Visit, name: str) -> None:
    metadata = {"a": [None, True, False, 1.5, HOSTILE], "b": {}, HOSTILE: []}
    english.fill(HOSTILE, json.dumps([{"text": HOSTILE, "id": HOSTILE, "metadata": metadata}, {"text": "b"}]))
    results = json.loads(run(name, copied(english, name)))["results"]
    (first,) = [result for result in results if result["index"] == 0]
    assert first["id"] == HOSTILE
    assert first["document"] == {"text": HOSTILE, "metadata": metadata}


def test_a_request_too_long_for_an_argument_still_runs(english: Visit) -> None:
    english.fill(candidates=[f"it's passage {n} {'word ' * 400}" for n in range(100)])
    text = copied(english, "curl")
    assert len(text) > 200_000
    assert len(json.loads(run("curl", text))["results"]) == 100


@pytest.mark.parametrize("name", ["curl", "python"])
def test_the_key_is_named_and_never_written(start_visit: StartVisit, locked_site: Site, name: str) -> None:
    visit = start_visit(at=locked_site)
    visit.expected = ("401",)
    visit.page.goto(visit.url)
    visit.page.fill("#key", "open-sesame")
    visit.button("key.use").click()
    visit.page.wait_for_selector(".dot.ready")
    visit.rank()
    text = copied(visit, name)
    assert "open-sesame" not in text
    assert ("$FINERANK_API_KEY" if name == "curl" else "FINERANK_API_KEY") in text
    assert len(json.loads(run(name, text, key="open-sesame"))["results"]) == len(CANDIDATES)


def test_the_chosen_model_is_in_it_and_the_pages_own_options_are_not(english: Visit) -> None:
    english.fill()
    english.page.get_by_label(english.said("model.label"), exact=True).select_option("backwards")
    text = copied(english, "curl")
    body = json.loads(text.split("--data-binary '")[1].rstrip("'"))
    assert body == {"query": QUERY, "documents": CANDIDATES, "model": "backwards"}


def test_without_a_request_it_says_what_is_missing(visit: Visit) -> None:
    visit.page.locator("#rerank [data-copy=curl]").click()
    assert visit.page.locator("#query-problem").inner_text() == visit.said("problem.no-query")


def test_a_question_can_be_copied_too(start_visit: StartVisit, asking_site: Site) -> None:
    visit = start_visit(at=asking_site).open()
    visit.page.click("#tab-ask")
    visit.page.fill("#question", "how do I reset the router?")
    assert "reset the router" in run("curl", copied(visit, "curl", "ask"))
