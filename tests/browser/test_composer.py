"""The fields of the Rerank tab: examples, clearing and undoing, and what outlives a reload."""

from playwright.sync_api import expect

from .conftest import CANDIDATES, QUERY, Visit

LANGUAGES = ["ar", "de", "en", "es", "fr", "ja", "ko", "pt", "ru", "th", "vi", "zh"]


def test_a_keyword_trap_of_every_language_can_be_clicked(visit: Visit) -> None:
    page = visit.page
    box = page.locator("#empty")
    expect(box.locator(".languages button")).to_have_count(12)
    assert sorted(box.locator(".languages button").evaluate_all("b => b.map(n => n.lang)")) == LANGUAGES
    own = "zh" if visit.said("run") == "重排" else "en"
    expect(box.locator(f"button[lang={own}][aria-pressed]")).to_have_attribute("aria-pressed", "true")
    box.locator(".trap").first.click()
    visit.ranked()
    for language in LANGUAGES:
        if not page.locator("#examples-side").is_visible():
            page.locator("#examples summary").click()
        page.locator(f"#examples-side .languages button[lang={language}]").click()
        trap = page.locator("#examples-side .trap").nth(1)
        query = trap.locator("[dir]").inner_text()
        with page.expect_response("**/finerank/v1/rerank"):
            trap.click()
        visit.ranked()
        expect(page.locator("#query")).to_have_value(query)
        expect(page.locator(".tag.answer")).to_have_text(visit.said("card.answer"))


def test_clear_takes_the_candidates_and_leaves_the_query(visit: Visit) -> None:
    visit.fill()
    visit.button("clear").click()
    expect(visit.page.locator("#candidates")).to_have_value("")
    expect(visit.page.locator("#candidates")).to_be_focused()
    expect(visit.page.locator("#query")).to_have_value(QUERY)
    expect(visit.button("clear")).to_be_hidden()
    visit.button("undo").click()
    expect(visit.page.locator("#candidates")).to_have_value("\n".join(CANDIDATES))
    expect(visit.page.locator("#query")).to_have_value(QUERY)


def test_what_an_undo_replaces_can_be_brought_back_too(english: Visit) -> None:
    english.fill(candidates="first")
    english.button("clear").click()
    english.page.fill("#candidates", "second")
    english.button("undo").click()
    expect(english.page.locator("#candidates")).to_have_value("first")
    english.button("undo").click()
    expect(english.page.locator("#candidates")).to_have_value("second")


def test_an_example_does_not_lose_the_text_it_replaces(visit: Visit) -> None:
    visit.fill("my own query", "my own passage")
    visit.page.locator("#empty .trap").first.click()
    visit.ranked()
    visit.button("undo").click()
    expect(visit.page.locator("#query")).to_have_value("my own query")
    expect(visit.page.locator("#candidates")).to_have_value("my own passage")


def test_text_outlives_a_reload_but_not_the_tab(visit: Visit) -> None:
    visit.fill("private query", "private passage")
    visit.page.reload()
    expect(visit.page.locator("#query")).to_have_value("private query")
    expect(visit.page.locator("#candidates")).to_have_value("private passage")
    assert "private" not in visit.page.evaluate("JSON.stringify({...localStorage})")
    other = visit.context.new_page()
    other.goto(visit.url)
    expect(other.locator("#query")).to_have_value("")
