"""For everyone: two languages, light and dark, contrast, keyboard, screen readers, any width, a path prefix."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from .conftest import CANDIDATES, QUERY, StartVisit, Visit

CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
  const ground = (node) => {
    if (!node) return [255, 255, 255];
    const colour = read(getComputedStyle(node).backgroundColor);
    return colour[3] === 1 ? colour.slice(0, 3) : over(colour, ground(node.parentElement));
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility()) continue;
    if (node.closest(".unseen, .skip, noscript, option")) continue;
    const under = ground(node);
    const style = getComputedStyle(node);
    const ink = over(read(node.closest("svg") ? style.fill : style.color), under);
    const [high, low] = [light(ink), light(under)].sort((a, b) => b - a);
    const name = node.className.baseVal ?? node.className;
    found.push([walk.currentNode.data.trim().slice(0, 30), name, (high + 0.05) / (low + 0.05)]);
  }
  return found;
}"""


def contrasts(page: Page) -> list[tuple[str, str, float]]:
    return [tuple(row) for row in page.evaluate(CONTRASTS)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast_aa(start_visit: StartVisit, scheme: str) -> None:
    visit = start_visit(color_scheme=scheme).open()
    visit.page.click("#run")
    seen = contrasts(visit.page)
    visit.rank(candidates=[*CANDIDATES, "word " * 600])
    visit.cards().first.locator(".toggle").click()
    visit.page.wait_for_selector(".words li")
    visit.page.click("#raw summary")
    visit.page.click("#examples summary")
    seen += contrasts(visit.page)
    visit.page.click("#tab-compare")
    visit.page.wait_for_selector(".order.model .row")
    visit.page.locator(".row").first.focus()
    seen += contrasts(visit.page)
    visit.page.click("#tab-health")
    visit.page.wait_for_selector(".server-charts text")
    seen += contrasts(visit.page)
    assert len(seen) > 200
    assert [row for row in seen if row[2] < 4.5] == []


SMALLEST = """() => {
  const sizes = {};
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest("noscript, .unseen")) continue;
    sizes[walk.currentNode.data.trim().slice(0, 30)] = parseFloat(getComputedStyle(node).fontSize);
  }
  return Object.entries(sizes).filter(([, size]) => size < 12);
}"""


@pytest.mark.parametrize("width", [390, 1280])
def test_no_text_is_smaller_than_12_pixels(start_visit: StartVisit, width: int) -> None:
    visit = start_visit(viewport={"width": width, "height": 900}).open()
    visit.rank()
    visit.cards().first.locator(".toggle").click()
    visit.page.wait_for_selector(".words li")
    for tab, part in (("rerank", ".card"), ("compare", ".order.model .row"), ("health", ".server-charts text")):
        visit.page.click(f"#tab-{tab}")
        visit.page.wait_for_selector(part)
        assert visit.page.evaluate(SMALLEST) == []


def test_the_api_is_described_a_click_away(visit: Visit) -> None:
    link = visit.page.get_by_role("link", name=visit.said("docs"))
    with visit.page.expect_navigation():
        link.click()
    assert visit.page.url == f"{visit.url}/docs"
    visit.page.go_back()
    visit.page.wait_for_selector(".dot.ready")


def test_the_language_follows_the_browser_and_a_choice_is_remembered(start_visit: StartVisit) -> None:
    visit = start_visit("zh-TW").open()
    expect(visit.page.locator("#run")).to_contain_text("重排")
    assert visit.page.locator("html").get_attribute("lang") == "zh"
    visit.rank()
    visit.page.get_by_role("button", name="English").click()
    expect(visit.page.locator("#run")).to_contain_text("Rerank")
    expect(visit.page.locator(".verdict .headline")).to_contain_text("A new first")
    expect(visit.cards().first.locator(".given")).to_have_text("Candidate 2")
    assert visit.page.locator("#query").input_value() == QUERY
    visit.page.reload()
    expect(visit.page.locator("#run")).to_contain_text("Rerank")
    assert visit.page.locator("html").get_attribute("lang") == "en"


def test_both_languages_say_the_same_things(english: Visit) -> None:
    in_english = english.module("() => import('./js/english.js').then(({ENGLISH}) => ENGLISH)")
    in_chinese = english.module("() => import('./js/chinese.js').then(({CHINESE}) => CHINESE)")
    assert {*in_english} == {*in_chinese}
    slots = [{n: set(re.findall(r"\{(\w+)", text)) for n, text in words.items()} for words in (in_english, in_chinese)]
    assert {n: s for n, s in slots[0].items() if s != slots[1][n]} == {}
    chinese = re.compile(r"[\u4e00-\u9fff]")
    alike = {name for name, text in in_chinese.items() if not chinese.search(text)}
    assert alike <= {"server.version", "raw.csv", "raw.json", "raw.id", "stats.latency_p50_ms", "stats.latency_p95_ms",
                     "verdict.tau", "verdict.moved.value", "strip.cached.value", "figure.kendall_tau.title"} | {
                     "problem.file"}  # fmt: skip
    assert [name for name, text in in_english.items() if chinese.search(text)] == []


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_follows_the_system_and_a_choice_is_remembered(start_visit: StartVisit, system: str) -> None:
    visit = start_visit(color_scheme=system).open()
    ground = "getComputedStyle(document.body).backgroundColor"
    grounds = {"light": "rgb(246, 246, 243)", "dark": "rgb(16, 18, 20)"}
    assert visit.page.evaluate(ground) == grounds[system]
    for theme in ("light", "dark"):
        visit.page.locator("#theme").click()
        expect(visit.page.locator("#theme")).to_have_attribute("aria-label", visit.said(f"theme.{theme}"))
        assert visit.page.evaluate(ground) == grounds[theme]
        visit.page.reload()
        assert visit.page.evaluate(ground) == grounds[theme]


def test_the_keyboard_reaches_everything_in_order(visit: Visit) -> None:
    visit.rank()
    visit.page.keyboard.press("Tab")
    visit.page.locator(".skip").focus()
    reached = []
    for _ in range(40):
        said = visit.page.evaluate("""() => {
          const node = document.activeElement;
          const style = getComputedStyle(node);
          const outlined = style.outlineStyle !== "none" && style.outlineWidth !== "0px";
          return [node.id || node.className || node.tagName, outlined];
        }""")
        reached.append(tuple(said))
        if said[0] == "toggle":
            break
        visit.page.keyboard.press("Tab")
    names = [name for name, _ in reached]
    order = ["skip", "tab-rerank", "language", "theme", "query", "candidates", "run", "threshold", "toggle"]
    assert [name for name in names if name in order] == order
    assert [name for name, outlined in reached if not outlined] == []


def test_tabs_are_tabs(visit: Visit) -> None:
    tabs = visit.page.get_by_role("tab")
    assert tabs.all_inner_texts() == [visit.said(f"tab.{name}") for name in ("rerank", "compare", "health")]
    tabs.first.focus()
    visit.page.keyboard.press("ArrowRight")
    expect(tabs.nth(1)).to_be_focused()
    expect(tabs.nth(1)).to_have_attribute("aria-selected", "true")
    expect(visit.page.locator("#compare")).to_be_visible()
    visit.page.keyboard.press("End")
    expect(visit.page.locator("#health")).to_be_visible()
    assert visit.page.url.endswith("#health")


def test_every_control_has_a_name_and_results_are_announced(visit: Visit) -> None:
    visit.rank()
    visit.page.click("#raw summary")
    nameless = visit.page.evaluate("""() => [...document.querySelectorAll("button, input, select, textarea, a")]
      .filter((node) => node.checkVisibility())
      .filter((node) => !(node.ariaLabel || node.labels?.length || node.innerText?.trim()))
      .map((node) => node.outerHTML)""")
    assert nameless == []
    live = visit.page.locator("#live")
    expect(live).to_have_attribute("aria-live", "polite")
    expect(live).to_have_text(visit.said("live.done", n=len(CANDIDATES), first=2))
    label = visit.cards().first.locator(".toggle").get_attribute("aria-label")
    said = {"rank": 1, "name": visit.said("card.candidate", n=2), "move": visit.said("card.move.up", n=1)}
    score = visit.cards().first.locator(".score").inner_text()
    assert label == visit.said("card.label", **said, score=score, band=visit.said("band.strong"))


@pytest.mark.parametrize("width", [320, 390, 768, 1440, 2560])
def test_nothing_runs_off_the_side(start_visit: StartVisit, width: int) -> None:
    visit = start_visit("zh-CN" if width == 390 else "en-GB", viewport={"width": width, "height": 800}).open()
    visit.rank(candidates=[*CANDIDATES, "x" * 400, "Donau" * 60])
    visit.cards().first.locator(".toggle").click()
    visit.page.wait_for_selector(".words li")
    for tab in ("rerank", "compare", "health"):
        visit.page.click(f"#tab-{tab}")
        visit.page.wait_for_selector(
            {"rerank": ".card", "compare": ".order.model .row", "health": ".server-charts text"}[tab]
        )
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_right_to_left_text_runs_from_the_right(visit: Visit) -> None:
    visit.rank("كيف أعيد ضبط كلمة المرور؟", ["لإعادة ضبط كلمة المرور اضغط الزر.", "An English passage."])
    texts = visit.page.locator(".card .text")
    assert [texts.nth(n).evaluate("n => getComputedStyle(n).direction") for n in range(2)] == ["rtl", "ltr"]
    assert visit.page.locator("#query").evaluate("n => n.matches(':dir(rtl)')")
    bar = visit.cards().first.locator(".bar")
    left = "n => n.getBoundingClientRect().left"
    assert bar.evaluate(left) == bar.locator(".fill").evaluate(left)


def test_motion_is_only_for_those_who_want_it(start_visit: StartVisit) -> None:
    script = "getComputedStyle(document.getElementById('run')).transitionDuration"
    assert start_visit(reduced_motion="reduce").open().page.evaluate(script) == "0s"
    assert start_visit(reduced_motion="no-preference").open().page.evaluate(script) != "0s"


def test_the_page_works_behind_a_path_prefix(start_visit: StartVisit) -> None:
    visit = start_visit()
    site, prefix = visit.url, "/tools/finerank"

    def forward(route):
        assert prefix in route.request.url
        route.fulfill(response=route.fetch(url=route.request.url.replace(prefix, "")))

    visit.page.route(f"{site}/**", forward)
    visit.page.goto(f"{site}{prefix}/")
    visit.page.wait_for_selector(".dot.ready")
    visit.rank()
    visit.page.click("#tab-health")
    visit.page.wait_for_selector(".health-figure")


def test_the_markup_keeps_to_the_policy_and_names_nobody_else(english: Visit) -> None:
    response = httpx.get(english.url, trust_env=False)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?! type=\"module\" src)", response.text)
    assert not re.search(r"https?://", response.text)
