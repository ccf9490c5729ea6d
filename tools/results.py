"""docs/results.md: measured tables, each between marks of its own: a tool writes its table and leaves the others."""

import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, "docs", "results.md")
END = "<!-- end -->\n"


def mark(name, tool):
    """The line above the part of that name, which says what wrote it."""
    return "<!-- {}: written by tools/{} -->\n".format(name, tool)


def read(name, tool):
    """The text of a part. Raises ValueError where the page has no such marks."""
    with open(PAGE, encoding="utf-8") as stream:
        page = stream.read()
    return page[slice(*_place(page, name, tool))]


def write(name, tool, text):
    """Replaces a part by `text`, which ends in a line end. Raises ValueError where the page has no such marks."""
    with open(PAGE, encoding="utf-8") as stream:
        page = stream.read()
    start, stop = _place(page, name, tool)
    with open(PAGE + ".part", "w", encoding="utf-8") as stream:
        stream.write(page[:start] + text + page[stop:])
    os.replace(PAGE + ".part", PAGE)


def _place(page, name, tool):
    start = page.index(mark(name, tool)) + len(mark(name, tool))
    return start, page.index(END, start)
