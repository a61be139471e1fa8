"""What goes wrong is said where it concerns someone, with what to do; and nothing is lost."""

import json
import re

import pytest
from playwright.sync_api import Route, expect

from .conftest import CANDIDATES, QUERY, Site, StartVisit, Visit


def problem(kind: str, message: str = "", field: str | None = None, retry_after_s: int | None = None) -> dict:
    return {"error": {"kind": kind, "message": message, "field": field, "retry_after_s": retry_after_s}}


def fail(visit: Visit, status: int, body: dict) -> None:
    visit.expected = (str(status),)
    visit.page.route("**/finerank/v1/rerank", lambda route: route.fulfill(status=status, json=body))


def kept(visit: Visit) -> None:
    expect(visit.page.locator("#query")).to_have_value(QUERY)
    expect(visit.page.locator("#candidates")).to_have_value("\n".join(CANDIDATES))


def test_missing_fields_are_named_at_the_field(visit: Visit) -> None:
    visit.page.click("#run")
    expect(visit.page.locator("#query-problem")).to_have_text(visit.said("problem.no-query"))
    expect(visit.page.locator("#candidates-problem")).to_have_text(visit.said("problem.no-candidates"))
    expect(visit.page.locator("#query")).to_be_focused()
    expect(visit.page.locator("#query")).to_have_attribute("aria-invalid", "true")
    visit.page.fill("#query", "now there is one")
    expect(visit.page.locator("#query-problem")).to_be_empty()
    assert visit.sent("/finerank/v1/rerank") == []


def test_broken_json_is_named_and_can_be_taken_as_lines(visit: Visit) -> None:
    visit.fill(candidates='["a", b]')
    visit.page.click("#run")
    expect(visit.page.locator("#candidates-problem")).to_contain_text(visit.said("problem.bad-json"))
    visit.button("take-as-lines").click()
    visit.page.click("#run")
    visit.ranked()
    expect(visit.cards().first.locator(".text")).to_have_text('["a", b]')


def test_too_many_candidates_are_told_before_they_are_sent(visit: Visit) -> None:
    visit.fill(candidates=json.dumps(["a"] * 2001))
    visit.page.click("#run")
    expect(visit.page.locator("#candidates-problem")).to_have_text(visit.said("problem.too-many", n=2001, limit=2000))
    assert visit.sent("/finerank/v1/rerank") == []


def test_the_servers_problem_with_one_candidate_is_shown_there(visit: Visit) -> None:
    fail(visit, 422, problem("invalid", "is not text", "documents[3]"))
    visit.fill()
    visit.page.click("#run")
    said = visit.page.locator("#candidates-problem")
    expect(said).to_contain_text(visit.said("problem.candidate", n=4))
    expect(said).to_contain_text("is not text")
    selected = "n => n.value.slice(n.selectionStart, n.selectionEnd)"
    assert visit.page.locator("#candidates").evaluate(selected) == CANDIDATES[3]
    kept(visit)


def test_a_full_server_says_when_to_come_again_and_the_old_ranking_stays(visit: Visit) -> None:
    visit.rank()
    fail(visit, 429, problem("overloaded", "full", None, 7))
    visit.page.click("#run")
    expect(visit.page.locator("#failure")).to_contain_text(visit.said("problem.overloaded", seconds=7))
    expect(visit.page.locator("#failure")).to_contain_text(visit.said("problem.kept"))
    expect(visit.cards()).to_have_count(len(CANDIDATES))
    kept(visit)
    visit.page.unroute("**/finerank/v1/rerank")
    visit.button("again").click()
    expect(visit.page.locator("#failure")).to_be_hidden()
    visit.ranked()


