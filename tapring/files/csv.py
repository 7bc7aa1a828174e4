"""The format ``csv``: a table for a spreadsheet, of which the columns are known from the start.

A column is named like the path of its field: ``user.id``. The columns are the paths of ``--fields``
and the fields of the first batch, and are never more than ``MAX_COLUMNS``. What has no column
stands in the last one, ``tapring_rest``, as JSON: an object of paths, or the whole event if it is
no object. Memory is bounded, and nothing is lost.

Cells have no types. A list is JSON; null, absent and empty text are an empty cell. So csv is not
read back: ``ndjson`` is for that.

A spreadsheet takes a text that begins with one of ``= + - @`` for a formula, and events hold
whatever an attacker sends. Such a text gets a ``'`` in front, which says that it is text; so does
one that begins with ``'``, so that the mark can be taken off again. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from ..events.objects import wrapped_line
from ..frame import Frame
from . import ndjson
from .envelope import COLUMNS, columns_of
from .formats import Encoder
from .journal import REST, TIME
from .rfc3339 import text_of

MAX_COLUMNS: Final = 1000
_MAX_DEPTH: Final = 8  # of objects that become columns; what is deeper is JSON in a cell
_OURS: Final = (TIME, *COLUMNS)
_MARKED: Final = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class Table:
    """The columns of a capture, also if it is written to several files.

    fields: the paths that come first. With ``envelope``, the columns of the envelope come before.
    """

    def __init__(self, *, envelope: bool = False, fields: Sequence[str] = ()) -> None:
        self._facts = _OURS if envelope else ()
        self._fields = tuple(fields)
        self._columns: tuple[str, ...] | None = None

    def encoder(self) -> Encoder:
        """The encoder for one file: its first bytes are the header."""
        is_begun = False

        def encode(frame: Frame) -> bytes:
            nonlocal is_begun
            rows = list(self._rows(frame))
            if not rows:
                return b""
            if not is_begun:
                rows.insert(0, list(map(_marked, [*self._facts, *(self._columns or ()), REST])))
            is_begun = True
            return _written(rows)

        return encode

    def _rows(self, frame: Frame) -> Iterator[list[str]]:
        events = list(map(_decode, _texts(frame))) if frame.count else []
        found = [_flat(event) if isinstance(event, dict) else None for event in events]
        if self._columns is None and (events or (self._facts and frame.missed)):
            self._columns = self._chosen([each for each in found if each])
        columns = self._columns or ()
        if self._facts and frame.missed:
            yield [*_facts_of(frame, frame.missed), *("" for _ in columns), ""]
        facts = _facts_of(frame, 0) if self._facts else []
        for event, cells in zip(events, found, strict=True):
            if cells is None:
                yield [*facts, *("" for _ in columns), _json(event)]
                continue
            row = [_cell(cells.pop(name, None)) for name in columns]
            yield [*facts, *row, _json(cells) if cells else ""]

    def _chosen(self, events: Sequence[dict[str, Any]]) -> tuple[str, ...]:
        """The columns after those of the envelope."""
        found = dict.fromkeys(name for event in events for name in event)
        # A path into the objects of a list has no cell of its own: the list has one.
        named = [each for each in self._fields if not any(each.startswith(f"{f}.") for f in found)]
        chosen = [each for each in dict.fromkeys((*named, *found)) if each not in (*_OURS, REST)]
        return tuple(chosen[: MAX_COLUMNS - len(self._facts) - 1])


def _texts(frame: Frame) -> Sequence[bytes]:
    """The JSON text of each event. A line is always text, also if it is JSON."""
    if frame.kind.name == "lines":
        return [wrapped_line(line) for line in frame.events()]
    return ndjson.valid_texts(frame)


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    """The values of an event, by their paths."""
    flat: dict[str, Any] = {}
    _flatten(event, "", _MAX_DEPTH, flat)
    return flat


def _flatten(event: dict[str, Any], before: str, deeper: int, into: dict[str, Any]) -> None:
    for key, value in event.items():
        path = before + key.replace("\\", "\\\\").replace(".", "\\.").replace(",", "\\,")
        if isinstance(value, dict) and value and deeper:
            _flatten(value, f"{path}.", deeper - 1, into)
        else:
            into[path] = value


def _facts_of(frame: Frame, missed: int) -> list[str]:
    return [text_of(frame.timestamp), *map(_cell, columns_of(frame, missed).values())]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _marked(value) if isinstance(value, str) else _json(value)


def _marked(text: str) -> str:
    return f"'{text}" if text.startswith(_MARKED) and not _NUMBER.fullmatch(text) else text


def _json(value: Any) -> str:
    return _encode(value).decode()


def _written(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    usual = csv.writer(text, lineterminator="\n")
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        # Up to Python 3.12, csv quotes no cell for a CR alone, which readers take for a row's end.
        (quoting if any("\r" in cell for cell in row) else usual).writerow(row)
    return text.getvalue().encode("utf-8", "backslashreplace")
