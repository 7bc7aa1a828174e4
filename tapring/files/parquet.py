"""The format ``parquet``: columns that any tool can query, and from which each event comes back.

A file holds ``tapring_time``, when the engine offered the event's batch; a column for each key on
which all events agree, by the rule in ``shape``; and ``tapring_rest``, JSON text of what did not
fit into the columns, or null if everything did. The text is an object to be merged into the
columns, or the whole event if it is not an object or has a key of ours. A file has at most 1,000
columns; the values of further keys go to the rest.

With the envelope, its facts are columns after the time. A gap is a row in which all columns of the
event and the rest are null, and which says how many events were missed; all other rows say 0.

A Parquet file cannot be read before its end is written, and its columns are known only after the
last event. So a capture writes a journal (``journal``) and converts it to Parquet when it ends. A
killed capture leaves the journal, and ``tapring cat`` makes a Parquet file of that.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, cast

import msgspec

from ..events.decoding import NOT_DECODED
from ..frame import Frame
from . import journal
from .capture_file import CaptureFile
from .compression import need
from .decoding import RECORDS, NotJson, Run, Unreadable
from .envelope import COLUMNS, Record, cells_of, record_of_columns
from .journal import DECODERS as DECODERS
from .journal import REST, TIME, gap_row, head_of, is_plain, row_of, timed_runs
from .meta import Meta, encode_meta
from .ndjson import texts_of
from .part import JOURNAL
from .shape import MAX_COLUMNS, Column, ListOf, Shape, Struct, left_over, merged
from .source import Source, load_package

Row = tuple[int | None, Any]
"""The time of an event (nanoseconds since the epoch, None if unknown), and the decoded event."""

META_KEY: Final = b"tapring"
ROW_GROUP_ROWS: Final = 50_000
_GROUP_BYTES: Final = 8 << 20  # of JSON; as Python objects it takes about ten times as much
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class ParquetFile:
    """One ``.parquet`` file of a capture, which is a journal until it is closed.

    With the envelope, ``kind`` does not matter: frames may be of any kinds.
    Raises ValueError if pyarrow is missing, and OSError as ``CaptureFile`` does.
    """

    def __init__(
        self, path: str, kind: str, *, envelope: bool = False, replace: bool = False
    ) -> None:
        check_installed()
        self.path = path
        self._replace = replace
        self._kind = kind
        self._envelope = envelope
        self._shape = Shape()
        self.file: CaptureFile = CaptureFile(path + JOURNAL)
        """The journal; after its conversion, the Parquet file."""

    def write(self, frame: Frame, most: int | None) -> bool:
        """Append a frame; False, with nothing done, if the journal would pass ``most`` bytes."""
        gap = gap_row(frame) if self._envelope and frame.missed else b""
        rows = self._rows_of(frame) if frame.count else []
        data = b"".join([gap, *[row for row, _ in rows]])
        if not data:
            return True
        if not self.file.has_room(len(data), most):
            return False
        for _, event in rows:
            if event is not None:
                self._shape.note(event)
        self.file.write(data, len(rows))
        return True

    def close(self, *, complete: bool, meta: Callable[[], Meta]) -> None:
        """Convert the journal to Parquet. If the capture is not ``complete``, the journal stays.

        Raises OSError if that fails. The journal stays then too, and the error names it.
        """
        written = self.file
        if not complete or written.failed or written.fd < 0:
            written.close(complete=False)
            return
        try:
            written.check()
            # Not by its name, which another program may have taken.
            with open(os.dup(written.fd), "rb") as lines:
                lines.seek(0)
                self.file = _converted(
                    lines, self._shape, self.path, meta(), self._envelope, replace=self._replace
                )
        except BaseException as error:
            written.close(complete=False)
            if isinstance(error, OSError):
                reason = f"{error.strerror or error}; the events are in {written.name}"
                raise OSError(error.errno, reason, self.path) from error
            raise
        written.discard()

    def _rows_of(self, frame: Frame) -> list[tuple[bytes, dict[str, Any] | None]]:
        if self._envelope:
            texts, head = texts_of(frame.kind.name), head_of(frame, 0)
        else:
            texts, head = texts_of(self._kind), head_of(frame)
        return [row_of(head, text) for text in texts(frame)]


def rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """The time and the event of each row. As JSON values the events equal the captured ones.

    Gaps of an envelope are left out; any tool can read them, and the envelope, from the columns.
    For a Parquet file that tapring did not write, the time is None and the event is the row.
    Raises OSError, ValueError if pyarrow is missing, and pyarrow's ``ArrowInvalid`` (a
    ValueError) for a file that is not Parquet.
    """
    check_installed()
    for record in _records(path):
        if not record.is_gap:
            if isinstance(record.event, Unreadable):
                raise ValueError(f"{REST} of a row: {record.event}")
            yield record.time_ns, record.event


def runs(source: Source, kind: str) -> Iterator[Run]:
    """The events of a Parquet file, for a stage of ``kind``. Raises RecordingError.

    They have times if tapring wrote the file.
    """
    for run in records(source):
        yield from timed_runs(run.events, DECODERS[kind])


def records(source: Source) -> Iterator[Run]:
    """The records of a Parquet file. ``DECODERS`` decode their events. Raises RecordingError."""
    load_package("pyarrow", "parquet", source.path)
    try:
        found = _records(source.path)
        while some := list(islice(found, RECORDS)):
            yield Run(some)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, ArithmeticError) as error:
        raise source.damaged(str(error).partition("\n")[0]) from None


def check_installed() -> None:
    """Raise ValueError, which says how to install it, if pyarrow is missing."""
    need("pyarrow", "parquet", "a Parquet file")


def _records(path: str | os.PathLike[str]) -> Iterator[Record]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(os.fspath(path)) as file:
        schema = file.schema_arrow
        ours = META_KEY in (schema.metadata or {}) and schema.names[:1] == [TIME]
        for batch in file.iter_batches(batch_size=RECORDS):
            if ours and schema.names[-1] == REST:
                yield from _records_of(batch)
            else:
                yield from (Record(None, row) for row in batch.to_pylist())


def _converted(
    lines: Iterable[bytes],
    shape: Shape,
    path: str,
    meta: Meta | None,
    envelope: bool,
    *,
    replace: bool = False,
) -> CaptureFile:
    """The Parquet file made of a journal's ``lines``. If that fails, no file is left."""
    file = CaptureFile(path, replace=replace)
    try:
        columns = shape.columns(MAX_COLUMNS - len((TIME, *_envelope_fields(envelope), REST)))
        _write(file, lines, columns, meta, _envelope_fields(envelope))
        file.close(complete=True)
    except BaseException:
        file.discard()
        raise
    return file