@pytest.mark.parametrize("fault", ["offline", "cut", "error event", "no JSON"])
def test_a_ranking_that_breaks_off_says_so(start_visit: StartVisit, fault: str) -> None:
    visit = start_visit("zh-CN" if fault == "cut" else "en-GB").open()
    scores = [{"index": 1, "logit": 1.5, "score": 0.8175, "truncated": False}]
    progress = f"event: progress\ndata: {json.dumps({'done': 1, 'total': 5, 'scores': scores})}\n\n"
    failed = f"event: error\ndata: {json.dumps(problem('failed', 'the GPU fell off'))}\n\n"

    def answer(route: Route) -> None:
        if fault == "offline":
            route.abort("connectionrefused")
        elif fault == "no JSON":
            route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")
        else:
            body = progress + (failed if fault == "error event" else "")
            route.fulfill(status=200, content_type="text/event-stream", body=body)

    visit.expected = ("502", "ERR_CONNECTION_REFUSED")
    visit.page.route("**/finerank/v1/rerank", answer)
    visit.fill()
    visit.page.click("#run")
    kinds = {"offline": "offline", "cut": "cut", "error event": "failed", "no JSON": "failed"}
    expect(visit.page.locator("#failure")).to_contain_text(visit.said(f"problem.{kinds[fault]}"))
    if fault == "cut":
        expect(visit.page.locator("#failure")).to_contain_text(visit.said("problem.partly", done=1, n=5))
        expect(visit.cards()).to_have_count(1)
    kept(visit)
    visit.page.unroute("**/finerank/v1/rerank")
    visit.button("again").click()
    visit.ranked()
    expect(visit.cards()).to_have_count(len(CANDIDATES))


def test_a_degraded_ranking_says_why(visit: Visit) -> None:
    def degrade(route: Route) -> None:
        response = route.fetch(headers={**route.request.headers, "accept": "application/json"})
        route.fulfill(json={**response.json(), "degraded": "the reranker is down: your own order"})

    visit.page.route("**/finerank/v1/rerank", degrade)
    visit.rank()
    said = visit.said("note.degraded", why="the reranker is down: your own order")
    expect(visit.page.locator(".note.caution")).to_have_text(said)


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_a_key_is_asked_for_kept_in_the_tab_and_everything_goes_on(
    start_visit: StartVisit, locked_site: Site, language: str
) -> None:
    visit = start_visit(language, at=locked_site)
    visit.expected = ("401",)
    visit.page.goto(visit.url)
    field = visit.page.get_by_label(visit.said("key.label"))
    expect(field).to_be_focused()
    field.fill("wrong")
    field.press("Enter")
    expect(visit.page.locator("#key-problem")).to_have_text(visit.said("key.refused"))
    field.fill("open-sesame")
    visit.button("key.use").click()
    expect(visit.page.locator("#key-form")).to_be_hidden()
    expect(visit.page.locator("#empty .trap").first).to_be_visible()
    visit.rank()
    visit.page.reload()
    visit.page.wait_for_selector(".dot.ready")
    expect(visit.page.locator("#key-form")).to_be_hidden()
    assert "open-sesame" not in visit.page.evaluate("JSON.stringify({...localStorage})")


def test_what_takes_an_admin_key_asks_for_one_and_ranking_goes_on_with_the_other(
    start_visit: StartVisit, locked_site: Site
) -> None:
    visit = start_visit("en-GB", at=locked_site)
    visit.expected = ("401", "403", "422")
    page = visit.page
    page.goto(visit.url)
    page.get_by_label(visit.said("key.label")).fill("open-sesame")
    visit.button("key.use").click()
    visit.rank()
    page.click("#tab-health")
    visit.button("scores.store").click()
    expect(page.locator("#key-note")).to_have_text(visit.said("key.note.admin"))
    expect(page.locator("#key-problem")).to_have_text("")
    page.get_by_label(visit.said("key.label")).fill("abracadabra")
    visit.button("key.use").click()
    expect(page.locator("#key-form")).to_be_hidden()
    with page.expect_response("**/health/ranking/baseline") as refused:
        visit.button("scores.store").click()
    assert refused.value.status == 422  # too few requests: the key is right
    with page.expect_request("**/rerank") as asked:
        page.click("#tab-rerank")
        visit.rank()
    assert asked.value.headers["authorization"] == "Bearer open-sesame"


def test_a_key_that_expires_is_asked_for_again_and_the_ranking_goes_on(visit: Visit) -> None:
    fail(visit, 401, problem("unauthorized", "no key"))
    visit.fill()
    visit.page.click("#run")
    expect(visit.page.locator("#key-form")).to_be_visible()
    visit.page.unroute("**/finerank/v1/rerank")
    visit.page.fill("#key", "new")
    visit.page.locator("#key").press("Enter")
    visit.ranked()
    kept(visit)


