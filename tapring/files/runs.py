"""The formats: the bytes of a recording as runs of events, and what of them could not be read.

What one event is, for each kind of stage, is ``events``'s; arrays of records are ``npy``'s.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from ..events.decoding import NOT_DECODED
from .decoding import Unreadable
from .formats import EXT_JSON
from .journal import event_of
from .parquet import Row, rows
from .source import Source, optional

MAX_EVENT_BYTES: Final = 64 << 20  # a ring's largest size: a longer line could not be offered
RECORDS: Final = 4096  # of an array, in a batch; of Parquet, at a time


class Run(NamedTuple):
    """Events in a row; before them ``skipped`` could not be read. All came at ``time_ns``."""

    events: Any
    skipped: int = 0
    time_ns: int | None = None


def line_runs(source: Source) -> Iterator[Run]:
    """The lines, without their newlines; one that is longer than any ring could not be read."""
    held: list[bytes] = []
    size = 0
    for piece in source.pieces():
        end = piece.rfind(b"\n") + 1
        if end:
            held.append(piece[:end])
            yield _whole_lines(held, size)
            held, size, piece = [], 0, piece[end:]
        size += len(piece)
        if piece and size <= MAX_EVENT_BYTES:
            held.append(piece)
    if size and not source.is_cut:
        yield _whole_lines([*held, b"\n"], size)


def _whole_lines(held: list[bytes], size: int) -> Run:
    lines = [line[:-1] for line in io.BytesIO(b"".join(held))]
    return Run(lines[1:], 1) if size > MAX_EVENT_BYTES else Run(lines)


def text_runs(source: Source, read: Callable[[bytes], Any]) -> Iterator[Run]:
    """An event a line."""
    for run in line_runs(source):
        yield from _read_all(run.events, read, run.skipped)


def _read_all(items: list[Any], read: Callable[[Any], Any], skipped: int = 0) -> Iterator[Run]:
    """Runs of what ``read`` makes of ``items``; of blank lines, nothing."""
    try:
        yield Run([read(item) for item in items], skipped)
        return
    except Unreadable:
        pass
    events: list[Any] = []
    for item in items:
        try:
            events.append(read(item))
        except Unreadable:
            if isinstance(item, bytes) and not item.strip():
                continue
            if events:
                yield Run(events, skipped)
                events, skipped = [], 0
            skipped += 1
    yield Run(events, skipped)


def msgpack_runs(source: Source, read: Callable[[Any], Any]) -> Iterator[Run]:
    """MessagePack objects, one after the other."""
    msgpack = optional("msgpack", "msgpack", source.path)
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
        ext_hook=lambda code, data: (
            msgspec.Raw(data) if code == EXT_JSON else msgpack.ExtType(code, data)
        ),
    )
    fed = 0
    for piece in source.pieces():
        found: list[Any] = []
        damage: Exception | None = None
        try:
            unpacker.feed(piece)
            found.extend(unpacker)  # what came before the damage stays in the list
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            damage = error
        yield from _read_all(found, read)
        if damage is not None:
            raise source.damaged(repr(damage))
        fed += len(piece)
    source.is_cut = source.is_cut or unpacker.tell() < fed


def parquet_runs(source: Source, read: Callable[[Any], Any]) -> Iterator[Run]:
    """The rows of a Parquet file, with the time of each where tapring wrote it."""
    optional("pyarrow", "parquet", source.path)
    try:
        found = rows(source.path)
        while some := list(islice(found, RECORDS)):
            yield from _timed_runs(some, read)
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
        raise source.damaged(str(error).partition("\n")[0]) from None


def journal_runs(source: Source, read: Callable[[Any], Any]) -> Iterator[Run]:
    """What a killed capture had not yet made a parquet file of."""
    for run in text_runs(source, _journal_row):
        yield from _timed_runs(run.events, read, run.skipped)


def _journal_row(line: bytes) -> Row:
    try:
        return event_of(line)
    except (*NOT_DECODED, ValueError):
        raise Unreadable from None


def _timed_runs(found: list[Row], read: Callable[[Any], Any], skipped: int = 0) -> Iterator[Run]:
    if skipped:
        yield Run([], skipped)
    for time_ns, group in groupby(found, itemgetter(0)):
        for run in _read_all([event for _, event in group], read):
            yield run._replace(time_ns=time_ns)