def _envelope_fields(envelope: bool) -> list[tuple[str, Column]]:
    types = ("string", "string", "int64", "string", "int64")
    return list(zip(COLUMNS, types, strict=True)) if envelope else []


def _write(
    file: CaptureFile,
    lines: Iterable[bytes],
    columns: Struct,
    meta: Meta | None,
    envelope: list[tuple[str, Column]],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    all_columns = [*envelope, *columns.fields.items()]
    fields = [(name, _arrow_type(column)) for name, column in all_columns]
    schema = pa.schema(
        [(TIME, pa.timestamp("ns", "UTC")), *fields, (REST, pa.string())],
        metadata={META_KEY: encode_meta(meta) if meta else b"{}"},
    )
    into = cast(Any, _Into(file))
    with pq.ParquetWriter(into, schema, compression="zstd") as writer:
        for group in _groups(lines):
            count = _write_group(writer, schema, columns, group)
            file.write(b"", count)


def _write_group(writer: Any, schema: Any, columns: Struct, lines: list[bytes]) -> int:
    """Write the rows of a group; returns how many events they hold."""
    import pyarrow as pa

    found = list(journal.rows(lines))
    fitting, rests = [], []
    for record in found:
        plain = is_plain(record.event)
        row, rest = left_over(columns, record.event) if plain else ({}, record.event)
        fitting.append(row)
        absent = record.is_gap or (plain and not rest)
        rests.append(None if absent else _encode(rest).decode())
    cells: list[list[Any]] = [[record.time_ns for record in found]]
    if COLUMNS[0] in schema.names:
        facts = list(map(cells_of, found))
        cells += [[each[at] for each in facts] for at in range(len(COLUMNS))]
    cells += [[row.get(name) for row in fitting] for name in columns.fields]
    cells.append(rests)
    arrays = [pa.array(each, field.type) for each, field in zip(cells, schema, strict=True)]
    writer.write_table(pa.Table.from_arrays(arrays, schema=schema), ROW_GROUP_ROWS)
    return sum(not record.is_gap for record in found)


def _groups(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The journal's lines in groups that fit into memory."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line)
        if size >= _GROUP_BYTES or len(group) >= ROW_GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _arrow_type(column: Column) -> Any:
    import pyarrow as pa

    if isinstance(column, Struct):
        return pa.struct([(name, _arrow_type(each)) for name, each in column.fields.items()])
    if isinstance(column, ListOf):
        return pa.list_(_arrow_type(column.element))
    return {"bool": pa.bool_(), "int64": pa.int64(), "double": pa.float64()}.get(
        column, pa.string()
    )


def _records_of(batch: Any) -> Iterator[Record]:
    """The records of a batch of a file that tapring wrote."""
    import pyarrow as pa

    first, *middle, last = batch.columns
    names = batch.schema.names[1:-1]
    times = first.cast(pa.int64()).to_pylist()
    enveloped = tuple(names[: len(COLUMNS)]) == COLUMNS
    ours = len(COLUMNS) if enveloped else 0
    facts = [column.to_pylist() for column in middle[:ours]]
    events = _events(names[ours:], middle[ours:], last)
    if not enveloped:
        yield from map(Record, times, events)
        return
    for time_ns, cells, event in zip(times, zip(*facts, strict=True), events, strict=True):
        record = record_of_columns(time_ns, cells, event)
        # A gap is a row without an event. An empty object has no values in its columns either.
        yield record._replace(event=None) if record.missed and event == {} else record


def _events(names: list[str], columns: list[Any], last: Any) -> Iterator[Any]:
    """The events of the rows, from their columns and their rest, the ``last`` column."""
    values = [column.to_pylist() for column in columns]
    cleaners = [_without_absent(column.type) for column in columns]
    for clean, column in zip(cleaners, values, strict=True):
        if clean is not None:
            column[:] = [None if each is None else clean(each) for each in column]
    empty: Iterable[tuple[Any, ...]] = [()] * len(last)
    cells = zip(*values, strict=True) if values else empty
    for row, rest in zip(cells, last.to_pylist(), strict=True):
        event = {key: value for key, value in zip(names, row, strict=True) if value is not None}
        if rest is not None:
            left = _rest_of(rest)
            event = merged(event, left) if isinstance(left, dict) else left
        yield event


def _rest_of(text: str) -> Any:
    """The rest in a row; an Unreadable, which costs this row alone, if it cannot be decoded."""
    try:
        return _decode(text)
    except NOT_DECODED as error:
        return NotJson(text.encode("utf-8", "replace"), error)


def _without_absent(arrow_type: Any) -> Callable[[Any], Any] | None:
    """Removes the absent keys from a column's values; None if the type cannot have any."""
    from pyarrow import types

    if types.is_list(arrow_type):
        inner = _without_absent(arrow_type.value_type)
        return inner and (lambda value: [None if e is None else inner(e) for e in value])
    if not types.is_struct(arrow_type):
        return None
    cleaners = {field.name: _without_absent(field.type) for field in arrow_type}

    def clean(value: dict[str, Any]) -> dict[str, Any]:
        return {
            key: each if (inner := cleaners[key]) is None else inner(each)
            for key, each in value.items()
            if each is not None
        }

    return clean


class _Into(io.RawIOBase):
    """A CaptureFile as a file object for pyarrow."""

    def __init__(self, file: CaptureFile) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(data, 0)
        return len(data)
