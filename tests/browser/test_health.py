"""The Health tab: figures, scores, alerts and the server's charts."""

import pytest
from playwright.sync_api import Page, Route, expect

from .conftest import CANDIDATES, QUERY, Site, StartVisit, Visit

FIGURES = [
    "top1_replacement_rate",
    "mean_score_gap",
    "low_score_share",
    "low_document_share",
    "truncation_rate",
    "tie_rate",
    "kendall_tau",
    "drift",
]


@pytest.fixture(scope="module")
def busy_site(site: Site) -> Site:
    """Enough requests to judge, none of which changes the first."""
    for n in range(35):
        documents = [f"{QUERY} {n}", *CANDIDATES[2:]]
        site.http.post(
            "/finerank/v1/rerank", json={"query": QUERY, "documents": documents, "tag": "bot"}
        ).raise_for_status()
    return site


@pytest.fixture(params=["en-GB", "zh-CN"])
def health(request: pytest.FixtureRequest, start_visit: StartVisit, busy_site: Site) -> Visit:
    visit = start_visit(request.param, at=busy_site).open("health")
    visit.page.wait_for_selector(".health-figure")
    return visit


def choose_tag(page: Page, tag: str) -> None:
    with page.expect_response(lambda response: f"tag={tag}" in response.url):
        page.locator("#health-tag").select_option(tag)


def test_every_figure_has_its_value_its_healthy_range_and_its_chart(health: Visit) -> None:
    page = health.page
    choose_tag(page, "bot")
    expect(page.locator(".health-figure")).to_have_count(len(FIGURES))
    assert page.locator(".health-figure h3").all_inner_texts() == [health.said(f"figure.{n}.title") for n in FIGURES]
    first = page.locator(".health-figure").first
    expect(first.locator(".state")).to_have_text(health.said("state.unhealthy"))
    expect(first.locator(".figure-value")).to_contain_text("0%")
    expect(first.locator(".figure-value")).to_contain_text(health.said("healthy.over", low="15%"))
    expect(first.locator(".chart .healthy")).to_be_visible()
    expect(first.locator(".chart .line circle")).to_be_visible()
    expect(first.locator(".advice")).not_to_be_empty()
    served = health.context.request.get(f"{health.url}/finerank/v1/health/ranking?tag=bot").json()
    ill = sum(figure["state"] == "unhealthy" for figure in served["figures"])
    expect(page.locator(".health-head .headline")).to_have_text(health.said("health.ill", n=ill))


def test_alerts_are_listed_as_the_server_orders_them(health: Visit) -> None:
    page = health.page
    alert = {"figure": "mean_score_gap", "model": "stub", "tag": "bot", "value": 0.08, "message": "Too close."}
    alerts = [{**alert, "time": 1732000000, "state": "cleared"}, {**alert, "time": 1731990000, "state": "raised"}]

    def alarm(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "alerts": alerts})

    page.route("**/finerank/v1/health/ranking*", alarm)
    choose_tag(page, "bot")
    rows = page.locator(".alerts li")
    expect(rows.locator(".state")).to_have_text([health.said("alert.cleared"), health.said("alert.raised")])
    for part in (health.said("figure.mean_score_gap.title"), "0.08", "stub", "bot"):
        expect(rows.nth(1)).to_contain_text(part)
    advice = health.said("figure.mean_score_gap.advice")
    assert rows.locator(".message").all_inner_texts() == [health.said("alert.recovered"), advice]


def test_scores_are_shown_and_a_baseline_is_stored(health: Visit) -> None:
    expect(health.page.locator(".histogram rect")).to_have_count(20)
    health.button("scores.store").click()
    expect(health.page.locator(".histogram path")).to_have_count(1)
    expect(health.page.get_by_text(health.said("scores.stored"))).to_be_visible()


def test_the_servers_figures_are_charts_with_labels(health: Visit) -> None:
    titles = [
        health.said(f"stats.{name}", seconds=5) for name in ("pairs", "latency", "queue", "fill", "load", "tokens")
    ]
    charts = health.page.locator(".server-charts figure")
    expect(charts).to_have_count(6)
    for title, label in zip(titles, charts.locator("svg").evaluate_all("s => s.map(n => n.ariaLabel)"), strict=True):
        assert label.startswith(title)


def test_every_chart_has_a_legend_and_every_line_its_label(health: Visit) -> None:
    charts = health.page.locator("#health figure")
    expect(charts).to_have_count(len(FIGURES) + 6)
    for chart in charts.all():
        legend = chart.locator(".legend li")
        lines = chart.locator("svg .line")
        banded = chart.locator("svg .healthy").count()
        if lines.count():
            assert legend.count() == lines.count() + banded
        assert all(text.strip() for text in legend.all_inner_texts())
    latency = health.page.locator(".server-charts figure").nth(1)
    expect(latency.locator(".legend li")).to_have_text(["p50", "p95"])
    label = latency.locator("svg").get_attribute("aria-label")
    assert "p50" in label
    assert "p95" in label
    first = health.page.locator(".health-figure").first
    title = health.said(f"figure.{FIGURES[0]}.title")
    assert first.locator("svg").get_attribute("aria-label").startswith(title)
    expect(first.locator(".legend .area")).to_have_text(health.said("chart.healthy"))


def test_pointing_at_a_chart_says_the_value_there(health: Visit) -> None:
    chart = health.page.locator(".server-charts figure").first
    chart.locator("svg").hover()
    expect(chart.locator(".cursor")).to_be_attached()
    assert ":" in chart.locator(".readout").inner_text()


def test_it_is_asked_for_every_five_seconds_while_it_is_seen(start_visit: StartVisit, busy_site: Site) -> None:
    visit = start_visit(at=busy_site, timezone_id="UTC")  # a context of its own: the clock is the context's
    visit.page.clock.install()
    visit.open("health")
    visit.page.wait_for_selector(".health-figure")
    for asked in (2, 3):
        with visit.page.expect_response("**/finerank/v1/stats"):
            visit.page.clock.run_for(5_100)
        assert len(visit.sent("/finerank/v1/stats")) == asked
        visit.page.wait_for_load_state("networkidle")
    visit.page.click("#tab-rerank")
    visit.page.clock.run_for(20_000)
    assert len(visit.sent("/finerank/v1/stats")) == 3


def test_a_failure_keeps_the_last_figures(health: Visit) -> None:
    health.expected = ("500",)
    health.page.route(
        "**/finerank/v1/stats", lambda route: route.fulfill(status=500, json={"error": {"kind": "failed"}})
    )
    health.page.locator("#health-tag").select_option("bot")
    expect(health.page.locator("#health [role=alert]")).to_contain_text(health.said("problem.failed"))
    expect(health.page.locator("#health [role=alert]")).to_contain_text(health.said("health.old"))
    expect(health.page.locator(".health-figure")).to_have_count(len(FIGURES))


def test_too_few_requests_are_not_judged(start_visit: StartVisit, locked_site: Site) -> None:
    headers = {"Authorization": "Bearer open-sesame"}
    visit = start_visit(at=locked_site, extra_http_headers=headers).open("health")
    expect(visit.page.locator(".health-head .headline")).to_have_text(visit.said("health.unknown"))
