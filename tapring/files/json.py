"""The format ``json``: JSON that is not one event a line, as other programs write it.

It is only read. ``json_layout`` knows which of its kinds a file is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from . import envelope, ndjson
from .decoding import Decoder, Run, decode_each
from .json_layout import layout_of
from .json_values import Splitter, Values
from .source import Source

DECODERS: Final = ndjson.DECODERS
"""For each kind of stage, the decoder of an event that is JSON text."""


def runs(source: Source, kind: str) -> Iterator[Run]:
    """The events of a file, for a stage of ``kind``. Raises RecordingError."""
    return _value_runs(source, DECODERS[kind])


def records(source: Source) -> Iterator[Run]:
    """The records of a file with the envelope. ``DECODERS`` decode their events.

    Raises RecordingError.
    """
    return _value_runs(source, envelope.record_of_text)


def _value_runs(source: Source, decode: Decoder) -> Iterator[Run]:
    """What ``decode`` makes of each value."""
    layout = source.peek(lambda ahead: layout_of(ahead.text()))
    splitter = Splitter(layout.opens)
    for piece in source.text():
        yield from _decoded(splitter.take(piece), decode)
    yield from _decoded(splitter.end(), decode)
    if splitter.damage:
        raise source.damaged(splitter.damage)
    source.is_cut = source.is_cut or splitter.is_cut


def _decoded(values: Values, decode: Decoder) -> Iterator[Run]:
    if not values.texts and not values.skipped:
        return iter(())
    texts = [_on_one_line(text) if b"\n" in text else text for text in values.texts]

    def place(index: int) -> str:
        start = values.starts[index]
        return f"bytes {start + 1:,} to {start + len(values.texts[index]):,}"

    return decode_each(texts, decode, values.skipped, values.why, place)


def _on_one_line(text: bytes) -> bytes:
    """``text``, as it can be an event of a stage, where a newline ends one."""
    try:
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return text.replace(b"\n", b" ")  # it will be found unreadable
