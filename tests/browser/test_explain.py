"""Explanations: the share of every sentence and word."""

from playwright.sync_api import expect

from .conftest import Visit

TEXT = "Keep it dry. How do I reset the admin password? Hold the button."


def percent(texts: list[str]) -> list[int]:
    return [int(text.removesuffix("%")) for text in texts]


def test_a_click_on_a_card_shows_the_share_of_every_sentence_and_word(visit: Visit) -> None:
    visit.rank(candidates=["unrelated", TEXT])
    card = visit.cards().first
    card.locator(".text").click()
    expect(card.locator(".toggle")).to_have_attribute("aria-expanded", "true")
    expect(card.locator(".sentences .piece")).to_have_count(3)
    shares = percent(card.locator(".sentences .share").all_inner_texts())
    assert 99 <= sum(shares) <= 101
    assert card.locator(".sentences .deciding .piece").inner_text().startswith("How do I reset the admin password?")
    assert shares[1] == max(shares)
    widths = card.locator(".sentences .fill").evaluate_all("f => f.map(n => parseFloat(n.style.width))")
    assert [round(width) for width in widths] == shares
    expect(card.locator(".words li").first).to_be_visible()
    assert card.locator(".words bdi").all_inner_texts()[:7] == ["How", "do", "I", "reset", "the", "admin", "password"]
    assert 90 <= sum(percent(card.locator(".words .share").all_inner_texts())) <= 110
    card.locator(".text").click()
    expect(card.locator(".explanation")).to_be_hidden()


def test_enter_on_a_card_explains_it(visit: Visit) -> None:
    visit.rank(candidates=["unrelated", TEXT])
    toggle = visit.cards().nth(1).locator(".toggle")
    toggle.focus()
    visit.page.keyboard.press("Enter")
    expect(visit.cards().nth(1).locator(".explanation h3").first).to_have_text(visit.said("explain.sentences"))
    expect(visit.page.get_by_text(visit.said("explain.waiting"))).to_have_count(0)


def test_text_can_be_selected_although_a_click_opens_the_card(english: Visit) -> None:
    english.rank(candidates=[TEXT])
    card = english.cards().first
    expect(card.locator("mark.deciding.shared").first).to_be_attached()
    card.locator(".text").dblclick()
    assert english.page.evaluate("getSelection().toString()").strip()
    expect(card.locator(".toggle")).to_have_attribute("aria-expanded", "true")
    card.locator(".text").click(click_count=3)
    assert len(english.page.evaluate("getSelection().toString()")) > 20


def test_a_long_text_is_shown_around_its_deciding_sentence_and_whole_when_opened(visit: Visit) -> None:
    text = "Nothing of note. " * 60 + "How do I reset the admin password? " + "Nothing else. " * 20
    visit.rank(candidates=[text.strip()])
    card = visit.cards().first
    expect(card.locator("mark.deciding").first).to_be_visible()
    shown = card.locator(".text").inner_text()
    assert "How do I reset the admin password?" in shown
    assert len(shown) < 600
    card.locator(".toggle").click()
    assert card.locator(".text").inner_text() == text.strip()


def test_a_failed_explanation_is_said_in_the_card_and_can_be_asked_again(visit: Visit) -> None:
    visit.expected = ("429",)
    error = {"error": {"kind": "overloaded", "message": "full", "field": None, "retry_after_s": 3}}
    visit.page.route("**/finerank/v1/explain", lambda route: route.fulfill(status=429, json=error))
    visit.rank(candidates=[TEXT, "unrelated"])
    expect(visit.page.locator("[data-note=highlights]")).to_contain_text(visit.said("problem.overloaded", seconds=3))
    assert len(visit.sent("/finerank/v1/explain")) == 1
    card = visit.cards().first
    card.locator(".toggle").click()
    expect(card.locator(".explanation .problem")).to_contain_text(visit.said("problem.overloaded", seconds=3))
    visit.page.unroute("**/finerank/v1/explain")
    card.locator(".explanation button").click()
    expect(card.locator(".words li").first).to_be_visible()
    visit.page.locator("[data-note=highlights] button").click()
    expect(visit.page.locator("[data-note=highlights]")).to_have_count(0)


def test_offsets_count_characters_not_utf16_units(english: Visit) -> None:
    script = """(text) => import('./js/spans.js').then(({unitsOf}) => {
      const units = unitsOf(text);
      return [[0, 1], [1, 3], [3, 99]].map(([a, b]) => text.slice(units(a), units(b)));
    })"""
    assert english.module(script, "😀ab👍🏽") == ["😀", "ab", "👍🏽"]
