"""Decoding what a sieve left into a type of the consumer's choice."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import msgspec

from .decoding import decode_lines
from .steps import KeptAway, Sifted

OnDecodeError = Callable[[bytes, Exception], object]
"""Called with each line that does not fit the type, and why."""


class Typed:
    """Decodes into ``type_``. A line that does not fit is counted and handed to ``on_error``."""

    def __init__(self, type_: Any, on_error: OnDecodeError | None) -> None:
        self._decoder = msgspec.json.Decoder(type_)
        self._on_error = on_error

    def sift(self, sifted: Sifted, away: KeptAway) -> Sifted:
        """``sifted`` with its events decoded, without those that do not fit."""
        events, failed = decode_lines(self._decoder, sifted.payload)
        if not failed:
            sifted.events = events
            return sifted
        for i, error in failed.items():
            away.decoding += 1
            if self._on_error is not None:
                self._on_error(events[i], error)
        lines = io.BytesIO(sifted.payload).readlines()
        good = [i for i in range(len(events)) if i not in failed]
        places = good if sifted.places is None else [sifted.places[i] for i in good]
        payload = b"".join([lines[i] for i in good])
        return Sifted(payload, len(good), places, [events[i] for i in good])
