"""HTML to elements, and which of them are no content: what is hidden, permalinks, navigation, footers, banners.

One pass of one expression, linear in the text, since no parser at hand keeps offsets; what an element is worth is
judged by its share of the page's text and of its links.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from finerank.ranking import Span

Keep = Literal["all", "visible", "main"]
"""All text, all but what is hidden and signs such as permalinks, or the main text: no navigation, footers, banners."""

# Comments; elements whose content is no text (not <head>, whose end tag may be left out); tags; declarations; entities.
# A tag that never ends is text; it is matched all the same, so that nothing is read twice.
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?P<skipped>script|style|template|noscript|svg|title|iframe)\b(?:[^<>]*/>|.*?(?:</(?P=skipped)\s*>|\Z))"
    r"|<(?P<close>/?)(?P<tag>[a-z][^\s<>/]*+)"
    r"(?P<attributes>(?:[^<>=]++|=\s*+\"[^\"]{0,4000}\"|=\s*+'[^']{0,4000}'|=)*+)(?P<ended>>?)"
    r"|<[!?][^<>]*+>"
    r"|(?P<entity>&(?:\#\d{1,7}|\#x[\da-f]{1,6}|[a-z][a-z\d]{1,31});?)",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY = re.compile(r"&(?:\#\d{1,7}|\#x[\da-f]{1,6}|[a-z][a-z\d]{1,31});?", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([^\s=\"'/]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"']+)))?")

BLOCKS = frozenset(
    "address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu nav ol option p "
    "pre search section summary table tbody td tfoot th thead tr ul".split()
)
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_ENDS_PARAGRAPH = BLOCKS - {"br", "option", "tbody", "td", "tfoot", "th", "thead", "tr", "caption", "body"}
# What a start tag ends, and the elements beyond which it ends nothing.
_IMPLIED: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    **{tag: (frozenset({"p"}), frozenset({"td", "th", "table", "button"})) for tag in _ENDS_PARAGRAPH},
    "li": (frozenset({"li"}), frozenset({"ul", "ol", "menu", "table"})),
    **dict.fromkeys(("dt", "dd"), (frozenset({"dt", "dd"}), frozenset({"dl", "table"}))),
    **dict.fromkeys(("td", "th"), (frozenset({"td", "th"}), frozenset({"tr", "table"}))),
    "tr": (frozenset({"tr", "td", "th", "caption"}), frozenset({"table"})),
    **dict.fromkeys(("thead", "tbody", "tfoot"), (frozenset({"thead", "tbody", "tfoot"}), frozenset({"table"}))),
    "option": (frozenset({"option"}), frozenset({"select", "datalist"})),
    **dict.fromkeys(_HEADINGS, (_HEADINGS | {"p"}, frozenset({"td", "th", "table", "div", "section"}))),
}
_OPTIONAL_END = frozenset("p li dt dd td th tr thead tbody tfoot option body html".split()) | _HEADINGS
_SCOPES = frozenset(("table", "td", "th", "caption", "html"))
_LOOKED_AT = 64

_BOILERPLATE_TAGS = (BLOCKS | {"select"}) - {"body", "br"}
_MAIN = frozenset(("main", "article"))
_MAIN_ROLES = frozenset(("main", "article"))
_SECTIONS = frozenset(("main", "article", "section", "blockquote", "figure", "dialog"))
_PERMALINKS = frozenset(
    ("¶", "#", "§", "🔗", "⚓", "⚓︎", "∞", "\u200b", "\u2060", "\uf0c1", "permalink", "link to this heading")
)
_SIGN_TAGS = frozenset(("a", "button", "span", "div", "td", "small", "sup", "li", "p"))
_PERMALINK_NAME = re.compile(r"\b(?:header-?link|perma-?link|hash-?link|heading-?anchor|anchor-?link|anchor)\b")
_MAY_HIDE = re.compile("hidden|none", re.IGNORECASE)
_HIDING = re.compile(r"(?:^|[;\s])(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_PREFORMATTED = re.compile(r"white-space\s*:\s*(?:pre|pre-wrap|break-spaces)\b", re.IGNORECASE)
_CONTROL_NAME = re.compile(
    r"\b(?:mw-editsection|viewcode-link|viewcode-back|copy-?(?:btn|button|code)|btn-copy|clipboard|skip-?(?:link|to|nav)\S*"
    r"|line-?no(?:s|div)?|line-?numbers?|gutter)\b"
)
_LINKS_NAME = re.compile(
    r"(?:^|[\s_-])(?:nav|navi|navbar|navigation|menu|menubar|sidebar|sidenav|breadcrumbs?|toc|pagination|pager|prev|next"
    r"|related|share|social|footer|header|topbar|skip)(?:$|[\s_-])|sidebar|breadcrumb|navigation"
)
_FOOTER_NAME = re.compile(
    r"(?:^|\s)(?:(?:(?:site|page|main|global|doc|docs|blog|app)[-_]?)?(?:footer|colophon)|navheader|navfooter)(?:$|\s)"
)
_COOKIE_NAME = re.compile(
    r"(?:cookie|gdpr|ccpa|consent)s?[-_ ]?(?:banner|bar|box|consent|dialog|disclaimer|info|law|message|modal|notice"
    r"|notification|overlay|popup|prompt|wall|warning)|cookieconsent|onetrust|cookiebot|usercentrics|didomi|truste\b"
)
_COOKIE_WORD = re.compile(r"\b(?:cookies?|gdpr|ccpa|consent)\b")
_BANNER_CHARACTERS = 1500
_LINKED = 0.5
_MUCH = 0.5


@dataclass(slots=True)
class Element:
    """An element of a page: `start` and `end` enclose it, `inner` and `close` its content. `text` and `links` count
    the characters of its text, and of that within links."""

    tag: str
    index: int
    parent: int  # the index of the element it is in, -1 of none
    start: int
    inner: int
    written: str  # its attributes, as in the source
    close: int = -1
    end: int = -1
    ended: bool = False
    text: int = 0
    links: int = 0
    _attributes: Mapping[str, str] | None = None
    _names: str | None = None

    @property
    def attributes(self) -> Mapping[str, str]:
        if self._attributes is None:
            self._attributes = _attributes(self.written)
        return self._attributes

    @property
    def role(self) -> str:
        return self.attributes.get("role", "").strip().lower() if "role" in self.written else ""

    @property
    def names(self) -> str:
        """Its classes, id and label, in small letters."""
        if self._names is None:
            there = self.attributes
            values = [there[name] for name in ("class", "id", "aria-label") if name in there]
            self._names = " ".join(values).lower().strip()
        return self._names

    @property
    def preformatted(self) -> bool:
        return self.tag in ("pre", "textarea", "listing", "xmp") or bool(_PREFORMATTED.search(self.written))

    @property
    def linked(self) -> bool:
        """Whether at least half of its text is links."""
        return self.links >= _LINKED * self.text and self.links > 0

    def count(self, name: str, most: int) -> int:
        """A number from 1 to `most` among its attributes."""
        value = self.attributes.get(name, "").strip()
        return min(max(int(value), 1), most) if value.isdecimal() and len(value) < 7 else 1


@dataclass(slots=True)
class Markup:
    """A source's marks, the element that each of them opens (None for most), and all elements in order."""

    source: str
    marks: list[tuple[re.Match[str], Element | None]] = field(default_factory=list)
    elements: list[Element] = field(default_factory=list)

    def above(self, element: Element) -> Iterator[Element]:
        """The elements around this one, innermost first; not all of a great many."""
        for _ in range(_LOOKED_AT):
            if element.parent < 0:
                return
            element = self.elements[element.parent]
            yield element


