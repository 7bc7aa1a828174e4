"""Removal: fields that an engine's owner names never enter shared memory, whoever taps.

A stage's kind is wrapped: what it has serialized is decoded again, the fields are taken out, and
the rest is serialized. It is the text that would have been published that is looked into, and not
the engine's objects, so that no subclass, key or encoder's rule brings a field past it; and the
objects stay as they are. An offer to a watched stage takes six times as long (1,300 and 200 ns
for an event of 206 bytes, benchmarks/sampled.py), and one to a stage that nobody watches no longer.

A line that is no JSON object or array has no fields that could be taken out of it; it is withheld
and counted among the errors, as is what cannot be decoded of a ``json`` stage.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from .kinds import NOT_DECODED, Array, Blobs, Kind, Lines, Packed
from .paths import Path, Tree, parse_paths

Redact = str | Iterable[str] | Mapping[str, str | Iterable[str]]
_EVERYWHERE: Final = "an engine's redact without a stage's name holds for all stages"


class Removing:
    """A kind of ``lines`` or ``json`` without what ``paths`` lead to. Elsewhere as ``kind``."""

    def __init__(self, kind: Kind, paths: tuple[Path, ...]) -> None:
        self.code = kind.code
        self.name = kind.name
        self.count = kind.count
        self.fit = kind.fit
        self.split = kind.split
        self.unpack = kind.unpack
        self.describe = kind.describe
        self.paths = paths
        self._pack = kind.pack
        self._tree = Tree.of(paths)
        self._nested_only = isinstance(kind, Lines)
        self._decoder = msgspec.json.Decoder()
        self._encoder = msgspec.json.Encoder()

    def pack(self, batch: Any) -> Packed:
        """As the kind's own, without the fields."""
        payload, count, errors = self._pack(batch)
        events = self._decoded(payload)
        remove = self._tree.remove
        for event in events:
            remove(event)
        withheld = max(0, count - len(events))
        return self._encoder.encode_lines(events), len(events), errors + withheld

    def _decoded(self, payload: bytes) -> list[Any]:
        try:
            events = self._decoder.decode_lines(payload)
        except NOT_DECODED:
            events = self._decoded_one_by_one(payload)
        if self._nested_only:
            return [event for event in events if isinstance(event, dict | list)]
        return events

    def _decoded_one_by_one(self, payload: bytes) -> list[Any]:
        events = []
        for line in io.BytesIO(payload):
            try:
                events.append(self._decoder.decode(line))
            except NOT_DECODED:
                continue
        return events


def without(stages: dict[str, Kind], redact: Redact) -> dict[str, Kind]:
    """``stages``, with ``redact`` taken out of each: paths for all, or by the stages' names.

    Raises ValueError for a path that is none, a stage that is not there, and one of whose kind
    fields cannot be taken out.
    """
    if not redact:
        return stages
    if isinstance(redact, Mapping):
        named = {stage: parse_paths(paths) if paths else () for stage, paths in redact.items()}
        unknown = [stage for stage in named if stage not in stages]
        if unknown:
            raise ValueError(
                f"redact names {unknown[0]!r}, which is no stage; there are {', '.join(stages)}"
            )
        hint = ""
    else:
        texts = [redact] if isinstance(redact, str) else list(redact)
        named = {stage: parse_paths(texts) for stage in stages}
        hint = f"; {_EVERYWHERE}: name those it is meant for, redact={{'decoded': {texts!r}}}"
    return {name: _without(name, kind, named.get(name, ()), hint) for name, kind in stages.items()}


def _without(name: str, kind: Kind, paths: tuple[Path, ...], hint: str) -> Kind:
    if not paths:
        return kind
    if isinstance(kind, Array | Blobs):
        raise ValueError(
            f"nothing can be taken out of stage {name!r}, which is of kind {kind.name}{hint}"
        )
    return Removing(kind, paths)
