"""Titles that say nothing: what programs write where an author named no title."""

import re

_EXTENSIONS = "ai|cdr|docx?|dotx?|dvi|eps|fm|indd|jpe?g|odt|p65|pdf|pmd|png|pptx?|ps|qxd|rtf|tex|tiff?|wpd|xlsx?"
_PLACEHOLDERS = (
    r"[\W\d_]*",
    r"[(\[<]?(?:anonymous|unspecified|unknown|no title|none|null|title|undefined|default|blank)[)\]>]?",
    r"[(\[<]?(?:untitled|unnamed|unbenannt|sans titre|sin título|senza titolo|sem título|без имени)"
    r"(?:[\s_-]*(?:document|dokument|page|slide|presentation))?[\W\d_]*",
    r"(?:未命名|无标题|無標題|無題|제목 없음)(?:文档|文件|文書|页|幻灯片)?[\W\d_]*",
    r"(?:new |neues |新建 ?)?(?:microsoft |ms |office |word )*"
    r"(?:document|dokument|book|sheet|presentation|slide|page|image|scan|scanned document|"
    r"文档|文件|文書|幻灯片|工作簿|演示文稿)"
    r"[\W\d_]*",
    r"(?:microsoft|ms) (?:office )?(?:word|excel|powerpoint|visio|publisher|outlook)"
    r"(?: (?:document|presentation))?(?: ?- .*)?",
    r"powerpoint[ -](?:presentation|präsentation|演示文稿|简报)",
    r"(?:camscanner|scan|img|dsc|doc)[\W\d_]+",
    r"about:blank|(?:file|https?)://.*|[a-z]:\\.*|/\S+",
    rf".*\.(?:{_EXTENSIONS})",
)
_PLACEHOLDER = re.compile("|".join(_PLACEHOLDERS), re.IGNORECASE)


def is_placeholder(title: str) -> bool:
    """Whether a title is empty, a program's default or a file name.

    >>> [is_placeholder(title) for title in ("untitled", "Microsoft Word - x.doc", "Travel policy")]
    [True, True, False]
    """
    return bool(_PLACEHOLDER.fullmatch(" ".join(title.split())))
