"""The Ask tab: the funnel, the passages before and after, the answer and its citations, from a real store."""

import json
import math
from itertools import count

import pytest
from playwright.sync_api import Locator, expect

from finerank.rag.said import SENTENCES

from .conftest import DOCUMENTS, Site, StartVisit, Visit
from .test_access import contrasts

ASKED = count()
SETTLED = "#ask:not(.busy) .made"


@pytest.fixture
def question() -> str:
    """One that was not asked before: answers are kept."""
    return f"how do I reset the router {next(ASKED)}?"


@pytest.fixture(params=["en-GB", "zh-CN"])
def asking(request: pytest.FixtureRequest, start_visit: StartVisit, asking_site: Site) -> Visit:
    visit = start_visit(request.param, at=asking_site).open()
    visit.page.click("#tab-ask")
    return visit


def ask(visit: Visit, question: str) -> None:
    visit.page.fill("#question", question)
    visit.page.click("#ask-run")
    visit.page.wait_for_selector(SETTLED)


def reply(visit: Visit, *events: tuple[str, dict]) -> None:
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    visit.page.route("**/finerank/v1/ask", lambda route: route.fulfill(content_type="text/event-stream", body=body))


def stages(visit: Visit) -> Locator:
    return visit.page.locator("#ask-funnel .stage")


RECALL = ("stage", {"name": "recall", "given": 0, "kept": 100, "seconds": 0.02})
RERANK = ("stage", {"name": "rerank", "given": 100, "kept": 50, "seconds": 0.5})


def test_the_funnel_narrows_to_an_answer_that_cites(asking: Visit, question: str) -> None:
    expect(asking.page.locator("#ask-empty h3")).to_have_text(asking.said("ask.empty"))
    asking.page.fill("#question", question)
    asking.page.press("#question", "Control+Enter")
    asking.page.wait_for_selector(SETTLED)
    expect(asking.page.locator("#ask-empty")).to_be_hidden()
    names = ["recall", "rerank", "merge", "rules", "prompt"]
    assert stages(asking).locator(".stage-name").all_inner_texts() == [asking.said(f"stage.{name}") for name in names]
    kept = [int(text) for text in stages(asking).locator(".kept").all_inner_texts()]
    assert kept[0] == kept[1] == len(DOCUMENTS)
    assert kept[2] == len(DOCUMENTS) - 1  # the twin was merged
    assert kept[2] > kept[4] >= 1
    expect(asking.page.locator("#ask-decision strong")).to_have_text(asking.said("decision.rerank"))
    expect(asking.page.locator("#ask-answer .answer")).to_contain_text("reset the router")
    expect(asking.page.locator(".made-how")).to_have_text(asking.said("ask.kind.extractive"))


def test_passages_stand_before_and_after_and_the_dropped_say_why(asking: Visit, question: str) -> None:
    ask(asking, question)
    before, after = asking.page.locator(".passages.before"), asking.page.locator(".passages.after")
    expect(before.locator(".passage")).to_have_count(len(DOCUMENTS))
    expect(after.locator(".passage")).to_have_count(len(DOCUMENTS) - 1)
    first = after.locator(".passage").first
    expect(first).to_contain_text("[1]")
    expect(first.locator(".heading")).to_contain_text("Reset")
    assert len(first.locator(".passage-score").inner_text().split(".")[1]) == 4
    expect(before.locator(".dropped", has_text=asking.said("passage.twin", rank=1))).to_have_count(1)
    bread = after.locator(".dropped", has_text="Knead")
    expect(bread.locator(".reason")).to_contain_text("0.3")
    shown = asking.page.locator(".passages .text", has_text="<img src=x onerror=alert(1)>")
    assert shown.count() > 0
    expect(asking.page.locator("#ask img")).to_have_count(0)


def test_the_servers_sentences_are_in_the_pages_language(asking: Visit, question: str) -> None:
    ask(asking, question)
    chinese = asking.said("tab.ask") == "提问"
    why = asking.page.locator("#ask-decision bdi").first
    expect(why).to_contain_text("没有不利的证据" if chinese else "no evidence against it")
    expect(why.locator("code")).to_have_text("finerank evaluate --store")
    expect(why).not_to_contain_text("`")
    reason = asking.page.locator(".passages.after .dropped .reason").first
    expect(reason).to_contain_text("低于 0.3" if chinese else "is below 0.3")


