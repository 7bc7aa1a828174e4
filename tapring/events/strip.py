"""Stripping: fields that the engine's owner names never enter shared memory.

The kind of a stage is wrapped. It serializes a batch as usual; the result is decoded again, the
fields are removed, and the rest is serialized. Because the text that would have been published is
searched, and not the engine's objects, no subclass, odd key or encoder hook brings a field past
it, and the engine's objects stay unchanged. An offer to a watched stage takes six times as long
(1,300 instead of 200 ns for an event of 206 bytes, benchmarks/sampled.py); an offer to an
unwatched stage costs nothing extra.

A line that is not a JSON object or array has no fields to remove. It is withheld and counted as
an error, as is anything on a ``json`` stage that cannot be decoded.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from .cutting import Parts
from .decoding import decode_apart, one_line_each
from .kinds import Array, Blobs, Kind, Lines, Packed
from .one_by_one import Report
from .paths import Path, Tree, parse_paths

Redact = str | Iterable[str] | Mapping[str, str | Iterable[str]]
_EVERYWHERE: Final = "redact without stage names applies to every stage"


class Removing:
    """A ``lines`` or ``json`` kind that packs events without the values at ``paths``."""

    def __init__(self, kind: Kind, paths: tuple[Path, ...]) -> None:
        self.code: int = kind.code
        self.name = kind.name
        self.takes_any_list: bool = kind.takes_any_list
        self.report: Report = kind.report
        self.count: Callable[[Any], int] = kind.count
        self.parts: Callable[[Any, int], Parts] = kind.parts
        self.split: Callable[[Any, int, int], tuple[Any, Any]] = kind.split
        self.unpack: Callable[[bytes, int], tuple[list[Any], int]] = kind.unpack
        self.describe: Callable[[], str] = kind.describe
        self.paths = paths
        self._pack = kind.pack
        self._tree = Tree.of(paths)
        self._nested_only = isinstance(kind, Lines)
        self._decoder = msgspec.json.Decoder()
        self._encoder = msgspec.json.Encoder()

    def pack(self, batch: Any) -> Packed:
        """As the wrapped kind packs ``batch``, without the fields."""
        payload, count, errors = self._pack(batch)
        events = self._decoded(payload, count)
        remove = self._tree.remove
        for event in events:
            remove(event)
        withheld = max(0, count - len(events))
        return self._encoder.encode_lines(events), len(events), errors + withheld

    def _decoded(self, payload: bytes, count: int) -> list[Any]:
        """The events whose fields can be removed. The others are withheld."""
        if self._nested_only:
            lines = io.BytesIO(payload).readlines()
        else:
            lines = one_line_each(self._decoder, payload, count)
        events, failed = decode_apart(self._decoder, lines)
        if self._nested_only:  # a failed line is bytes
            return [event for event in events if isinstance(event, dict | list)]
        if failed:
            return [event for i, event in enumerate(events) if i not in failed]
        return events


def without(stages: dict[str, Kind], redact: Redact) -> dict[str, Kind]:
    """``stages``, each without the fields that ``redact`` names, for all stages or by stage.

    Raises ValueError for an invalid path, an unknown stage, and a stage of a kind that has no
    fields to remove.
    """
    if not redact:
        return stages
    if isinstance(redact, Mapping):
        named = {stage: parse_paths(paths) if paths else () for stage, paths in redact.items()}
        unknown = [stage for stage in named if stage not in stages]
        if unknown:
            raise ValueError(
                f"redact names an unknown stage {unknown[0]!r}; the stages are {', '.join(stages)}"
            )
        hint = ""
    else:
        texts = [redact] if isinstance(redact, str) else list(redact)
        named = {stage: parse_paths(texts) for stage in stages}
        hint = f"; {_EVERYWHERE}, so name the ones you mean: redact={{'decoded': {texts!r}}}"
    return {name: _without(name, kind, named.get(name, ()), hint) for name, kind in stages.items()}


def _without(name: str, kind: Kind, paths: tuple[Path, ...], hint: str) -> Kind:
    if not paths:
        return kind
    if isinstance(kind, Array | Blobs):
        raise ValueError(
            f"cannot remove fields from stage {name!r}, which is of kind {kind.name}{hint}"
        )
    return Removing(kind, paths)
