"""The Rerank tab: what goes in, what comes out, and what can be done with it."""

import csv
import io
import json
import math
import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from .conftest import CANDIDATES, QUERY, Site, StartVisit, Visit


def colour(page: Page, name: str) -> str:
    """A colour of the theme as the browser computes it."""
    script = """(name) => {
      const probe = document.body.appendChild(document.createElement("i"));
      probe.style.color = `var(${name})`;
      const said = getComputedStyle(probe).color;
      probe.remove();
      return said;
    }"""
    return str(page.evaluate(script, name))


def style(locator: Locator, name: str) -> str:
    return str(locator.evaluate("(node, name) => getComputedStyle(node)[name]", name))


def width(locator: Locator) -> float:
    return float(locator.evaluate("node => node.getBoundingClientRect().width"))


def set_threshold(page: Page, value: float) -> None:
    page.locator("#threshold").fill(str(value))


def test_a_card_says_rank_move_score_logit_and_band_and_its_bar_is_as_wide_as_the_score(visit: Visit) -> None:
    visit.rank()
    cards = visit.cards()
    expect(cards).to_have_count(len(CANDIDATES))
    shown = []
    for place in range(len(CANDIDATES)):
        card = cards.nth(place)
        score = card.locator(".score").inner_text()
        assert re.fullmatch(r"[01]\.\d{4}", score)
        logit = float(re.search(r"[−\d.]+$", card.locator(".logit").inner_text()).group().replace("−", "-"))
        assert math.isclose(float(score), 1 / (1 + math.exp(-logit)), abs_tol=2e-4)
        bar, fill = width(card.locator(".bar")), width(card.locator(".surface .fill"))
        assert math.isclose(fill / bar, float(score), abs_tol=0.003)
        over = float(score) > 0.5
        ink = colour(visit.page, "--over" if over else "--under")
        assert style(card.locator(".surface .fill"), "backgroundColor") == ink
        band = "strong" if float(score) > 0.7 else "review" if float(score) >= 0.5 else "weak"
        expect(card.locator(".figures .band")).to_have_text(visit.said(f"band.{band}"))
        assert card.locator(".rank").inner_text() == str(place + 1)
        shown.append((float(score), card.locator(".move").inner_text().replace("\n", "")))
    assert [score for score, _ in shown] == sorted((score for score, _ in shown), reverse=True)
    order = [int(number) for number in visit.order()]
    assert order[0] == 2
    moves = [number - rank for rank, number in enumerate(order, start=1)]
    assert [move for _, move in shown] == [f"↑{m}" if m > 0 else f"↓{-m}" if m < 0 else "=" for m in moves]


def test_the_logit_is_small_and_grey(english: Visit) -> None:
    english.rank()
    card = english.cards().first
    assert style(card.locator(".logit"), "color") == colour(english.page, "--muted")
    sizes = [float(style(card.locator(part), "fontSize").removesuffix("px")) for part in (".logit", ".score")]
    assert sizes[0] < sizes[1]


def test_control_enter_ranks_from_any_field(visit: Visit) -> None:
    visit.fill()
    visit.page.locator("#query").press("Control+Enter")
    visit.ranked()
    expect(visit.cards()).to_have_count(len(CANDIDATES))
    visit.page.locator("#candidates").fill("one passage")
    visit.page.locator("#candidates").press("Control+Enter")
    expect(visit.cards()).to_have_count(1)


def test_results_appear_while_they_are_computed(visit: Visit, site: Site) -> None:
    many = [f"passage number {n} {'about nothing much at all ' * 20}" for n in range(40)]
    visit.fill(candidates=many)
    site.backend.allowed = 2
    visit.page.click("#run")
    expect(visit.page.locator(".card.provisional").first).to_be_visible()
    assert 0 < visit.cards().count() < 40
    expect(visit.page.locator(".strip dd")).to_have_count(0)
    site.backend.allowed = math.inf
    visit.ranked()
    expect(visit.cards()).to_have_count(40)
    expect(visit.page.locator(".card.provisional")).to_have_count(0)


def test_stop_ends_a_ranking_and_keeps_the_text(visit: Visit, site: Site) -> None:
    visit.fill()
    site.backend.allowed = 0
    visit.page.click("#run")
    visit.button("stop").click()
    expect(visit.page.locator("#stop")).to_be_hidden()
    expect(visit.page.locator("#live")).to_have_text(visit.said("live.stopped"))
    expect(visit.page.locator("#query")).to_have_value(QUERY)
    site.backend.allowed = math.inf
    visit.page.click("#run")
    visit.ranked()


