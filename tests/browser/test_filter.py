"""Filtering the results by text and by score."""

import json

import pytest
from playwright.sync_api import expect

from .conftest import CANDIDATES, Visit


def visible_ranks(visit: Visit) -> list[str]:
    return visit.page.locator(".card:not([hidden]) .rank").all_text_contents()


@pytest.mark.parametrize(
    ("text", "found"), [("admin", 3), ("ＡＤＭＩＮ", 3), ("  reset ", 2), ("no such words", 0), ("<b>", 0)]
)
def test_text_is_found_whatever_its_case_and_width_and_ranks_stay(visit: Visit, text: str, found: int) -> None:
    visit.rank()
    texts = visit.page.locator(".card .text").all_text_contents()
    visit.page.get_by_role("searchbox", name=visit.said("filter.text")).fill(text)
    expect(visit.page.locator("#filter-count")).to_have_text(visit.said("filter.shown", shown=found, n=len(CANDIDATES)))
    ranks = visible_ranks(visit)
    assert len(ranks) == found
    shown = visit.page.locator(".card:not([hidden]) .text").all_text_contents()
    assert ranks == [str(texts.index(text) + 1) for text in shown]


def test_scores_are_filtered_as_they_are_shown(visit: Visit) -> None:
    visit.rank()
    scores = visit.page.locator(".card .score").all_text_contents()
    visit.page.get_by_label(visit.said("filter.from"), exact=True).fill(scores[2])
    visit.page.get_by_label(visit.said("filter.to"), exact=True).fill(scores[1])
    assert visible_ranks(visit) == ["2", "3"]
    visit.button("filter.clear").click()
    assert visible_ranks(visit) == ["1", "2", "3", "4", "5"]
    expect(visit.page.locator("#filter-text")).to_be_focused()
    expect(visit.page.locator("#filter-count")).to_be_empty()


def test_ids_are_found_and_arrows_pass_over_what_is_hidden(english: Visit) -> None:
    english.rank(candidates=json.dumps([{"text": text, "id": f"kb-{n % 2}"} for n, text in enumerate(CANDIDATES)]))
    english.page.fill("#filter-text", "kb-0")
    ranks = visible_ranks(english)
    assert len(ranks) == 3
    english.page.locator(".card:not([hidden]) .toggle").first.focus()
    for rank in ranks[1:]:
        english.page.keyboard.press("ArrowDown")
        at = english.page.evaluate("document.activeElement.closest('.card').querySelector('.rank').textContent")
        assert at == rank


def test_a_filter_holds_for_the_next_ranking_and_says_so(english: Visit) -> None:
    english.rank()
    english.page.fill("#filter-text", "router")
    english.rank(candidates=[*CANDIDATES[1:], "the admin of the router"])
    expect(english.page.locator("#filter-count")).to_have_text(english.said("filter.shown", shown=1, n=5))


def test_300_candidates_are_filtered_at_once(english: Visit) -> None:
    english.rank(candidates=[f"passage {n} of many" for n in range(300)])
    took = english.page.evaluate("""() => {
      const field = document.getElementById("filter-text");
      field.value = "passage 299";
      const start = performance.now();
      field.dispatchEvent(new Event("input"));
      return performance.now() - start;
    }""")
    assert took < 500
    expect(english.page.locator(".card:not([hidden])")).to_have_count(1)


def test_one_candidate_needs_no_filter(english: Visit) -> None:
    english.rank(candidates=["alone"])
    expect(english.page.locator("#filter")).to_be_hidden()
