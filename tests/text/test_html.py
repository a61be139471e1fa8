# ruff: noqa: E501 - a case reads better on one line
"""HTML pages: rows and code as they stand, and the main text without what surrounds it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.text.clean import strip_html
from finerank.text.load import LoadedDocument, ReadOptions, load_file
from finerank.text.markup import Keep

PARAGRAPH = "<p>Hold the reset button for ten seconds, until the light on the back blinks twice.</p>"
TEXT = "Hold the reset button for ten seconds, until the light on the back blinks twice."


def load(path: Path, source: str, boilerplate: bool = False) -> LoadedDocument:
    path.write_text(source, encoding="utf-8")
    [document] = load_file(path, pytest.fail, ReadOptions(boilerplate=boilerplate))
    return document


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<table><tr><th>City<th>A<th>B</tr><tr><td>成都</td><td>300</td><td>300</td></table>", "City | A | B\n成都 | 300 | 300"),
        ("<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td></td></tr></tbody></table>", "a | b\n1 | "),
        ("<table><tr><td>x<td><td>y</table>after", "x |  | y\nafter"),
        ("<table><tr><td></td><td>b</td></tr><tr><td></td><td></td></tr></table>", " | b"),
        ("<table><tr><td rowspan=2>M<td>1<tr><td>2</table>", "M | 1\nM | 2"),
        ("<table><tr><td>a<td rowspan=2>b</tr><tr><td>c</tr></table>", "a | b\nc | b"),
        ("<table><tr><td colspan=2>both<td>c</tr></table>", "both | c"),
        ("<table><caption>Fees</caption><tr><td><p>a</p><p>b</p></td><td>c<br>d</td></tr></table>", "Fees\na b | c d"),
        ("<table role=presentation><tr><td>menu<td>text</table>", "menu\ntext"),
        ("<table><tr><td><h1>T</h1>x</td><td>y</td></tr></table>", "T\nx\ny"),
        ("<table><tr><td>1<table><tr><td>a<td>b</table></td></tr></table>", "1\na | b"),
        ("<table><tr><td><pre>1\n2</pre></td><td><pre>a\n  b</pre></td></tr></table>", "1\n2\na\n  b"),
    ],
)  # fmt: skip
def test_rows_of_tables_are_lines_of_cells(html: str, text: str):
    assert strip_html(html).text == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<pre>\ndef f(x):\n    if x &lt; 2:\n\treturn <b>x</b>\n\n    return 1\n</pre>", "def f(x):\n    if x < 2:\n\treturn x\n\n    return 1"),
        ("a<pre><code>  x\n    y</code></pre>b", "a\n  x\n    y\nb"),
        ("<pre>1<br>  2</pre>", "1\n  2"),
        ('<pre><div class="line">a</div>\n<div class="line">  b</div></pre>', "a\n  b"),
        ('<div style="white-space: pre">a\n  b</div>', "a\n  b"),
        ("<pre>a\r\n b</pre>", "a\n b"),
    ],
)  # fmt: skip
def test_preformatted_text_keeps_its_lines_and_indentation(html: str, text: str):
    assert strip_html(html).text == text


@pytest.mark.parametrize(
    "part",
    [
        '<span style="display: none">no</span>',
        '<div style="color:red; DISPLAY:none !important">no</div>',
        '<p style="visibility:hidden">no</p>',
        "<p hidden>no</p>",
        '<div aria-hidden="true">no</div>',
        "<dialog>no</dialog>",
        '<a class="headerlink" href="#reset" title="Permalink">¶</a>',
        '<a class="anchor" href="#reset" aria-label="link">#</a>',
        '<a href="#reset">&para;</a>',
        '<button class="copy-btn">Copy</button>',
    ],
)
def test_what_is_not_seen_or_no_text_is_dropped_even_from_passages(part: str):
    assert strip_html(f"<h2>Reset {part}</h2>{PARAGRAPH}").text == f"Reset\n{TEXT}"
    assert strip_html(f"<h2>Reset {part}</h2>{PARAGRAPH}", "all").text != f"Reset\n{TEXT}"


NAVIGATION = '<ul><li><a href="/">Home</a></li><li><a href="/blog">Blog</a></li></ul>'


@pytest.mark.parametrize(
    "part",
    [
        f"<nav>{NAVIGATION}</nav>",
        f'<div role="navigation">{NAVIGATION}</div>',
        f'<div class="sphinxsidebar">{NAVIGATION}</div>',
        f'<div id="main-menu">{NAVIGATION}</div>',
        f'<ol class="breadcrumb">{NAVIGATION}</ol>',
        '<header><a href="/">Acme</a> Shop</header>',
        "<footer>© Acme 2020. All rights reserved.</footer>",
        '<div class="site-footer">© Acme 2020</div>',
        '<div class="navheader"><table><tr><th>Chapter 3. Setting it up</th><td><a href="3">Next</a></td></tr></table></div>',
        '<div id="cookie-banner"><p>We use cookies.</p><button>Accept</button></div>',
        '<div class="gdpr-notice">We value your privacy</div>',
        '<div role="dialog" aria-label="Cookie consent">We use cookies.</div>',
        '<section id="onetrust-consent-sdk">Cookies!</section>',
        '<a class="skip-link" href="#main">Skip to content</a>',
        "<form role=search>Search <button>Go</button></form>",
    ],
)
def test_boilerplate_is_dropped_from_pages_unless_it_is_to_be_kept(tmp_path: Path, part: str):
    source = f"<html><body>{part}<main><h1>Reset</h1>{PARAGRAPH}</main></body></html>"
    bare = f"<html><body>{part}<div><h1>Reset</h1>{PARAGRAPH * 3}</div></body></html>"
    assert load(tmp_path / "a.html", source).text == f"Reset\n{TEXT}"
    assert load(tmp_path / "a.html", bare).text == "\n".join(["Reset", *[TEXT] * 3])
    kept = load(tmp_path / "a.html", source, boilerplate=True).text
    assert len(kept) > len(f"Reset\n{TEXT}")


@pytest.mark.parametrize(
    "source",
    [
        f"<main><article><header><h1>Reset</h1></header>{PARAGRAPH}<footer>By Ann</footer></article></main>",
        f"<body><header><h1>Reset</h1></header>{PARAGRAPH}</body>",
        f"<main>{PARAGRAPH}<aside>Note: keep it dry.</aside></main>",
        f'<div class="menu"><p>Soup 5 euros</p>{PARAGRAPH}</div>',
        f"<blockquote>{PARAGRAPH}<footer>Kant</footer></blockquote>{PARAGRAPH * 3}",
        f"<div><nav>never closed{PARAGRAPH}</div>",
        f'<body style="display:none">{PARAGRAPH}</body>',
        f'<div id="root" aria-hidden="true">{PARAGRAPH}</div>',
        f'<article class="cookie-recipe"><h1>Cookies</h1>{PARAGRAPH}</article>',
        f'<main class="navigation-guide">{PARAGRAPH}</main>',
        f'<details><summary>More</summary>{PARAGRAPH}</details><p hidden="until-found">found</p>',
        f'<main>{PARAGRAPH}<ul class="contents"><li><a href="/a">Install</a></li></ul></main>',
        f"<h3><button>How do I return it?</button></h3>{PARAGRAPH}",
        "<nav><a href=/>Home</a></nav>",
        "<footer>Only this</footer>",
        "<p>no end <b",
    ],
)
def test_main_text_is_never_lost(tmp_path: Path, source: str):
    kept = load(tmp_path / "a.html", source).text
    assert kept == load(tmp_path / "b.html", source, boilerplate=True).text


def test_headings_have_no_signs_and_those_of_dropped_parts_are_none(tmp_path: Path):
    source = (
        f"<nav><h2>Menu</h2>{NAVIGATION}</nav><main><h1>Guide<a class=headerlink href=#g>¶</a></h1>{PARAGRAPH}"
        f'<div role="heading" aria-level="2">Reset</div>{PARAGRAPH}<!-- <h2>no</h2> --></main>'
    )
    document = load(tmp_path / "a.html", source)
    assert [(each.level, each.title) for each in document.headings] == [(1, "Guide"), (2, "Reset")]
    for heading in document.headings:
        assert document.text[heading.start :].startswith(heading.title)
    start = document.text.index("Reset")
    assert source[slice(*document.original_span((start, start + 5)))] == "Reset"


def test_attributes_may_hold_angle_brackets():
    assert strip_html("<p data-x=\"<b>a > b</b>\" title='1 > 0'>text</p>").text == "text"


@pytest.mark.parametrize(
    "part", ["<div>", "<p>", "<td>", "<tr><td rowspan=99 colspan=99>a", "<pre>\n", "<h1>", "<b></div>", "<a b=\"<", "<li hidden>a"]
)  # fmt: skip
def test_no_markup_takes_more_than_linear_time(part: str):
    """Anything quadratic would not come back; nor would rows that repeat cells without end."""
    text = strip_html("<table>" + part * (100_000 // len(part)), "main").text
    assert len(text) < 1_000_000


FRAGMENTS = [
    *(
        "<table>",
        "</table>",
        "<tr>",
        "</tr>",
        "<td>",
        "<td rowspan=2>",
        "<td colspan=3 rowspan=2>",
        "</td>",
        "<caption>",
    ),
    *(
        "<pre>",
        "</pre>",
        "<p hidden>",
        "</p>",
        "<nav>",
        "</nav>",
        "<div style='display:none'>",
        "</div>",
        "<h1>",
        "</h1>",
    ),
    *(
        "<ul>",
        "<li>",
        "<br>",
        "<b",
        "<!--",
        "-->",
        "<a href=#x>",
        "¶",
        "</a>",
        "<main>",
        "</main>",
        "<footer>",
        "<svg>",
    ),
    *("a", "b c", "文", "\n", " ", "&amp;", "&nbsp;", '="', "'"),
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join), st.sampled_from(["all", "visible", "main"]))
@settings(deadline=None, max_examples=300)
def test_every_character_keeps_its_place_and_not_all_of_a_text_is_dropped(html: str, keep: Keep):
    clean = strip_html(html, keep)
    assert len(clean.starts) == len(clean.ends) == len(clean.text)
    assert list(clean.starts) == sorted(clean.starts)
    for character, start, end in zip(clean.text, clean.starts, clean.ends, strict=True):
        assert character.isspace() or start == end or html[start:end] == character or html[start] == "&"
    assert bool(clean.text.strip()) == bool(strip_html(html, "all").text.strip())
