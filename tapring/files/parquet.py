"""A capture as Parquet, which any tool can query, and from which each event can be had again.

What a file holds: ``tapring_time``, when the engine took up the event's batch; a column for each
key that all the events agree on, by the rule that ``shape`` states; and ``tapring_rest``, a JSON
text of what did not fit, or null where all did. The text holds an object, to be merged into the
columns, or a whole event: one that is no object, or that has a key of ours. At most 1,000
columns; what is in others is in the rest.

A Parquet file cannot be read before its end is written, and its columns are known when all is
seen. So a capture is written as a journal first (``journal``), which is turned into Parquet when
the capture is over; what was killed in between leaves the journal, and ``convert`` makes a
Parquet file of that, too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

import msgspec

from .compression import need
from .frames import FrameLike
from .journal import REST, TIME, is_plain, read, row_of, texts_of
from .meta import Meta, encode_meta
from .output import CaptureFile
from .shape import MAX_COLUMNS, Column, ListOf, Shape, Struct, left_over, merged

JOURNAL: Final = ".ndjson"
META_KEY: Final = b"tapring"
ROW_GROUP_ROWS: Final = 50_000
_GROUP_BYTES: Final = 8 << 20  # of JSON; as Python objects some ten times as much
_BATCH_ROWS: Final = 4096
_OUR_COLUMNS: Final = 2
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode

Row = tuple[int | None, Any]


class ParquetFile:
    """One ``.parquet`` file of a capture, and the journal that it is until it is closed.

    Raises ValueError where pyarrow is missing, and OSError as ``CaptureFile`` does.
    """

    def __init__(self, path: str, kind: str) -> None:
        check_installed()
        self.path = path
        self._texts = texts_of(kind)
        self._shape = Shape()
        self.file = CaptureFile(path + JOURNAL)
        """The journal; once it is turned into Parquet, that file."""

    def write(self, frame: FrameLike, most: int | None) -> bool:
        """Append a frame; False, and nothing done, if the journal would pass ``most`` bytes."""
        rows = [row_of(frame.timestamp, text) for text in self._texts(frame)]
        data = b"".join([row for row, _ in rows])
        if most is not None and self.file.accepted and self.file.size + len(data) > most:
            return False
        for _, event in rows:
            if event is not None:
                self._shape.note(event)
        self.file.write(data, len(rows))
        return True

    def close(self, *, complete: bool, meta: Callable[[], Meta]) -> None:
        """Turn the journal into Parquet; an incomplete one stays as it is.

        Raises OSError where that fails; the journal is left then, too, and the error names it.
        """
        journal = self.file
        if not complete or journal.failed or journal.fd < 0:
            journal.close(complete=False)
            return
        try:
            self.file = self._converted(journal, meta())
        except BaseException as error:
            journal.close(complete=False)
            if isinstance(error, OSError):
                said = f"{error.strerror or error}; its events are in {journal.name}"
                raise OSError(error.errno, said, self.path) from error
            raise
        journal.discard()

    def _converted(self, journal: CaptureFile, meta: Meta) -> CaptureFile:
        file = CaptureFile(self.path)
        try:
            with open(journal.name, "rb") as lines:
                _write(file, lines, self._shape.columns(MAX_COLUMNS - _OUR_COLUMNS), meta)
            file.close(complete=True)
        except BaseException:
            file.discard()
            raise
        return file


def convert(journal: str, path: str) -> int:
    """Make the Parquet file ``path`` of what a killed capture left; how many events it has.

    The journal stays. Raises OSError, and ValueError where pyarrow is missing or a row is none.
    """
    check_installed()
    shape = Shape()
    with open(journal, "rb") as lines:
        for _, event in read(lines):
            if is_plain(event):
                shape.note(event)
        lines.seek(0)
        file = CaptureFile(path)
        try:
            _write(file, lines, shape.columns(MAX_COLUMNS - _OUR_COLUMNS), None)
            file.close(complete=True)
        except BaseException:
            file.discard()
            raise
    return file.events


def rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """The time (wall clock ns) and the event of each row, as equal as JSON values can be.

    Of a Parquet file that tapring did not write, None and the row as it is. Raises OSError,
    ValueError where pyarrow is missing, and pyarrow's ``ArrowInvalid`` (a ValueError) for what
    is no Parquet file.
    """
    check_installed()
    import pyarrow.parquet as pq

    with pq.ParquetFile(os.fspath(path)) as file:
        schema = file.schema_arrow
        ours = META_KEY in (schema.metadata or {}) and schema.names[:1] == [TIME]
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            if ours and schema.names[-1] == REST:
                yield from _events(batch)
            else:
                yield from ((None, row) for row in batch.to_pylist())


def check_installed() -> None:
    """Raise ValueError, saying how to get it, where pyarrow is missing."""
    need("pyarrow", "parquet", "a Parquet file")


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
    for time_ns, event in read(lines):
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
    """The journal's lines in pieces that memory can hold."""
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
    """The events of a batch of ours."""
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
    """What takes the keys that are absent out of a column's values; None where none can be."""
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
    """A CaptureFile as the file that pyarrow writes to."""

    def __init__(self, file: CaptureFile) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(data, 0)
        return len(data)

    def tell(self) -> int:
        return self._file.size
