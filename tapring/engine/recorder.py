"""The recorder: rings that keep the newest events of some stages, always on, without a consumer.

A recorder's ring is one more ring of its stage (``fanout``), which never is full and never ends.
Each is a segment of its own that outlives the engine (``shm.recording``). An engine that has no
room for a recorder goes on without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import SharedMemoryFull, TapError
from ..events.kinds import Json, Kind
from ..shm.evidence import limit_evidence, make_room
from ..shm.recording import Kept, Making, create_recording
from ..shm.registry import Registry
from ..shm.room import evidence_share, fair_share, fitting
from ..shm.row import Row
from ..shm.segment import unlink
from ..shm.walltime import WallNotes
from ..thrown_in import was_thrown_in
from ..wire import layout
from ..wire.geometry import Buffers, Shape
from ..wire.layout import Ended, RowState
from ..wire.ordering import publish_barrier
from ..wire.overwrite import OverwritingWriter
from ..words import size_from
from .complaints import Complaints
from .fanout import Tally, Watched
from .session import Live

ENVIRONMENT: Final = "TAPRING_RECORDER"
"""``decoded:16MiB,raw`` records these stages; ``off`` records nothing, whatever the code says."""
RECORDER_BYTES: Final = 16 << 20
"""80,000 events of 200 bytes."""
KEEP_LANES: Final = 4
_TRIGGER_BYTES: Final = 64 << 10  # 500 triggers
_NEVER_NS: Final = 1 << 63
_MOST_KEPT: Final = 1 << 62  # a word has room for it

Recorded = str | Sequence[str] | Mapping[str, int] | None
"""What ``Tap(recorder=...)`` takes."""


class Plan:
    """Which stages an engine records, in rings of how many bytes, and what it keeps of dead lanes.

    ``sizes``: by stage; None is ``RECORDER_BYTES``, or less if that would take more than a share of
    what is free.
    """

    def __init__(
        self,
        stages: Sequence[str],
        recorder: Recorded = None,
        recorder_bytes: int | None = None,
        keep_lanes: int = KEEP_LANES,
        keep_bytes: int | None = None,
    ) -> None:
        """Raises ValueError for a stage that is not there, and for what is out of range."""
        self.sizes: dict[str, int | None] = sizes_of(recorder, recorder_bytes)
        self.complaint: str | None = None
        _check_keep("recorder_keep", keep_lanes)
        _check_keep("recorder_keep_bytes", keep_bytes or 0)
        self._keep_lanes = keep_lanes
        self._keep_bytes = keep_bytes
        _check_size(recorder_bytes)
        for stage, size in self.sizes.items():
            _check_stage(stage, stages)
            _check_size(size)
        self._follow_environment(stages, recorder_bytes)

    @property
    def kept(self) -> Kept:
        """What is kept of dead lanes."""
        share = evidence_share() if self._keep_bytes is None else self._keep_bytes
        return Kept(self._keep_lanes, share)

    def _follow_environment(self, stages: Sequence[str], default: int | None) -> None:
        """Do as the operator says. A mistake of the operator's must not keep the engine down.

        A stage without a size keeps the one that the code gives it.
        """
        text = os.environ.get(ENVIRONMENT, "").strip()
        if text == "off":
            self.sizes = {}
            return
        sizes: dict[str, int | None] = {}
        try:
            for each in filter(None, text.split(",")):
                stage, _, size = each.strip().partition(":")
                _check_stage(stage, stages)
                sizes[stage] = size_from(size) if size else self.sizes.get(stage, default)
                _check_size(sizes[stage])
        except ValueError as error:
            self.complaint = f"{ENVIRONMENT}={text!r} is ignored: {error}"
            return
        self.sizes |= sizes


def sizes_of(recorder: Recorded, size: int | None) -> dict[str, int | None]:
    """Return the stages that ``recorder`` names, each with the size of its ring."""
    if recorder is None:
        return {}
    if isinstance(recorder, str):
        return {recorder: size}
    if isinstance(recorder, Mapping):
        return dict(recorder)
    return dict.fromkeys(recorder, size)


def _check_keep(option: str, value: int) -> None:
    if type(value) is not int or not 0 <= value < _MOST_KEPT:
        raise ValueError(f"{option} must be a whole number from 0 on, not {value!r}")


def _check_stage(stage: str, stages: Sequence[str]) -> None:
    if stage not in stages:
        raise ValueError(
            f"there is no stage {stage!r} to record; the stages: {', '.join(map(str, stages))}"
        )


def _check_size(size: int | None) -> None:
    smallest = layout.MIN_SLOTS * layout.MAX_SLOT_BYTES
    if size is not None and not (
        type(size) is int and smallest <= size <= layout.MAX_PAYLOAD_BYTES
    ):
        raise ValueError(
            f"a recorder of {size!r} bytes is out of range; use {smallest} to "
            f"{layout.MAX_PAYLOAD_BYTES}"
        )


class Recorder(Live):
    """The ring of one recorded stage, as a session that has no consumer and no deadline."""

    __slots__ = ("_notes", "_ring")

    records = True

    def __init__(self, registry: Registry, row: Row, making: Making, kind: Kind) -> None:
        writer = OverwritingWriter(
            Buffers.of(making.memory),
            Shape(row.slots, row.slot_bytes, row.stage, kind.code, kind),
            publish_barrier,
        )
        super().__init__(registry, row, making.segment, writer, _NEVER_NS)
        self._ring = writer
        self._notes: WallNotes | None = making.notes

    def note(self, cost_ns: int, served_ppm: int) -> None:
        """Note what it costs, that the engine is active, and how the wall clock has moved."""
        if self.open and self._notes is not None:
            self._ring.note_cost(cost_ns, served_ppm)
            self._ring.note_active(self._notes.look())

    def end(self, reason: Ended) -> None:
        """As of a session. The recording stays; its lock goes with ``segment.close``."""
        notes, self._notes = self._notes, None
        if notes is not None:
            if self.open:
                self._ring.note_active(notes.look())
            notes.close()
        super().end(reason)

    def detach(self) -> None:
        """As of a session."""
        notes, self._notes = self._notes, None
        if notes is not None:
            notes.close()
        super().detach()


class Recorders:
    """All recorders of a lane. Only for inside the gate.

    ``lives``: those of its stages. ``triggers``: where triggers are written; None without a
    recorder.
    """

    def __init__(self) -> None:
        self.lives: tuple[Recorder, ...] = ()
        self.triggers: Watched | None = None
        self._all: tuple[Recorder, ...] = ()

    @classmethod
    def open(
        cls, registry: Registry, stages: Mapping[str, Kind], plan: Plan, complaints: Complaints
    ) -> Recorders:
        """Make the recordings of a lane. Those that cannot be made are warned about, once.

        After any exception call ``remove_recordings``.
        """
        made = cls()
        if not plan.sizes:
            return made
        info, kept = registry.info, plan.kept
        kinds = list(stages.values())
        try:
            limit_evidence(info.engine, kept)
            share = fair_share(2 * len(plan.sizes))  # of what is free by now
            wanted = {
                index: plan.sizes[name] or fitting(RECORDER_BYTES, share)
                for index, name in enumerate(stages)
                if name in plan.sizes
            }
            for index, size in wanted.items():
                made._all = made.lives = (
                    *made.lives,
                    _make(registry, index, size, kept, kinds[index]),
                )
            triggers = _make(registry, len(kinds), _TRIGGER_BYTES, kept, Json())
            made._all = (*made.lives, triggers)
            made.triggers = Watched(Json(), (triggers,), Tally())
        except BaseException as error:
            if (
                not isinstance(error, TapError | OSError | MemoryError)
                or was_thrown_in(error)
                or complaints.strict
            ):
                made.detach()
                raise
            complaints.warn(f"{info.address} is not recorded: {error}")
        return made

    def stop(self, recorder: Live, reason: Ended) -> None:
        """End one that is at fault. Its lock stays, because its lane lives."""
        self.lives = tuple([each for each in self.lives if each is not recorder])
        if self.triggers is not None and recorder in self.triggers.lives:
            self.triggers = None
        recorder.end(reason)

    def close(self) -> None:
        """End all of them, because the engine closes its lane. The recordings stay."""
        self.lives, self.triggers = (), None
        for each in self._all:
            each.end(Ended.ENGINE_EXIT)
            each.segment.close()

    def detach(self) -> None:
        """Let go of the recordings, as a forked child does of its parent's."""
        for each in self._all:
            each.detach()


def _make(registry: Registry, stage: int, size: int, kept: Kept, kind: Kind) -> Recorder:
    info = registry.info
    pair = registry.clock_pair
    try:
        making = create_recording(info, stage, size, kept, pair)
    except SharedMemoryFull:
        make_room(info.engine)
        making = create_recording(info, stage, size, kept, pair)
    row = Row(
        index=-1,
        state=RowState.OPEN,
        id=-1 - stage,  # no session has a negative one
        epoch=0,
        stage=stage,
        slots=size // info.slot_bytes,
        slot_bytes=info.slot_bytes,
    )
    try:
        return Recorder(registry, row, making, kind)
    except BaseException:
        making.notes.close()
        making.segment.detach()
        unlink(making.segment.name)
        raise