def parse(source: str) -> Markup:
    """The marks and elements of a source; entities that stand for themselves are no marks."""
    markup = Markup(source)
    stack: list[int] = []
    text, links, linked, done = 0, 0, 0, 0
    elements = markup.elements

    def pop(place: int, end: int, ended: bool) -> None:
        nonlocal linked
        element = elements[stack.pop()]
        element.close, element.end, element.ended = place, end, ended or element.tag in _OPTIONAL_END
        element.text, element.links = text - element.text, links - element.links
        linked -= element.tag == "a"

    for mark in _MARKUP.finditer(source):
        start = mark.start()
        if done < start:
            size = len(source[done:start].strip())
            text += size
            links += size if linked else 0
        done = mark.end()
        tag = (mark["tag"] or "").lower()
        if mark["entity"]:
            character = html.unescape(mark[0])
            if character == mark[0]:
                done = mark.start()
                continue
            if not character.isspace():
                text, links = text + 1, links + bool(linked)
        elif tag and not mark["ended"]:
            done = mark.start()
            for entity in _ENTITY.finditer(mark[0]):
                if html.unescape(entity[0]) != entity[0]:
                    match = _MARKUP.match(source, mark.start() + entity.start())
                    if match:
                        markup.marks.append((match, None))
            continue
        elif tag and mark["close"]:
            depth = _closed(elements, stack, tag)
            for left in range(depth, 0, -1):
                last = left == 1
                pop(mark.start(), mark.end() if last else mark.start(), last)
        elif tag:
            for _ in range(_implied(elements, stack, tag)):
                pop(mark.start(), mark.start(), False)
            parent = stack[-1] if stack else -1
            place = len(elements)
            element = Element(
                tag, place, parent, mark.start(), mark.end(), mark["attributes"], text=text, links=links
            )  # fmt: skip
            markup.marks.append((mark, element))
            elements.append(element)
            stack.append(place)
            linked += tag == "a"
            if tag in _VOID:
                pop(mark.end(), mark.end(), True)
            continue
        markup.marks.append((mark, None))
    size = len(source[done:].strip())
    text, links = text + size, links + (size if linked else 0)
    while stack:
        pop(len(source), len(source), False)
    return markup


