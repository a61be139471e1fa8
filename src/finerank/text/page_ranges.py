"""Page numbers in words."""

from collections.abc import Sequence


def page_ranges(pages: Sequence[int]) -> str:
    """Sorted page numbers as ranges.

    >>> page_ranges([2, 3, 4, 9])
    'pages 2-4, 9'
    >>> page_ranges([7])
    'page 7'
    """
    ranges: list[list[int]] = []
    for page in pages:
        if ranges and page == ranges[-1][1] + 1:
            ranges[-1][1] = page
        else:
            ranges.append([page, page])
    words = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)
    return f"page {words}" if len(pages) == 1 else f"pages {words}"
