"""The Compare tab: several orders of the same candidates, and the lines between them."""

from playwright.sync_api import Route, expect

from .conftest import CANDIDATES, Visit


def test_orders_stand_side_by_side_with_lines_between(visit: Visit) -> None:
    visit.rank()
    expected = visit.order()
    visit.page.click("#tab-compare")
    columns = visit.page.locator(".order")
    expect(columns).to_have_count(3)
    assert columns.locator("h3").all_inner_texts() == [
        visit.said("compare.overlap"),
        visit.said("compare.given"),
        "stub",
    ]
    orders = [columns.nth(n).locator(".candidate").all_inner_texts() for n in range(3)]
    assert orders[1] == [f"#{n + 1}" for n in range(len(CANDIDATES))]
    assert orders[2] == [f"#{n}" for n in expected]
    assert len(visit.sent("/finerank/v1/rerank")) == 1
    for gap, svg in enumerate(visit.page.locator(".lines").all()):
        for index in range(len(CANDIDATES)):
            path = svg.locator(f"path[data-index='{index}']")
            ends = path.evaluate("p => [p.getPointAtLength(0).y, p.getPointAtLength(p.getTotalLength()).y]")
            pitch = visit.page.locator(".order li").first.evaluate("n => n.offsetHeight")
            ranks = [orders[gap].index(f"#{index + 1}"), orders[gap + 1].index(f"#{index + 1}")]
            assert [round(end / pitch - 0.5) for end in ends] == ranks
            way = "up" if ranks[1] < ranks[0] else "down" if ranks[1] > ranks[0] else "same"
            assert way in path.get_attribute("class").split()


def test_a_second_model_beside_the_first(visit: Visit) -> None:
    visit.rank()
    visit.page.click("#tab-compare")
    visit.page.get_by_label(visit.said("compare.second")).select_option("backwards")
    columns = visit.page.locator(".order")
    expect(columns).to_have_count(4)
    orders = [columns.nth(n).locator(".candidate").all_inner_texts() for n in (2, 3)]
    assert orders[0] == orders[1][::-1]
    expect(visit.page.locator(".lines")).to_have_count(3)


def test_no_model_is_offered_twice(visit: Visit) -> None:
    def offered(which: str) -> list[str]:
        return [value for value in visit.page.locator(f"#compare-{which} option").all_inner_texts() if value]

    def twice(route: Route) -> None:
        info = route.fetch().json()
        route.fulfill(json={**info, "models": [*info["models"], info["models"][0]]})

    visit.page.route("**/finerank/v1/info", twice)
    visit.page.reload()
    visit.page.wait_for_selector(".dot.ready")
    visit.rank()
    assert visit.page.locator("#model option").all_inner_texts() == ["stub", "backwards"]
    visit.page.click("#tab-compare")
    expect(visit.page.locator(".order")).to_have_count(3)
    none = visit.said("compare.none")
    assert (offered("first"), offered("second")) == (["stub", "backwards"], [none, "backwards"])
    visit.page.locator("#compare-second").select_option("backwards")
    expect(visit.page.locator(".order")).to_have_count(4)
    visit.page.locator("#compare-first").select_option("backwards")
    expect(visit.page.locator("#compare-second")).to_have_value("stub")
    expect(visit.page.locator("#compare-first")).to_be_focused()
    assert offered("second") == [none, "stub"]
    expect(visit.page.locator(".order h3").nth(3)).to_have_text("stub")


def test_the_lines_have_a_legend(visit: Visit) -> None:
    visit.rank()
    visit.page.click("#tab-compare")
    expected = [visit.said(f"compare.{way}") for way in ("up", "down", "same")]
    expect(visit.page.locator("#compare .legend li")).to_have_text(expected)


def test_one_candidate_is_followed_through_all_orders(visit: Visit) -> None:
    visit.rank()
    visit.page.click("#tab-compare")
    row = visit.page.locator(".order.given .row").nth(1)
    row.focus()
    expect(visit.page.locator(".row.picked")).to_have_count(3)
    expect(visit.page.locator(".lines path.picked")).to_have_count(2)
    expect(visit.page.locator("#picked")).to_contain_text(CANDIDATES[1])


def test_an_example_says_where_its_answer_is_in_every_order(visit: Visit) -> None:
    visit.page.locator("#empty .trap").first.click()
    visit.ranked()
    visit.page.click("#tab-compare")
    expect(visit.page.locator(".order")).to_have_count(3)
    answer = visit.page.locator(".order.given .row.picked .rank").inner_text()
    expect(visit.page.locator(".order.given .hint")).to_have_text(visit.said("compare.answer", rank=int(answer)))


def test_without_text_it_says_what_to_do(visit: Visit) -> None:
    visit.page.click("#tab-compare")
    expect(visit.page.locator("#compare h3")).to_have_text(visit.said("compare.empty"))
    visit.page.get_by_role("link", name=visit.said("compare.empty.go")).click()
    expect(visit.page.locator("#query")).to_be_visible()


def test_many_candidates_begin_with_twenty(visit: Visit) -> None:
    visit.rank(candidates=[f"passage {n}" for n in range(30)])
    visit.page.click("#tab-compare")
    expect(visit.page.locator(".order.model li")).to_have_count(20)
    visit.button("compare.all", n=30).click()
    expect(visit.page.locator(".order.model li")).to_have_count(30)


def test_a_failure_can_be_tried_again(visit: Visit) -> None:
    visit.expected = ("503",)
    visit.fill()
    error = {"error": {"kind": "unavailable", "message": "loading", "field": None, "retry_after_s": 1}}
    visit.page.route("**/finerank/v1/overlap", lambda route: route.fulfill(status=503, json=error))
    visit.page.click("#tab-compare")
    expect(visit.page.locator("#compare [role=alert]")).to_contain_text(visit.said("problem.unavailable"))
    visit.page.unroute("**/finerank/v1/overlap")
    visit.button("again").click()
    expect(visit.page.locator(".order")).to_have_count(3)