def dropped_spans(markup: Markup, keep: Keep) -> list[Span]:
    """What of the source is no content, in order. Nothing is, if it were all of the text."""
    if keep == "all" or not markup.elements:
        return []
    page = _Page(markup)
    spans: list[Span] = []
    left = page.text
    for element in markup.elements:
        if spans and element.start < spans[-1][1]:
            continue
        if page.is_hidden(element) or page.is_sign(element) or (keep == "main" and page.is_boilerplate(element)):
            spans.append((element.start, element.end))
            left -= element.text
    if left > 0 or not page.text:
        return spans
    return dropped_spans(markup, "visible") if keep == "main" else []


class _Page:
    def __init__(self, markup: Markup) -> None:
        self._markup = markup
        elements = markup.elements
        self.text = sum(element.text for element in elements if element.parent < 0)
        self._inside: list[bool] = []  # the main text, or a section
        self._in_section: list[bool] = []
        mains = [each for each in elements if each.tag == "main" or each.role == "main"]
        mains = [each for each in mains if each.text] or [
            each for each in elements if each.tag == "article" and each.text
        ]
        self._has_main = bool(mains)
        for element in elements:
            up = element.parent
            is_main = element.tag in _MAIN or element.role in _MAIN_ROLES
            self._inside.append(is_main or (up >= 0 and self._inside[up]))
            section = is_main or element.tag in _SECTIONS
            self._in_section.append(section or (up >= 0 and self._in_section[up]))
        headings = (each for each in elements if each.tag in ("h1", "h2", "h3"))
        self._headed = {around.index for each in headings for around in markup.above(each)}
        self._holds_main = {around.index for each in mains for around in markup.above(each)}

    def is_hidden(self, element: Element) -> bool:
        if not _MAY_HIDE.search(element.written) and element.tag != "dialog":
            return False
        attributes = element.attributes
        hidden = (
            ("hidden" in attributes and attributes["hidden"].lower() != "until-found")
            or attributes.get("aria-hidden", "").lower() == "true"
            or bool(_HIDING.search(attributes.get("style", "")))
            or (element.tag == "dialog" and "open" not in attributes)
        )
        return hidden and element.ended and (element.linked or not self._is_much(element))

    def is_sign(self, element: Element) -> bool:
        """Permalinks, buttons that copy, line numbers: what readers of the page do not read."""
        if element.tag == "a" and element.text <= 24 and element.ended:
            inside = strip_tags(self._markup.source[element.inner : element.close]).strip().lower()
            target = "#" in element.attributes.get("href", "")
            if inside in _PERMALINKS and (target or _PERMALINK_NAME.search(element.names)):
                return True
        names = element.names if element.ended and element.written and element.tag in _SIGN_TAGS else ""
        if not names or not _CONTROL_NAME.search(names):
            return False
        if self._is_much(element):
            return False
        inside = strip_tags(self._markup.source[element.inner : element.close])
        numbers = "line" in names or "gutter" in names
        return all(each.isdecimal() for each in inside.split()) if numbers else element.text < 100

    def is_boilerplate(self, element: Element) -> bool:
        tag = element.tag
        if tag not in _BOILERPLATE_TAGS and "role" not in element.written:
            return False
        if element.index in self._holds_main or not element.text or not element.ended:
            return False
        up = element.parent
        inside, in_section = up >= 0 and self._inside[up], up >= 0 and self._in_section[up]
        if element.tag in _MAIN or element.role in _MAIN_ROLES:
            return False
        apart = self._has_main and not inside
        much = self._is_much(element)
        role, names = element.role, element.names
        if self._is_cookie_banner(element, inside):
            return True
        if tag == "nav" or role in ("navigation", "search", "menubar"):
            return (element.linked and (not inside or not much)) or not (inside or much)
        if tag == "footer" or role == "contentinfo" or (tag == "div" and _FOOTER_NAME.search(names)):
            return not in_section and not much
        if tag == "header" or role == "banner":
            return not in_section and not much and element.index not in self._headed
        if tag == "aside" or role == "complementary":
            return (element.linked and not much) or apart
        if tag == "select":
            return apart
        if tag in BLOCKS and element.linked:
            return apart or bool(not much and tag not in _HEADINGS and _LINKS_NAME.search(names))
        return False

    def _is_cookie_banner(self, element: Element, inside: bool) -> bool:
        names = element.names
        if element.text > _BANNER_CHARACTERS or self._is_much(element) or not names or element.tag not in BLOCKS:
            return False
        if _COOKIE_NAME.search(names):
            return not inside or element.role in ("dialog", "alertdialog")
        return bool(not inside and _COOKIE_WORD.search(names) and element.tag != "section") or (
            element.role in ("dialog", "alertdialog") and bool(_COOKIE_WORD.search(names))
        )

    def _is_much(self, element: Element) -> bool:
        return element.text > _MUCH * self.text