def test_the_deciding_sentence_is_highlighted_and_shared_words_are_marked(visit: Visit) -> None:
    text = "😀 Keep it 👍 dry. How do I reset the admin password? Hold the button."
    visit.rank(candidates=[text, "The lamp is green."])
    card = visit.cards().first
    expect(card.locator("mark.deciding").first).to_be_visible()
    assert "".join(card.locator("mark.deciding").all_inner_texts()) == "How do I reset the admin password?"
    expect(card.locator("mark.shared").first).to_be_visible()
    shared = card.locator("mark.shared").all_inner_texts()
    assert {"How", "reset", "password"} <= set(shared)
    assert "dry" not in shared
    assert card.locator(".text").inner_text() == text


@pytest.mark.parametrize(
    "text",
    ["How do I reset the admin password?", "  reset the admin password  ", "重置密码 reset", "reset", "# reset\n"],
)
def test_a_text_of_one_sentence_is_not_highlighted_all_over(english: Visit, text: str) -> None:
    english.rank(candidates=json.dumps([text, "The lamp is green. It is dark."]))
    card = english.cards().first
    expect(card.locator("mark.shared").first).to_be_visible()
    card.locator(".toggle").click()
    expect(card.locator(".words li").first).to_be_visible()
    expect(card.locator("mark.deciding, mark.best, .deciding")).to_have_count(0)
    expect(card.locator("h3").nth(1)).to_have_text(english.said("explain.words.single"))


def test_explanations_are_asked_for_one_at_a_time_the_first_five_first_and_then_those_in_view(visit: Visit) -> None:
    candidates = [f"{QUERY}. And {'more ' * n}" for n in range(60)]
    at_once: list[int] = []
    waiting = 0

    def begun(request: object) -> None:
        nonlocal waiting
        waiting += request.url.endswith("/finerank/v1/explain")
        at_once.append(waiting)

    def ended(request: object) -> None:
        nonlocal waiting
        waiting -= request.url.endswith("/finerank/v1/explain")

    visit.page.on("request", begun)
    visit.page.on("requestfinished", ended)
    visit.page.on("requestfailed", ended)
    visit.rank(candidates=candidates)
    expect(visit.cards().nth(4).locator("mark.deciding").first).to_be_attached()
    assert max(at_once) == 1
    assert [request.post_data_json["documents"][0] for request in visit.sent("/finerank/v1/explain")][:5] == [
        candidate.strip() for candidate in candidates[:5]
    ]
    last = visit.cards().nth(59)
    assert last.locator("mark.deciding").count() == 0
    visit.until("scrollTo(0, 1e6) || document.querySelector('.card:last-child mark.deciding') !== null")
    assert max(at_once) == 1
    assert len(visit.sent("/finerank/v1/explain")) < 60


def test_a_new_ranking_cancels_what_the_old_one_still_asked(english: Visit, site: Site) -> None:
    english.rank(candidates=[f"{QUERY} {n}" for n in range(3)])
    english.page.wait_for_timeout(300)
    site.backend.allowed = 0
    english.page.evaluate("document.getElementById('candidates').value = 'first\\nsecond'")
    english.page.click("#run")
    site.backend.allowed = math.inf
    english.ranked()
    expect(english.cards()).to_have_count(2)
    english.page.wait_for_timeout(300)
    asked = [request.post_data_json["documents"][0] for request in english.sent("/finerank/v1/explain")]
    assert asked[-1] in ("first", "second")


def test_text_is_shown_as_text(visit: Visit) -> None:
    hostile = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"> reset &amp; <b>bold</b>'
    visit.rank(query=f"{hostile} reset", candidates=[hostile, "plain"])
    expect(visit.cards().first.locator("mark.shared").first).to_be_attached()
    visit.cards().first.locator(".toggle").click()
    expect(visit.page.locator(".words li").first).to_be_visible()
    assert visit.cards().first.locator(".text").inner_text() == hostile
    visit.page.click("#raw summary")
    assert visit.page.locator("td.col-text").first.inner_text() == hostile
    visit.page.click("#tab-compare")
    expect(visit.page.locator(".order.model .snippet").first).to_be_visible()
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.locator("main img, main script").count() == 0


