import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finerank.text.clean import strip_html

FRAGMENTS = [
    *(
        "<p>",
        "</p>",
        "<br/>",
        "<b>",
        "<body>",
        "<head>",
        "</head>",
        "<svg/>",
        "<script>",
        "</script>",
        "<style>",
    ),
    *("<a ", ' href="', "'", "<", "</", ">", "<!--", "-->", "<!DOCTYPE", "<?xml", "?>"),
    *(
        "<![",
        "<![CDATA[",
        "]]>",
        "<![foo]>",
        "<![if x]>",
        "&amp;",
        "&nbsp",
        "&NotEqualTilde;",
        "&lt",
        "&T",
        "&;",
    ),
    *("&#65;", "&#x4E2D;", "&#xZZ;", "&#1114112;", "&#", "a", "é", "文", "x<y", "=", " ", "\n", "\ud800"),
]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>Reset</h1><p>Hold the <b>red</b> button.</p>", "Reset\nHold the red button."),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<p>a  lot\n of\tspace</p>", "a lot of space"),
        ("a<!-- note <p> -->b", "ab"),
        ("a<script>if (x < y) { '<p>' }</script><style>p{}</style>b", "ab"),
        ("<head><title>No</title></head><body>Yes</body>", "Yes"),
        ("<html><head><title>No</title><meta><p>Yes", "Yes"),
        ("<svg><text>No</text></svg>Yes", "Yes"),
        ("Tom &amp; Jerry &lt;3 &#x4E2D;&#25991; caf&eacute;&nbsp;bar", "Tom & Jerry <3 中文 café bar"),
        ("<p>AT&T, Q&A, a&b;c &copy 2020 x&#;</p>", "AT&T, Q&A, a&b;c © 2020 x&#;"),
        ("<p>1 < 2 and 3 > 2</p>", "1 < 2 and 3 > 2"),
        ("<![if !mso]><p>seen</p><![endif]>", "seen"),
        ("</p></script></head>still here", "still here"),
        ("<p></p>", ""),
        ("<p>&#" + "9" * 5000 + ";</p>", "\ufffd" + "9" * 4993 + ";"),
    ],
)
def test_markup_to_text(html: str, text: str) -> None:
    assert strip_html(html).text == text


@pytest.mark.parametrize("text", ["", "a < b, c > d", "5 <6 && 7> 6", "  two  spaces\n\nkept ", "AT&T; 中文 \ud800"])
def test_text_without_markup_is_left_alone(text: str) -> None:
    clean = strip_html(text)
    assert clean.text == text
    assert [clean.original_span((i, i + 1)) for i in range(len(text))] == [(i, i + 1) for i in range(len(text))]
    assert clean.original_span((0, len(text))) == (0, len(text))


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
@settings(deadline=None, max_examples=500)
def test_any_markup_is_read_and_every_character_keeps_its_place(html: str) -> None:
    clean = strip_html(html)
    assert len(clean.starts) == len(clean.ends) == len(clean.text)
    assert list(clean.starts) == sorted(clean.starts)
    for character, start, end in zip(clean.text, clean.starts, clean.ends, strict=True):
        assert character.isspace() or html[start:end] == character or html[start] == "&"


def test_a_span_of_the_text_is_a_span_of_the_original() -> None:
    html = "<div><p>First one.</p>\n<p>Say <i>&quot;hold on.&quot;</i></p></div>"
    clean = strip_html(html)
    assert clean.text == 'First one.\nSay "hold on."'
    first, second, at_start, at_end = (clean.original_span(span) for span in ((0, 10), (11, 25), (0, 0), (25, 25)))
    assert html[slice(*first)] == "First one."
    assert html[slice(*second)] == "Say <i>&quot;hold on.&quot;"
    assert at_start == (8, 8)
    assert at_end[0] == at_end[1] == second[1]
    assert strip_html("<p></p>").original_span((0, 0)) == (0, 0)


@pytest.mark.parametrize("piece", ["<a ", "<", "<!--", "<script>", "</script", "<svg ", "&#", "&a", "<a", "<script/"])
def test_no_markup_takes_more_than_linear_time(piece: str) -> None:
    """2 MB of it: anything quadratic would not come back."""
    strip_html(piece * (2_000_000 // len(piece)))
    strip_html("<" + piece.strip("<") * 500_000)