@pytest.mark.parametrize("asking", ["zh-CN"], indirect=True)
def test_a_sentence_of_a_code_the_page_does_not_know_is_introduced_as_the_servers(asking: Visit) -> None:
    known = {"code": "gate.hurts", "values": {"measure": "nDCG@10", "mean": "-0.1", "low": "-0.2", "high": "-0.01",
                                              "queries": "40", "script": "han"}}  # fmt: skip
    shown = "([text, code]) => import('./js/said.js').then(({said}) => said(text, code).join(''))"
    introduced = "服务返回的信息（英文）：kept as it is"
    assert asking.page.evaluate(shown, ["kept as it is", {"code": "gate.new", "values": {}}]) == introduced
    assert asking.page.evaluate(shown, ["kept as it is", {}]) == introduced
    assert asking.page.evaluate(shown, ["", {}]) == ""
    told = asking.page.evaluate(shown, ["reranking hurts", known])
    assert told == "重排在这里有害：nDCG@10 -0.1（-0.2 至 -0.01），40 个已评判的问题（汉字）"


def test_every_sentence_has_its_chinese(asking: Visit) -> None:
    source = asking.page.evaluate("() => fetch('./js/said.js').then((answer) => answer.text())")
    assert {code for code in SENTENCES if f'"{code}":' not in source} == set()


def test_a_citation_shows_its_source_and_leads_to_its_passage(asking: Visit, question: str) -> None:
    ask(asking, question)
    marker = asking.page.locator(".cite").first
    box = asking.page.locator(f"#{marker.get_attribute('aria-describedby')}")
    expect(box).to_be_hidden()
    marker.hover()
    expect(box).to_contain_text("hold the button")
    expect(box.locator(".source")).to_contain_text(".md")
    expect(box).to_be_visible()
    box.hover()
    asking.page.wait_for_timeout(300)
    expect(box).to_be_visible()
    asking.page.mouse.move(0, 0)
    expect(box).to_be_hidden()
    marker.focus()
    expect(box).to_be_visible()
    asking.page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    marker.click()
    expect(asking.page.locator("#ask-passage-1")).to_be_focused()


def test_what_nothing_answers_is_said(asking: Visit) -> None:
    ask(asking, "quantum chromodynamics lattice")
    expect(asking.page.locator(".answer.unknown")).to_have_text(asking.said("ask.unknown"))
    expect(asking.page.locator(".made-how")).to_have_text(asking.said("ask.kind.unknown"))
    expect(asking.page.locator(".cite")).to_have_count(0)
    expect(asking.page.locator(".passages.after .passage:not(.dropped)")).to_have_count(0)


def test_an_answer_from_the_cache_says_so(asking: Visit, question: str) -> None:
    ask(asking, question)
    asking.page.reload()
    expect(asking.page.locator("#question")).to_have_value(question)
    ask(asking, question)
    expect(asking.page.locator(".made .tag")).to_have_text(asking.said("ask.cached"))
    expect(asking.page.locator("#ask-funnel")).to_have_text(asking.said("ask.way.none"))
    expect(asking.page.locator(".passages.made-from .passage")).not_to_have_count(0)


def test_bars_are_as_wide_as_their_counts_and_appear_as_they_come(asking: Visit) -> None:
    reply(asking, RECALL, RERANK, ("error", {"error": {"kind": "failed", "message": "the store fell off the shelf"}}))
    asking.page.fill("#question", "why?")
    asking.page.click("#ask-run")
    failure = asking.page.locator("#ask-failure")
    expect(failure).to_contain_text("the store fell off the shelf")
    expect(failure).to_contain_text(asking.said("ask.kept"))
    expect(asking.page.locator("#question")).to_have_value("why?")
    assert [fill.evaluate("n => n.style.width") for fill in stages(asking).locator(".fill").all()] == ["100%", "50%"]
    expect(stages(asking).nth(1).locator(".took")).to_have_text(asking.said("stage.took", ms=500))
    asking.page.unroute("**/finerank/v1/ask")
    asking.button("again").click()
    asking.page.wait_for_selector(SETTLED)
    expect(failure).to_be_hidden()


def test_stopped_before_anything_came_it_says_so_and_the_focus_stays(asking: Visit) -> None:
    asking.page.route("**/finerank/v1/ask", lambda route: None)
    asking.page.fill("#question", "how?")
    asking.page.click("#ask-run")
    asking.page.click("#ask-stop")
    expect(asking.page.locator("#ask-run")).to_be_focused()
    expect(asking.page.locator("#ask > [role=status]")).to_have_text(asking.said("live.stopped"))
    expect(asking.page.locator("#asked")).to_be_hidden()


def test_an_answer_that_breaks_off_says_so_where_it_stands(asking: Visit) -> None:
    reply(asking, RECALL, ("text", {"text": "Hold"}))
    asking.page.fill("#question", "how?")
    asking.page.click("#ask-run")
    expect(asking.page.locator("#ask-answer .note")).to_have_text(asking.said("ask.broken"))
    expect(asking.page.locator("#ask .waiting")).to_have_count(0)


