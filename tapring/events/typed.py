"""Decoding what a sieve left into a type of the consumer's choice."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import msgspec

from ..thrown_in import comes_of
from .decoding import NOT_DECODED
from .steps import KeptAway, Sifted

OnDecodeError = Callable[[bytes, Exception], object]
"""Called with each line that does not fit the type, and why."""


class Typed:
    """Decodes into ``type_``. A line that does not fit is counted and handed to ``on_error``.

    Code of the type may run (``__post_init__``). What it raises costs that line alone. So does what
    ``on_error`` raises, and it is counted among the failures.
    """

    def __init__(self, type_: Any, on_error: OnDecodeError | None) -> None:
        self._decoder = msgspec.json.Decoder(type_)
        self._on_error = on_error

    def sift(self, sifted: Sifted, away: KeptAway) -> Sifted:
        """``sifted`` with its events decoded, without those that do not fit."""
        decode = self._decoder.decode_lines
        try:
            events = decode(sifted.payload)
        except Exception as error:
            if not comes_of(error, decode, sifted.payload):
                raise
        else:
            if len(events) == sifted.count:
                sifted.events = events
                return sifted
        return self._line_by_line(io.BytesIO(sifted.payload).readlines(), sifted, away)

    def _line_by_line(self, lines: list[bytes], sifted: Sifted, away: KeptAway) -> Sifted:
        events: list[Any] = []
        good: list[int] = []
        failed: list[tuple[bytes, Exception]] = []
        for i, line in enumerate(lines):
            try:
                events.append(self._decoder.decode(line))
            except Exception as error:
                if not comes_of(error, self._decoder.decode, line):
                    raise
                # With its traceback it would keep this frame, and so itself.
                failed.append((line.removesuffix(b"\n"), error.with_traceback(None)))
            else:
                good.append(i)
        self._report(failed, away)
        places = good if sifted.places is None else [sifted.places[i] for i in good]
        return Sifted(b"".join([lines[i] for i in good]), len(good), places, events)

    def _report(self, failed: list[tuple[bytes, Exception]], away: KeptAway) -> None:
        """Count the lines that do not fit, and tell whoever wants to know."""
        for line, error in failed:
            away.decoding += 1
            if not isinstance(error, NOT_DECODED):
                away.note(type(error).__name__)
            if self._on_error is not None:
                try:
                    self._on_error(line, error)
                except Exception as again:
                    away.note(f"{type(again).__name__} of on_decode_error")