def test_the_threshold_recolours_at_once_without_asking_the_server(visit: Visit) -> None:
    visit.rank()
    page = visit.page
    expect(page.locator(".card mark.deciding").first).to_be_attached()
    before = [request for request in visit.requests if not request.url.endswith("explain")]
    scores = [float(score) for score in page.locator(".score").all_inner_texts()]
    for value in (0, 0.3, round(scores[0], 2), 1):
        set_threshold(page, value)
        over = [bool(name) for name in page.locator(".card").evaluate_all("c => c.map(n => n.matches('.over'))")]
        exact = page.evaluate("[...document.querySelectorAll('.surface .fill')].map(n => parseFloat(n.style.width))")
        assert over == [score / 100 > value for score in exact]
        split = visit.said("threshold.split", over=sum(over), under=len(over) - sum(over))
        expect(page.locator("#threshold-split")).to_have_text(split)
        assert page.locator("#rug .over").count() == sum(over)
    assert [request for request in visit.requests if not request.url.endswith("explain")] == before


def test_a_score_at_the_threshold_is_red(english: Visit) -> None:
    script = "() => import('./js/score.js').then(({isOver}) => [isOver(0.5, 0.5), isOver(0.5001, 0.5)])"
    assert english.module(script) == [False, True]


def test_presets_and_bands(visit: Visit) -> None:
    visit.rank()
    page = visit.page
    for name, value in (("bot", "0.75"), ("search", "0.4"), ("default", "0.5")):
        page.get_by_role("button", name=visit.said(f"preset.{name}")).click()
        assert float(page.locator("#threshold").input_value()) == float(value)
        expect(page.get_by_role("button", name=visit.said(f"preset.{name}"))).to_have_attribute("aria-pressed", "true")
        assert page.locator("#presets [aria-pressed=true]").count() == 1
    scores = [float(score) for score in page.locator(".score").all_inner_texts()]
    counts = [sum(s > 0.7 for s in scores), sum(0.5 <= s <= 0.7 for s in scores), sum(s < 0.5 for s in scores)]
    assert page.locator("#bands .number").all_inner_texts() == [str(count) for count in counts]
    said = [visit.said(f"band.{band}") for band in ("strong", "review", "weak")]
    assert page.locator("#bands li > span:first-child").all_inner_texts() == said


def test_the_servers_own_threshold_is_a_preset(english: Visit) -> None:
    def set_one(route: Route) -> None:
        info = route.fetch().json()
        info["models"][0]["threshold"] = 0.43
        route.fulfill(json=info)

    english.page.route("**/finerank/v1/info", set_one)
    english.page.reload()
    english.page.get_by_role("button", name=english.said("preset.own")).click()
    expect(english.page.locator("#threshold-value")).to_have_text("0.43")


def test_no_threshold_is_offered_twice(english: Visit) -> None:
    def set_one(route: Route) -> None:
        info = route.fetch().json()
        info["models"][0]["threshold"] = 0.75
        route.fulfill(json=info)

    english.page.route("**/finerank/v1/info", set_one)
    english.page.reload()
    english.page.get_by_role("button", name=english.said("preset.own")).wait_for()
    values = english.page.locator("#presets .value").all_inner_texts()
    assert sorted(values) == sorted({*values})


def test_the_threshold_outlives_a_reload(english: Visit) -> None:
    set_threshold(english.page, 0.75)
    english.page.reload()
    expect(english.page.locator("#threshold-value")).to_have_text("0.75")


