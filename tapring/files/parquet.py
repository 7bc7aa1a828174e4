"""The format ``parquet``: columns that any tool can query, and from which each event comes back.

A file holds ``tapring_time``, when the engine offered the event's batch; a column for each key on
which all events agree, by the rule in ``shape``; and ``tapring_rest``, JSON text of what did not
fit into the columns, or null if everything did. The text is an object to be merged into the
columns, or the whole event if it is not an object or has a key of ours. A file has at most 1,000
columns; the values of further keys go to the rest.

A Parquet file cannot be read before its end is written, and its columns are known only after the
last event. So a capture writes a journal (``journal``) and converts it to Parquet when it ends. A
killed capture leaves the journal, and ``convert`` makes a Parquet file of that.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, cast

import msgspec

from ..frame import Frame
from . import journal
from .capture_file import CaptureFile
from .compression import need
from .decoding import OBJECT_DECODERS, RECORDS, Run
from .journal import REST, TIME, Row, is_plain, row_of, timed_runs
from .meta import Meta, encode_meta
from .ndjson import texts_of
from .part import JOURNAL
from .shape import MAX_COLUMNS, Column, ListOf, Shape, Struct, left_over, merged
from .source import Source, load_package

META_KEY: Final = b"tapring"
ROW_GROUP_ROWS: Final = 50_000
_GROUP_BYTES: Final = 8 << 20  # of JSON; as Python objects it takes about ten times as much
_OUR_COLUMNS: Final = 2
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class ParquetFile:
    """One ``.parquet`` file of a capture, which is a journal until it is closed.

    Raises ValueError if pyarrow is missing, and OSError as ``CaptureFile`` does.
    """

    def __init__(self, path: str, kind: str) -> None:
        check_installed()
        self.path = path
        self._texts = texts_of(kind)
        self._shape = Shape()
        self.file = CaptureFile(path + JOURNAL)
        """The journal; after its conversion, the Parquet file."""

    def write(self, frame: Frame, most: int | None) -> bool:
        """Append a frame; False, with nothing done, if the journal would pass ``most`` bytes."""
        rows = [row_of(frame.timestamp, text) for text in self._texts(frame)]
        data = b"".join([row for row, _ in rows])
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
            with open(written.name, "rb") as lines:
                self.file = _converted(lines, self._shape, self.path, meta())
        except BaseException as error:
            written.close(complete=False)
            if isinstance(error, OSError):
                reason = f"{error.strerror or error}; the events are in {written.name}"
                raise OSError(error.errno, reason, self.path) from error
            raise
        written.discard()


def convert(journal_path: str, path: str) -> int:
    """Convert the journal that a killed capture left to the Parquet file ``path``.

    Returns the number of events. The journal stays. Raises OSError, and ValueError if pyarrow is
    missing or the journal holds a line that is not a row.
    """
    check_installed()
    shape = Shape()
    with open(journal_path, "rb") as lines:
        for _, event in journal.rows(lines):
            if is_plain(event):
                shape.note(event)
        lines.seek(0)
        return _converted(lines, shape, path, None).events


def rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """The time and the event of each row. As JSON values the events equal the captured ones.

    For a Parquet file that tapring did not write, the time is None and the event is the row.
    Raises OSError, ValueError if pyarrow is missing, and pyarrow's ``ArrowInvalid`` (a
    ValueError) for a file that is not Parquet.
    """
    check_installed()
    import pyarrow.parquet as pq

    with pq.ParquetFile(os.fspath(path)) as file:
        schema = file.schema_arrow
        ours = META_KEY in (schema.metadata or {}) and schema.names[:1] == [TIME]
        for batch in file.iter_batches(batch_size=RECORDS):
            if ours and schema.names[-1] == REST:
                yield from _events(batch)
            else:
                yield from ((None, row) for row in batch.to_pylist())


def runs(source: Source, kind: str) -> Iterator[Run]:
    """The events of a Parquet file, for a stage of ``kind``. Raises RecordingError.

    They have times if tapring wrote the file.
    """
    load_package("pyarrow", "parquet", source.path)
    try:
        found = rows(source.path)
        while some := list(islice(found, RECORDS)):
            yield from timed_runs(some, OBJECT_DECODERS[kind])
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
        raise source.damaged(str(error).partition("\n")[0]) from None


def check_installed() -> None:
    """Raise ValueError, which says how to install it, if pyarrow is missing."""
    need("pyarrow", "parquet", "a Parquet file")


def _converted(lines: Iterable[bytes], shape: Shape, path: str, meta: Meta | None) -> CaptureFile:
    """The Parquet file made of a journal's ``lines``. If that fails, no file is left."""
    file = CaptureFile(path)
    try:
        _write(file, lines, shape.columns(MAX_COLUMNS - _OUR_COLUMNS), meta)
        file.close(complete=True)
    except BaseException:
        file.discard()
        raise
    return file


def _write(file: CaptureFile, lines: Iterable[bytes], columns: Struct, meta: Meta | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [(name, _arrow_type(column)) for name, column in columns.fields.items()]
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
    import pyarrow as pa

    times, fitting, rests = [], [], []
    for time_ns, event in journal.rows(lines):
        plain = is_plain(event)
        row, rest = left_over(columns, event) if plain else ({}, event)
        times.append(time_ns)
        fitting.append(row)
        rests.append(None if plain and not rest else _encode(rest).decode())
    arrays = [
        pa.array([row.get(name) for row in fitting], schema.field(index).type)
        for index, name in enumerate(columns.fields, start=1)
    ]
    whole = [pa.array(times, schema.field(0).type), *arrays, pa.array(rests, pa.string())]
    writer.write_table(pa.Table.from_arrays(whole, schema=schema), ROW_GROUP_ROWS)
    return len(times)


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


def _events(batch: Any) -> Iterator[Row]:
    """The events of a batch of a file that tapring wrote."""
    import pyarrow as pa

    first, *middle, last = batch.columns
    names = batch.schema.names[1:-1]
    values = [column.to_pylist() for column in middle]
    cleaners = [_without_absent(column.type) for column in middle]
    for clean, column in zip(cleaners, values, strict=True):
        if clean is not None:
            column[:] = [None if each is None else clean(each) for each in column]
    empty: Iterable[tuple[Any, ...]] = [()] * len(batch)
    cells = zip(*values, strict=True) if values else empty
    times = first.cast(pa.int64()).to_pylist()
    for time_ns, row, rest in zip(times, cells, last.to_pylist(), strict=True):
        event = {key: value for key, value in zip(names, row, strict=True) if value is not None}
        if rest is not None:
            left = _decode(rest)
            event = merged(event, left) if isinstance(left, dict) else left
        yield time_ns, event


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