def strip_tags(source: str) -> str:
    """The text of a piece of source, as it is but for marks and entities."""
    return html.unescape(_MARKUP.sub(lambda mark: mark[0] if mark["entity"] else "", source))


def _closed(elements: Sequence[Element], stack: Sequence[int], tag: str) -> int:
    """How many open elements an end tag closes."""
    for depth, number in enumerate(reversed(stack[-_LOOKED_AT:]), start=1):
        there = elements[number].tag
        if there == tag:
            return depth
        if there in _SCOPES and tag not in _SCOPES and tag not in ("tr", "tbody", "thead", "tfoot", "body"):
            return 0
        if tag not in BLOCKS and there in BLOCKS:
            return 0  # </b> does not end the <div> that it stands in
    return 0


def _implied(elements: Sequence[Element], stack: Sequence[int], tag: str) -> int:
    """How many open elements a start tag closes."""
    closes, barriers = _IMPLIED.get(tag, (frozenset(), frozenset()))
    found = 0
    if closes:
        for depth, number in enumerate(reversed(stack[-_LOOKED_AT:]), start=1):
            there = elements[number].tag
            if there in closes:
                found = depth
            elif there in barriers or ("p" in closes and there in BLOCKS):
                break
    return found


def _attributes(source: str) -> Mapping[str, str]:
    if not source or source.isspace():
        return {}
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(source):
        value = double or single or bare
        found.setdefault(name.lower(), html.unescape(value) if "&" in value else value)
    return found