def test_a_generated_answer_names_its_generator_and_notes_stand_out(asking: Visit) -> None:
    passage = {"id": "a", "text": "Hold it.", "metadata": {"source": "a.md"}, "rank": 1, "recall_rank": 1, "score": 0.9,
               "logit": 2.0, "merged": []}  # fmt: skip
    source = {"number": 1, "source": "a.md", "start": 10, "end": 18, "page": 3, "heading": "", "key": ""}
    text = "<b>Hold</b> it [1], not [7]."
    answer = {"question": "how?", "answer": text, "kind": "generated", "generator": "qwen", "citations": [source],
              "passages": [passage], "notes": ["it broke off"], "seconds": 1.25, "cached": False}  # fmt: skip
    reply(asking, ("text", {"text": text[:9]}), ("text", {"text": text[9:]}), ("answer", answer))
    ask(asking, "how?")
    expect(asking.page.locator(".answer")).to_have_text(text)
    expect(asking.page.locator(".cite")).to_have_text(["[1]"])
    expect(asking.page.locator(".made-how")).to_have_text(asking.said("ask.kind.generated", name="qwen"))
    lead_in = "服务返回的信息（英文）：" if asking.said("tab.ask") == "提问" else ""
    expect(asking.page.locator("#ask-answer .note")).to_have_text(f"{lead_in}it broke off")
    asking.page.locator(".cite").focus()
    expect(asking.page.locator("#ask-source-1")).to_contain_text(asking.said("passage.page", page="3"))
    expect(asking.page.locator("#ask-source-1")).to_contain_text(asking.said("passage.offsets", start=10, end=18))


def test_problems_with_the_question_are_said_at_its_field(asking: Visit, question: str) -> None:
    ask(asking, question)
    asking.page.fill("#question", " ")
    asking.page.click("#ask-run")
    expect(asking.page.locator("#question-problem")).to_have_text(asking.said("ask.no-question"))
    expect(asking.page.locator("#question")).to_be_focused()
    asking.expected = ("422",)
    error = {"error": {"kind": "invalid", "message": "far too long", "field": "question"}}
    asking.page.route("**/finerank/v1/ask", lambda route: route.fulfill(status=422, json=error))
    asking.page.fill("#question", "why?")
    expect(asking.page.locator("#question-problem")).to_be_empty()
    asking.page.click("#ask-run")
    expect(asking.page.locator("#question-problem")).to_contain_text("far too long")
    expect(asking.page.locator("#question")).to_have_attribute("aria-invalid", "true")
    expect(asking.page.locator(".asked .headline")).to_have_text(question)  # the last answer stays
    asking.page.fill("#question", "why then?")


def test_a_new_question_ends_the_one_under_way(asking: Visit, asking_site: Site, question: str) -> None:
    asking_site.backend.allowed = 0
    asking.page.fill("#question", "how do I reset the router while it waits?")
    asking.page.click("#ask-run")
    try:
        expect(stages(asking)).to_have_count(1)
        expect(asking.page.locator("#ask-stop")).to_be_visible()
        asking.page.fill("#question", question)
        with asking.page.expect_event("requestfailed", lambda request: request.url.endswith("/finerank/v1/ask")):
            asking.page.click("#ask-run")
    finally:
        asking_site.backend.allowed = math.inf
    asking.page.wait_for_selector(SETTLED)
    expect(asking.page.locator(".asked .headline")).to_have_text(question)
    expect(asking.page.locator("#ask-failure")).to_be_hidden()


def test_without_a_store_there_is_no_tab(visit: Visit) -> None:
    expect(visit.page.locator("#tab-ask")).to_be_hidden()
    visit.page.goto(f"{visit.url}/#ask")
    expect(visit.page.locator("#rerank")).to_be_visible()
    visit.page.locator("#tab-rerank").press("ArrowRight")
    expect(visit.page.locator("#tab-compare")).to_be_focused()


def test_with_a_store_the_tab_lies_between(asking: Visit) -> None:
    asking.page.locator("#tab-rerank").press("ArrowRight")
    expect(asking.page.locator("#tab-ask")).to_be_focused()
    expect(asking.page.locator("#question")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_with_contrast_aa(
    start_visit: StartVisit, asking_site: Site, question: str, scheme: str
) -> None:
    phone = {"width": 360, "height": 740}
    visit = start_visit("zh-CN", at=asking_site, color_scheme=scheme, viewport=phone).open()
    visit.page.click("#tab-ask")
    seen = contrasts(visit.page)
    ask(visit, question)
    visit.page.locator(".cite").first.focus()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 360
    seen += contrasts(visit.page)
    visit.page.locator(".cite").first.click()
    seen += contrasts(visit.page)
    assert [row for row in seen if row[2] < 4.5] == []