DETAIL = """async ([path, body]) => {
  const {post, get} = await import('./js/api.js');
  const {explainProblem} = await import('./js/problem.js');
  try {
    await (body ? post(path, body) : get(path));
  } catch (problem) {
    return explainProblem(problem).detail;
  }
}"""
REFUSED = [
    ("finerank/v1/rerank", {"query": " ", "documents": ["a"]}),
    ("finerank/v1/rerank", {"query": 7, "documents": ["a"]}),
    ("finerank/v1/rerank", {"query": "q", "documents": ["a", 7]}),
    ("finerank/v1/rerank", {"query": "q", "documents": ["a"], "top_n": 0}),
    ("finerank/v1/rerank", {"query": "q", "documents": ["a"] * 2001}),
    ("finerank/v1/rerank", {"query": "q", "documents": ["a"], "model": "other"}),
    ("finerank/v1/explain", {"query": "q"}),
    ("finerank/v1/ask", {"question": "q"}),
    ("finerank/v1/health/ranking/baseline", {"tag": "nobody"}),
    ("finerank/v1/nothing", {"query": "q"}),
    ("finerank/v1/rerank", None),
]


@pytest.mark.parametrize(("path", "body"), REFUSED)
def test_what_the_server_refuses_is_said_in_the_pages_language(
    start_visit: StartVisit, path: str, body: dict | None
) -> None:
    chinese = start_visit("zh-CN").open()
    chinese.expected = ("status of 4",)
    told = chinese.page.evaluate(DETAIL, [path, body])
    assert re.search(r"[\u4e00-\u9fff]", told)
    assert "服务返回的信息" not in told
    assert re.findall(r"[a-z]+ [a-z]+ [a-z]+", told) == []  # names of fields and settings, but no English prose


def test_a_message_without_a_code_is_introduced_in_chinese(visit: Visit) -> None:
    fail(visit, 500, problem("failed", "the GPU fell off"))
    visit.fill()
    visit.page.click("#run")
    lead_in = "服务返回的信息（英文）：" if visit.said("run") == "重排" else ""
    expect(visit.page.locator("#failure p").nth(1)).to_have_text(f"{lead_in}the GPU fell off")


def test_the_dot_turns_red_as_soon_as_a_request_finds_no_server(visit: Visit) -> None:
    visit.expected = ("ERR_CONNECTION_REFUSED",)
    visit.page.route("**/finerank/v1/**", lambda route: route.abort("connectionrefused"))
    visit.fill()
    visit.page.click("#run")
    expect(visit.page.locator(".dot.failed")).to_be_visible()
    expect(visit.page.locator(".dot.ready")).to_have_count(0)
    expect(visit.page.locator("#server")).to_have_text(visit.said("problem.offline"))


def test_the_server_is_asked_every_few_seconds_and_the_dot_follows(start_visit: StartVisit) -> None:
    visit = start_visit(timezone_id="Asia/Tokyo")  # a context of its own: the clock is the context's
    visit.expected = ("ERR_CONNECTION_REFUSED", "503")
    visit.page.clock.install()
    visit.open()
    visit.page.route("**/finerank/v1/info", lambda route: route.abort("connectionrefused"))
    visit.page.clock.run_for(5_100)
    expect(visit.page.locator(".dot.failed")).to_be_visible()
    visit.page.unroute("**/finerank/v1/info")
    body = problem("unavailable", "the server is shutting down")
    visit.page.route("**/finerank/v1/info", lambda route: route.fulfill(status=503, json=body))
    visit.page.clock.run_for(3_100)
    expect(visit.page.locator("#server")).to_have_text(visit.said("problem.unavailable"))
    visit.page.unroute("**/finerank/v1/info")
    visit.page.clock.run_for(3_100)
    expect(visit.page.locator(".dot.ready")).to_be_visible()


def test_a_server_that_is_away_is_said_and_found_again(visit: Visit) -> None:
    visit.expected = ("ERR_CONNECTION_REFUSED",)
    visit.page.route("**/finerank/v1/info", lambda route: route.abort("connectionrefused"))
    visit.page.evaluate("import('./js/server.js').then(({askServer}) => askServer())")
    expect(visit.page.locator("#server")).to_have_text(visit.said("problem.offline"))
    visit.page.unroute("**/finerank/v1/info")
    expect(visit.page.locator(".dot.ready")).to_be_visible()
