"""Recordings for tests: made without an engine and written to, or those that an engine has made."""

from __future__ import annotations

from time import time_ns
from typing import Any

from tapring.events.kinds import Kind, kind_from
from tapring.shm.evidence import recordings_of
from tapring.shm.info import LaneInfo, StageInfo
from tapring.shm.names import recording_name
from tapring.shm.recording import Kept, Making, Recording, create_recording, recorded_stage
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.layout import Ended
from tapring.wire.overwrite import OverwritingWriter, PastReader

STAGES = (StageInfo("raw", "lines"), StageInfo("decoded", "json", "", ("password",)))
TRIGGERS = len(STAGES)
LANE = "0a1b2c3d"
KEPT = Kept(4, 1 << 20)
SIZE = 4096


def info(name: str, lane: str = LANE) -> LaneInfo:
    return LaneInfo(
        engine=name,
        lane=lane,
        stages=STAGES,
        max_sessions=2,
        max_duration_ns=60 * 10**9,
        buffer_bytes=1 << 16,
        max_buffer_bytes=1 << 20,
        slot_bytes=64,
    )


class Recorded:
    """One recording of a lane, and who writes it."""

    def __init__(
        self,
        name: str,
        lane: str = LANE,
        stage: int = 0,
        *,
        size: int = SIZE,
        kept: Kept = KEPT,
        pair: tuple[int, int] | None = None,
    ) -> None:
        described = info(name, lane)
        self.making: Making = create_recording(
            described, stage, size, kept, pair or (1_000, time_ns())
        )
        self.kind = kind_of(recorded_stage(described, stage))
        shape = Shape(size // 64, 64, stage, self.kind.code, self.kind)
        self.writer = OverwritingWriter(Buffers.of(self.making.memory), shape)
        self.name: str = self.making.segment.name
        self._numbers = 0

    def offer(self, *events: Any) -> None:
        payload, count, _ = self.kind.pack(list(events))
        self.writer.publish(payload, count, self._numbers, self._numbers)
        self._numbers += count

    def end(self) -> None:
        """The engine closes."""
        self.writer.end(Ended.ENGINE_EXIT)
        self.die()

    def die(self) -> None:
        """The engine's process is gone, and with it its lock."""
        self.making.notes.close()
        self.writer.close()
        self.making.segment.close()


def kind_of(stage: StageInfo) -> Kind:
    return kind_from(stage.kind, stage.dtype)


def events_in(recording: Recording, since: int = 0) -> list[Any]:
    """What a copy of a recording holds."""
    kind = kind_of(recording.stage)
    header = recording.header
    shape = Shape(header.slots, header.slot_bytes, header.stage, kind.code, kind)
    reader = PastReader(Buffers.of(recording.copy(shape, since).image), shape)
    found: list[Any] = []
    while (frame := reader.take()) is not None:
        found += kind.unpack(frame.payload, frame.count)[0]
    return found


def recorded(name: str, stage: str = "raw", lane: str | None = None) -> list[Any]:
    """What the only lane, or this one, has recorded of a stage."""
    if lane is None:
        (lane,) = {each.split(".")[2] for each in recordings_of(name)}
    with Recording.attach(recording_name(name, lane, stage)) as recording:
        return events_in(recording)


def stages_recorded(name: str) -> dict[str, int]:
    """The stages that are being recorded, and the sizes of their rings."""
    found = {}
    for each in recordings_of(name):
        with Recording.attach(each) as recording:
            if recording.is_live():
                found[recording.stage.name] = recording.buffer_bytes
    found.pop(layout.TRIGGERS, None)
    return found
