"""Which format a file has: as an option, its meta, its name or its beginning says, in this order.

The name of a JSON file leaves open how it is laid out, and many names say nothing. Then the file's
beginning decides.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..errors import RecordingError
from .formats import FILE_FORMATS
from .formats import FORMATS as CAPTURED
from .json_layout import Layout, layout_or_lines
from .meta import Meta
from .source import Name, Source

FORMATS: Final = ("json", *(each for each in CAPTURED if each != "pretty"))
"""What can be read. ``json`` is JSON that is not one event a line."""


class Found(NamedTuple):
    """A format of ``FORMATS``, and what is unusual about the file, or ""."""

    format: str
    note: str = ""


def recognized(
    source: Source,
    name: Name,
    meta: Meta | None,
    wanted: str | None = None,
    *,
    is_journal: bool = False,
    is_regular: bool = True,
) -> Found:
    """The format of a file. wanted: what an option says.

    Raises RecordingError if it is none that can be read, or not from such a file.
    """
    path = source.path
    said = wanted or (meta.format if meta else name.format)
    found = Found(said or "raw")
    if not wanted and not meta and not is_journal and said in (None, "ndjson"):
        found = _by_beginning(source, said)
    if found.format == "pretty":
        raise RecordingError(
            f"{path} was written with --format pretty, which leaves things out. "
            f"Capture with --format ndjson"
        )
    if found.format not in FORMATS:
        raise RecordingError(
            f"{path}: {found.format!r} is not a format. Use one of {', '.join(FORMATS)}"
        )
    if found.format in FILE_FORMATS and not is_regular:
        raise RecordingError(
            f"{path} is not a regular file, and {found.format} can be read only from one"
        )
    if found.format == "raw" and meta and meta.kind == "bytes":
        raise RecordingError(
            f"{path} was written with --format raw, which keeps no boundaries between payloads. "
            f"Capture with --format msgpack or ndjson"
        )
    return found


def _by_beginning(source: Source, named: str | None) -> Found:
    """The format of a file that begins like this.

    named: ``ndjson`` if the name says that the file is JSON, None if the name says nothing. Such a
    file is ``raw`` unless each line that was seen is a JSON object.
    """
    found = source.peek(lambda ahead: layout_or_lines(ahead.text()))
    if isinstance(found, Layout):
        return Found("json", found.words())
    return Found(named or ("ndjson" if found.are_objects else "raw"))
