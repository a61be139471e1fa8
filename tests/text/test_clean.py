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
    ],
)
def test_markup_to_text(html: str, text: str) -> None:
    assert strip_html(html).text == text


@pytest.mark.parametrize("text", ["", "a < b, c > d", "5 <6 && 7> 6", "  two  spaces\n\nkept ", "AT&T; 中文 \ud800"])
def test_text_without_markup_is_left_alone(text: str) -> None:
    clean = strip_html(text)
    assert clean.text == text
    assert list(clean.offsets) == list(range(len(text) + 1))
    assert clean.original_span((0, len(text))) == (0, len(text))


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
@settings(deadline=None, max_examples=500)
def test_any_markup_is_read_and_every_character_keeps_its_place(html: str) -> None:
    clean = strip_html(html)
    assert len(clean.offsets) == len(clean.text) + 1
    assert list(clean.offsets) == sorted(clean.offsets)
    for character, offset in zip(clean.text, clean.offsets, strict=False):
        assert character.isspace() or html[offset] in (character, "&")


def test_a_span_of_the_text_is_a_span_of_the_original() -> None:
    html = "<div><p>First one.</p>\n<p>Say <i>&quot;hold on.&quot;</i></p></div>"
    clean = strip_html(html)
    assert clean.text == 'First one.\nSay "hold on."'
    spans = [clean.original_span(span) for span in ((0, 10), (11, 25), (0, 0), (25, 25))]
    assert html[slice(*spans[0])] == "First one."
    assert html[slice(*spans[1])] == "Say <i>&quot;hold on.&quot;"
    assert spans[2:] == [(8, 8), (len(html), len(html))]
