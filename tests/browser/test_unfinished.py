"""Rankings that end early: stopped, broken off, or replaced. What is on the page says so, and goes on working."""

import json
import math

import pytest
from playwright.sync_api import Route, expect

from .conftest import CANDIDATES, QUERY, Site, Visit
from .test_rerank import set_threshold

MANY = [f"{QUERY} {n}. {'About nothing much at all. ' * 20}" for n in range(40)]
SCORES = [{"index": n, "logit": 1.5 - n, "score": 0.8 - n / 10, "truncated": False} for n in range(2)]


def headline(visit: Visit) -> str:
    return visit.page.locator("#verdict .headline").inner_text()


def stop_after_some(visit: Visit, site: Site) -> int:
    """Stops a ranking in its middle; how many candidates have their scores."""
    visit.fill(candidates=MANY)
    site.backend.allowed = 2
    visit.page.click("#run")
    expect(visit.cards().first).to_be_visible()
    visit.page.wait_for_timeout(200)
    visit.page.click("#stop")
    expect(visit.page.locator("#stop")).to_be_hidden()
    site.backend.allowed = math.inf
    return visit.cards().count()


def test_a_stopped_ranking_says_how_far_it_came_in_either_language(visit: Visit, site: Site) -> None:
    done = stop_after_some(visit, site)
    assert headline(visit) == visit.said("verdict.stopped", done=done, n=40)
    expect(visit.page.locator(".waiting")).to_have_count(0)
    expect(visit.page.locator("#run")).to_be_focused()
    expect(visit.page.locator("#live")).to_have_text(visit.said("live.stopped"))
    visit.page.click("#language")
    assert headline(visit) == visit.said("verdict.stopped", done=done, n=40)


def test_a_candidate_of_a_stopped_ranking_is_explained_when_it_is_opened(visit: Visit, site: Site) -> None:
    stop_after_some(visit, site)
    assert visit.sent("/finerank/v1/explain") == []
    visit.cards().first.locator(".toggle").click()
    expect(visit.cards().first.locator(".words li").first).to_be_visible()


def test_stopped_before_any_score_the_ranking_before_stays_and_works(visit: Visit, site: Site) -> None:
    visit.rank()
    before = headline(visit)
    visit.page.fill("#query", "another query")
    site.backend.allowed = 0
    visit.page.click("#run")
    visit.page.click("#stop")
    site.backend.allowed = math.inf
    assert headline(visit) == before
    expect(visit.page.locator("#stale")).to_be_visible()
    set_threshold(visit.page, 0)
    expect(visit.page.locator(".card.over")).to_have_count(len(CANDIDATES))
    visit.cards().nth(1).locator(".toggle").click()
    expect(visit.cards().nth(1).locator(".words li").first).to_be_visible()
    visit.page.click("#language")
    assert headline(visit) == visit.said("verdict.new", given=2)


@pytest.mark.parametrize("fault", ["cut", "error"])
def test_a_ranking_that_breaks_off_says_how_far_it_came(visit: Visit, fault: str) -> None:
    progress = f"event: progress\ndata: {json.dumps({'done': 2, 'total': 5, 'scores': SCORES})}\n\n"
    error = {"error": {"kind": "timeout", "message": "late", "field": None, "retry_after_s": None}}
    end = f"event: error\ndata: {json.dumps(error)}\n\n" if fault == "error" else ""

    def break_off(route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body=progress + end)

    visit.page.route("**/finerank/v1/rerank", break_off)
    visit.fill()
    visit.page.click("#run")
    expect(visit.page.locator("#verdict .headline")).to_have_text(visit.said("verdict.broken", done=2, n=5))
    expect(visit.page.locator(".waiting")).to_have_count(0)
    expect(visit.page.locator("#failure")).to_be_visible()


def test_a_ranking_that_was_replaced_does_not_come_back(english: Visit, site: Site) -> None:
    english.fill(candidates=MANY)
    site.backend.allowed = 1
    english.page.click("#run")
    expect(english.cards().first).to_be_visible()
    english.page.fill("#candidates", "first\nsecond")
    english.page.click("#run")
    site.backend.allowed = math.inf
    english.ranked()
    english.page.wait_for_timeout(100)
    expect(english.cards()).to_have_count(2)