def test_the_raw_table_sorts_copies_and_downloads(visit: Visit) -> None:
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    candidates = [
        {"text": 'with a "quote", a comma\nand a line', "id": "doc-10"},
        {"text": f"{QUERY}", "id": "doc-9"},
        {"text": "nothing", "id": "doc-1", "metadata": {"page": 3}},
    ]
    visit.rank(candidates=json.dumps(candidates))
    page = visit.page
    page.get_by_text(visit.said("raw.title"), exact=True).click()
    heads = [visit.said(f"raw.{name}") for name in ("rank", "id", "text", "logit", "score")]
    buttons = page.locator("#raw th button")
    assert [text.strip() for text in buttons.all_inner_texts()] == heads
    ids = page.locator("td.col-id")
    assert ids.all_inner_texts()[0] == "doc-9"
    buttons.nth(1).click()
    assert ids.all_inner_texts() == ["doc-1", "doc-9", "doc-10"]
    expect(page.locator("#raw th").nth(1)).to_have_attribute("aria-sort", "ascending")
    buttons.nth(1).click()
    assert ids.all_inner_texts() == ["doc-10", "doc-9", "doc-1"]
    buttons.nth(4).click()
    assert ids.all_inner_texts()[0] == "doc-9"
    assert all(re.fullmatch(r"[01]\.\d{6}", text) for text in page.locator("td.col-score").all_inner_texts())

    visit.button("raw.copy").click()
    expect(page.get_by_text(visit.said("raw.copied"))).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert copied[0].split("\t") == heads
    assert copied[1].split("\t")[1:3] == ["doc-9", QUERY]

    with page.expect_download() as download:
        visit.button("raw.csv").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_text("utf-8-sig"), newline="")))
    assert rows[0] == heads
    assert ["doc-10", candidates[0]["text"]] in [row[1:3] for row in rows]

    with page.expect_download() as download:
        visit.button("raw.json").click()
    kept = json.loads(download.value.path().read_text())
    assert [row["id"] for row in kept] == ids.all_inner_texts()
    assert kept[0]["score"] == 1 / (1 + math.exp(-kept[0]["logit"]))
    assert {"page": 3} in [row.get("metadata") for row in kept]


def test_the_strip_says_what_the_ranking_took(visit: Visit) -> None:
    visit.rank()
    cells = dict(
        zip(
            visit.page.locator("#strip dt").all_inner_texts(),
            visit.page.locator("#strip dd").all_inner_texts(),
            strict=True,
        )
    )
    assert {visit.said(f"strip.{name}") for name in ("device", "precision", "model", "time", "rate", "cached")} <= {
        *cells
    }
    assert cells[visit.said("strip.cached")] == visit.said("strip.cached.value", cached=0, n=len(CANDIDATES))
    assert re.fullmatch(r"[\d,.]+ m?s", cells[visit.said("strip.time")])


def test_a_cut_candidate_is_marked_and_can_be_scored_in_passages(visit: Visit) -> None:
    long = "word " * 700 + QUERY
    visit.rank(candidates=["short", long])
    expect(visit.page.locator(".tag.cut")).to_have_count(1)
    expect(visit.page.locator(".tag.cut")).to_have_text(visit.said("card.cut"))
    assert visit.order() == ["1", "2"]
    visit.button("note.cut.do").click()
    expect(visit.page.locator(".tag.cut")).to_have_count(0)
    visit.ranked()
    assert visit.order() == ["2", "1"]
    expect(visit.cards().first.locator("mark.best").first).to_be_attached()


def test_a_ranking_of_changed_text_says_so(visit: Visit) -> None:
    visit.rank()
    expect(visit.page.locator("#stale")).to_be_hidden()
    visit.page.locator("#query").press_sequentially(" now")
    expect(visit.page.locator("#stale")).to_have_text(visit.said("stale"))
    visit.page.click("#run")
    expect(visit.page.locator("#stale")).to_be_hidden()


def test_200_candidates_are_all_there_and_those_out_of_sight_are_not_laid_out(english: Visit) -> None:
    english.rank(candidates=[f"{QUERY} {'more ' * n}" for n in range(200)])
    expect(english.cards()).to_have_count(200)
    assert style(english.cards().last, "contentVisibility") == "auto"
    measured = english.page.evaluate("performance.getEntriesByName('finerank:render').map(entry => entry.duration)")
    assert len(measured) == 1


def test_the_model_can_be_chosen(visit: Visit) -> None:
    visit.fill()
    visit.page.get_by_label(visit.said("model.label"), exact=True).select_option("backwards")
    visit.page.click("#run")
    visit.ranked()
    assert visit.order()[-1] == "2"


def test_arrows_move_between_cards(english: Visit) -> None:
    english.rank()
    english.cards().first.locator(".toggle").focus()
    english.page.keyboard.press("ArrowDown")
    expect(english.cards().nth(1).locator(".toggle")).to_be_focused()
    english.page.keyboard.press("ArrowUp")
    expect(english.cards().first.locator(".toggle")).to_be_focused()


def test_a_phone_is_taken_to_the_results(start_visit: StartVisit) -> None:
    visit = start_visit(viewport={"width": 390, "height": 700}).open()
    visit.rank()
    top = visit.page.locator("#outcome").evaluate("node => node.getBoundingClientRect().top")
    assert 0 <= top < 350
