"""Recordings made by hand: frames of any age, of lanes that live, have exited or have died."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns
from typing import Any

from tapring.events.kinds import Kind, kind_from
from tapring.shm.clocks import read_pair
from tapring.shm.info import LaneInfo, StageInfo
from tapring.shm.names import new_lane, recording_name
from tapring.shm.recording import Kept, Making, create_recording
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.layout import Ended
from tapring.wire.overwrite import OverwritingWriter
from tests.conftest import SHM

NS = 1_000_000_000
RAW, DECODED = StageInfo("raw", "lines"), StageInfo("decoded", "json")
SLOT_BYTES = 64


class RecordedLane:
    """A lane that records all its stages, each in a ring of ``size`` bytes. A context manager.

    It lives until it is closed, which says that its engine has exited, or dies. wall_ahead_s: its
    wall clock is ahead by so much.
    """

    def __init__(
        self,
        engine: str,
        *stages: StageInfo,
        size: int = 1 << 16,
        lane: str | None = None,
        wall_ahead_s: float = 0.0,
    ) -> None:
        self._stages = stages or (DECODED,)
        self.info = LaneInfo(
            engine, lane or new_lane(), self._stages, 8, NS, 1 << 20, 1 << 20, SLOT_BYTES
        )
        self.lane = self.info.lane
        self.address = self.info.address
        self._numbers = dict.fromkeys((each.name for each in self._stages), 0)
        self._makings: list[Making] = []
        self._writers: dict[str, OverwritingWriter] = {}
        self._kinds: dict[str, Kind] = {}
        monotonic, wall = read_pair()
        pair = monotonic, wall + round(wall_ahead_s * NS)
        for index, each in enumerate(self._stages):
            making = create_recording(self.info, index, size, Kept(4, 0), pair)
            kind = kind_from(each.kind, each.dtype)
            shape = Shape(size // SLOT_BYTES, SLOT_BYTES, index, kind.code, kind)
            self._makings.append(making)
            self._kinds[each.name] = kind
            self._writers[each.name] = OverwritingWriter(Buffers.of(making.memory), shape)

    def offer(self, events: Any, *, stage: str = "decoded", age_s: float = 0.0) -> None:
        """Record a batch that is so old."""
        payload, count, _ = self._kinds[stage].pack(events)
        number = self._numbers[stage]
        self._numbers[stage] += count
        at_ns = monotonic_ns() - round(age_s * NS)
        self.writer(stage).publish(payload, count, at_ns, number)

    def writer(self, stage: str = "decoded") -> OverwritingWriter:
        """What writes the recording of a stage."""
        return self._writers[stage]

    def segment(self, stage: str = "decoded") -> str:
        """The name of the recording of a stage."""
        return recording_name(self.info.engine, self.lane, stage)

    def die(self) -> None:
        """End as a process does that is killed."""
        for making, writer in zip(self._makings, self._writers.values(), strict=True):
            writer.close()
            making.notes.close()
            making.segment.close()
        self._makings.clear()

    def close(self) -> None:
        """End as an engine does that exits."""
        if self._makings:
            for writer in self._writers.values():
                writer.end(Ended.ENGINE_EXIT)
            self.die()

    def __enter__(self) -> RecordedLane:
        return self

    def __exit__(self, *_: object) -> None:
        if self._makings:
            self.die()


def numbered(ns: Sequence[int]) -> list[dict[str, int]]:
    """Events ``{"n": 0}``."""
    return [{"n": n} for n in ns]


def damage(segment: str, offset: int, length: int = 64) -> None:
    """Overwrite some bytes of a recording, as a broken process might."""
    with open(SHM / segment, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * length)
