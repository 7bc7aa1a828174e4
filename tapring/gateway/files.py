"""The files of the page, read once as the server starts."""

from __future__ import annotations

from importlib.resources import files
from typing import Final, NamedTuple

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX: Final = "index.html"


class PageFile(NamedTuple):
    """A file of the page."""

    body: bytes
    media_type: str


def page_files() -> dict[str, PageFile]:
    """Return the files of the page by their names."""
    found = {}
    for each in (files(__package__) / "page").iterdir():
        media_type = _TYPES.get(f".{each.name.rpartition('.')[2]}")
        if media_type is not None:
            found[each.name] = PageFile(each.read_bytes(), media_type)
    return found
