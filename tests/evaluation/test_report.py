import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from finerank.evaluation import plots
from finerank.evaluation.compare import compare_with_first_stage
from finerank.evaluation.keyword_traps import TrapOutcome
from finerank.evaluation.report import evaluation_page
from finerank.evaluation.results import Cost, Evaluation, QueryResult, SetResult

NASTY = '<script>alert("1")</script> & $x$'


def evaluation(text: str = "", name: str = "set") -> Evaluation:
    queries = (
        QueryResult("q1", {"RR": 0.5}, {"RR": 1.0}, False, True, 9, 3, text),
        QueryResult("q2", {"RR": 1.0}, {"RR": 0.25}, True, False, 9, 3, text),
    )
    return Evaluation("model", ("RR",), (SetResult(name, "en", queries, Cost(6, 60, 1, 2, 2.0), ("odd",)),), depth=3)


def page(found: Evaluation) -> str:
    outcomes = [TrapOutcome("en", "jaguar", True), TrapOutcome("zh", "phone", False)]
    return evaluation_page(found, [compare_with_first_stage(found)], outcomes)


class Loads(HTMLParser):
    """Collects whatever a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "embed", "base"):
            self.found.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data") and not (value or "").startswith("#"):
                self.found.append(f"{tag} {name}={value}")


def test_the_page_has_the_figures() -> None:
    html = page(evaluation())
    for shown in ("Evaluation of model", "6 pairs", "3.0 pairs/s", "0.7500", "0.6250", "set: odd", "-0.1250", "<svg"):
        assert shown in html, shown
    assert "candidates a query, at most: 3" in html
    assert re.search(r"<td>overall</td><td class=\"number\">2</td><td class=\"number\">1</td>", html)
    assert "set q2 -0.75" in html


def test_the_page_loads_nothing() -> None:
    html = page(evaluation())
    loads = Loads()
    loads.feed(html)
    assert loads.found == []
    addresses = set(re.findall(r"https?://[^\"' <]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "names, not places"
    assert "@import" not in html
    assert "url(http" not in html
    assert "default-src 'none'" in html


def test_text_from_outside_is_escaped() -> None:
    html = page(evaluation(text=NASTY, name=NASTY))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert html.count("$x$") >= 3, "a dollar sign stays one in the figures too"


def test_queries_are_named_by_id_unless_their_text_was_kept() -> None:
    assert "how do I" not in page(evaluation())
    assert "set how do I -0.75" in page(evaluation(text="how do I"))


def test_without_sets_the_page_has_the_traps_alone() -> None:
    html = evaluation_page(Evaluation("model", ("RR",), ()), [], [TrapOutcome("en", "jaguar", True)])
    assert "Keyword traps" in html
    assert "<svg" not in html


@pytest.mark.parametrize(
    "svg",
    [
        plots.before_and_after([("a", 0.1, 0.9), ("中文 <b>", 0.9, 0.1)], "RR", ("first stage", "reranked")),
        plots.histogram([0.0, 0.5, -1.0], "RR"),
        plots.reliability([(0.1, 0.2)], [(0.1, 0.1), (0.9, 1.0)]),
    ],
)
def test_a_figure_is_well_formed_and_the_same_each_time(svg: str) -> None:
    assert svg.startswith("<svg")
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "metadata" not in svg


def test_a_fall_is_drawn_in_another_colour_than_a_rise() -> None:
    rise, fall = (plots.before_and_after([("a", *pair)], "RR", ("b", "a")) for pair in ((0.1, 0.9), (0.9, 0.1)))
    assert "#c0392b" in fall
    assert "#c0392b" not in rise
