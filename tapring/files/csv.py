"""The format ``csv``: a table for a spreadsheet, of which the columns are known from the start.

A column is named like the path of its field: ``user.id``. The columns are the paths of ``--fields``
and the fields of the first batch, and are never more than ``MAX_COLUMNS``. What has no column
stands in the last one, ``tapring_rest``, as JSON: an object of paths, or the whole event if it is
no object. Memory is bounded, and nothing is lost.

Cells have no types. A list is JSON; null, absent and empty text are an empty cell. When a file is
read, a cell that is a JSON number, true, false, list or object is that, also if it was a text that
looks so, and an empty one is an absent field. ``ndjson`` keeps everything.

A spreadsheet takes a text that begins with one of ``= + - @`` for a formula, and events hold
whatever an attacker sends. Such a text gets a ``'`` in front, which says that it is text; so does
one that begins with ``'``, so that the mark can be taken off again. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ..events.decoding import NOT_DECODED
from ..events.objects import wrapped_line
from ..frame import UNKNOWN_NS, Frame
from ..words import counted
from . import ndjson
from .decoding import OBJECT_DECODERS, RECORDS, Decoder, Run, Unreadable, decode_each
from .envelope import COLUMNS, Record, columns_of, record_of_columns
from .formats import Encoder
from .journal import REST, TIME
from .raw import MAX_EVENT_BYTES
from .rfc3339 import ns_of, text_of
from .source import Source

MAX_COLUMNS: Final = 1000
_MAX_DEPTH: Final = 8  # of objects that become columns; what is deeper is JSON in a cell
_OURS: Final = (TIME, *COLUMNS)
_MARKED: Final = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_PART: Final = re.compile(r"((?:\\.|[^.\\])*)(\.|\Z)", re.DOTALL)
_TYPED: Final = tuple("-0123456789tf[{")
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
        events = list(map(_decoded, _texts(frame))) if frame.count else []
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


def _decoded(text: bytes) -> Any:
    """The event of a JSON text; of one that is JSON and cannot be held (1e999), a line."""
    try:
        return _decode(text)
    except NOT_DECODED:
        return _decode(wrapped_line(text))


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


class Row(NamedTuple):
    """A row as it stands in a file: its cells, but those of the envelope, by their columns."""

    columns: Columns  # of the file
    cells: list[str]

    def event(self, *, typed: bool) -> Any:
        """The event in it. Raises Unreadable.

        typed: cells may be numbers and other JSON; otherwise all of them are text.
        """
        event: dict[str, Any] = {}
        for name, cell in zip(self.columns.names, self.cells, strict=True):
            if cell:
                _put(event, name, self.columns.value(cell, typed=typed))
        rest = self.columns.rest_of(self.cells)
        if not rest:
            return event
        try:
            left = _decode(rest)
        except NOT_DECODED:
            raise Unreadable(f"its {REST} is not JSON") from None
        if not isinstance(left, dict):
            return left
        for path, value in left.items():
            _put(event, _segments(path), value)
        return event


class Columns:
    """The header of a file. ``enveloped``: the columns of the envelope come first.

    ``names`` are the segments of the path of each column after those; None for tapring's own last
    column.
    """

    def __init__(self, header: list[str]) -> None:
        self.count: int = len(header)
        self.ours: bool = header[-1:] == [REST]
        self.enveloped: bool = tuple(header[: len(_OURS)]) == _OURS
        named = header[len(_OURS) if self.enveloped else 0 :]
        shown = _apart(map(self._unmarked, named[:-1] if self.ours else named))
        self.names: list[tuple[str, ...]] = [_segments(name) for name in shown] + (
            [()] if self.ours else []
        )

    def value(self, cell: str, *, typed: bool) -> Any:
        """What a cell that is not empty holds."""
        if typed and cell.startswith(_TYPED):
            try:
                value = _decode(cell)
            except NOT_DECODED:
                return self._unmarked(cell)
            return value
        return self._unmarked(cell)

    def rest_of(self, cells: list[str]) -> str:
        """What had no column, as JSON; "" if there is nothing, or if another program wrote it."""
        return cells[-1] if self.ours else ""

    def _unmarked(self, cell: str) -> str:
        """A text without the mark that keeps spreadsheets from running it."""
        return cell[1:] if self.ours and cell.startswith("'") else cell


def runs(source: Source, kind: str) -> Iterator[Run]:
    """The events of a file without the envelope, for a stage of ``kind``."""
    for run in records(source):
        rows = [record.event for record in run.events]
        yield from decode_each(rows, DECODERS[kind], run.skipped, run.why)


def records(source: Source) -> Iterator[Run]:
    """The records of a file, with the envelope or not. ``DECODERS`` decode their events."""
    csv.field_size_limit(MAX_EVENT_BYTES)
    lines = _Lines(source)
    reader = csv.reader(lines)
    columns: Columns | None = None
    found: list[Record] = []
    skipped, why = 0, ""
    try:
        for cells in reader:
            if not cells:
                continue
            if columns is None:
                columns = Columns(cells)
                continue
            try:
                if lines.ended_in_quotes():
                    raise Unreadable("a quote in it is not closed")
                found.append(_record(columns, cells))
            except (Unreadable, ValueError) as error:
                if found:
                    yield Run(found, skipped, why=why)
                    found, skipped, why = [], 0, ""
                skipped += 1
                why = why or f"line {reader.line_num:,}: {error}"
            if len(found) == RECORDS:
                yield Run(found, skipped, why=why)
                found, skipped, why = [], 0, ""
    except csv.Error as error:
        yield Run(found, skipped, why=why)
        raise source.damaged(f"line {reader.line_num:,}: {error}") from None
    yield Run(found, skipped, why=why)


class _Lines:
    """The lines of a text with their ends, which may be within a cell."""

    def __init__(self, source: Source) -> None:
        self._lines = _lines(source)
        self._quotes = 0  # since the last row
        self._at_end = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self._at_end = True
            raise
        self._quotes += line.count('"')
        return line

    def ended_in_quotes(self) -> bool:
        """Whether the text ended within quotes: in the row that was just read, everything left."""
        quotes, self._quotes = self._quotes, 0
        return self._at_end and quotes % 2 == 1


def _lines(source: Source) -> Iterator[str]:
    held = b""
    for piece in source.text():
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "backslashreplace") + "\n"
        if len(held) > MAX_EVENT_BYTES:
            raise source.damaged(f"a line is longer than {MAX_EVENT_BYTES >> 20} MiB")
    if held and not source.is_cut:
        yield held.decode("utf-8", "backslashreplace")


def _apart(names: Iterable[str]) -> Iterator[str]:
    """The names of columns. One that comes again has its number behind it, so that both stay."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def _record(columns: Columns, cells: list[str]) -> Record:
    """Raises Unreadable, and ValueError for values that the envelope's columns cannot have."""
    if len(cells) != columns.count:
        raise Unreadable(
            f"it has {counted(len(cells), 'cell')}, and the header has {columns.count:,}"
        )
    if not columns.enveloped:
        return Record(None, Row(columns, cells))
    time, engine, lane, pid, stage, missed = cells[: len(_OURS)]
    row = Row(columns, cells[len(_OURS) :])
    time_ns = ns_of(time)
    facts = [engine, lane, int(pid), stage, int(missed)]
    known = None if time_ns == UNKNOWN_NS else time_ns
    record = record_of_columns(known, facts, row)
    return record._replace(event=None) if record.missed and not any(row.cells) else record


def _segments(path: str) -> tuple[str, ...]:
    """The keys that lead to a column; a name that is no path, as of other programs, is one key."""
    keys, at = [], 0
    while part := _PART.match(path, at):
        keys.append(re.sub(r"\\(.)", r"\1", part[1], flags=re.DOTALL))
        if not part[2]:
            return tuple(keys)
        at = part.end()
    return (path,)


def _put(event: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    if not keys:
        return
    for key in keys[:-1]:
        inner = event.setdefault(key, {})
        if not isinstance(inner, dict):
            raise Unreadable(f"its column {'.'.join(keys)} lies in another column's value")
        event = inner
    event[keys[-1]] = value


def _of_kind(kind: str) -> Decoder:
    decode = OBJECT_DECODERS[kind]
    if kind == "json":
        return lambda row: decode(row.event(typed=True))
    # A line or a blob stands in a column of its own, and is text. An empty one is an empty cell.
    empty = {"lines": {"line": ""}, "bytes": {"base64": ""}}[kind]
    return lambda row: decode(row.event(typed=False) or empty)


DECODERS: Final[dict[str, Decoder]] = {kind: _of_kind(kind) for kind in OBJECT_DECODERS}
"""For each kind of stage, the decoder of the event in a row."""
