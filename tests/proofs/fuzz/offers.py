"""A tap whose rings are read after each offer, and what must hold, whatever was offered."""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec

import tapring
from tapring.events.kinds import Kind
from tapring.shm.names import segment_name
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.ledger import Ledger
from tapring.wire.reader import Reader

from .choices import Choices
from .odd import RECORD
from .segments import left_behind, map_segment

STAGES: Final[dict[str, Any]] = {"blobs": "bytes", "records": tapring.array(RECORD)}
NAMES: Final = ("raw", "decoded", "blobs", "records")
SLOT_BYTES: Final = 64
BUFFERS: Final = (64 << 10, 4 * SLOT_BYTES)
ROOMS: Final = (0, 1, 7, 16, 40, 200)


class Ring:
    """A session of one stage, and its reader."""

    def __init__(self, tap: tapring.Tap, stage: str, buffer_bytes: int) -> None:
        handle = tap.register(stage, buffer_bytes=buffer_bytes)
        assert handle is not None
        assert tap.lane is not None
        index = tap.stages.index(stage)
        self.handle = handle
        self.kind: Kind = list(tap._stages.values())[index]
        self._memory = map_segment(segment_name(tap.name, tap.lane, handle.id))
        shape = Shape(buffer_bytes // SLOT_BYTES, SLOT_BYTES, index, self.kind.code, self.kind)
        self._reader = Reader(Buffers.of(self._memory), shape)

    def ledger(self) -> Ledger:
        return self._reader.account.ledger()

    def drain(self) -> list[tuple[bytes, int]]:
        """The payload and the number of events of each frame."""
        frames = []
        while (taken := self._reader.take()) is not None:
            frames.append((taken.payload, taken.count))
        return frames

    def close(self) -> None:
        self.handle.close()
        self._reader.close()
        self._memory.close()


class Engine:
    """A tap with a session of each stage offered to. ``outcomes``: what became of the offers."""

    def __init__(self, choices: Choices, enc_hook: Any = None) -> None:
        self.tap = tapring.Tap(
            f"t-{os.getpid()}-offers",
            stages=STAGES,
            slot_bytes=SLOT_BYTES,
            max_sessions=len(NAMES),
            enc_hook=enc_hook,
        )
        self.enc_hook = enc_hook
        self._buffer_bytes = choices.pick(BUFFERS)
        self._room = choices.pick(ROOMS)
        self.rings: dict[str, Ring] = {}
        self.outcomes: set[str] = set()

    def offer(self, stage: str, batch: Any) -> None:
        """Offer ``batch``; then read all rings, and check their accounts."""
        if stage not in self.rings:
            self.rings[stage] = Ring(self.tap, stage, self._buffer_bytes)
        ring, misuse = self.rings[stage], self.tap.misuse
        before = ring.ledger()
        watched = self.tap.snapshot()
        assert watched is not None
        watched.offer(stage, batch)
        frames = self.drain(stage)
        for payload, in_it in frames:
            cut(ring.kind, payload, in_it, self._room)
        after = ring.ledger()
        refused = self.tap.misuse - misuse
        count = after.offered - before.offered
        if refused:
            assert not count, "misuse, and offered"
            self.outcomes.add("misuse")
        elif type(batch) is list:
            assert count == len(batch), f"{count} events are counted of {len(batch)}"
        if after.errors > before.errors:
            assert f"stage {stage!r}" in (self.tap.last_error or ""), "no reason"
            self.outcomes.add("errors")
        if after.dropped > before.dropped or after.oversize > before.oversize:
            self.outcomes.add("dropped")
        elif type(batch) is list and not refused:
            self._compare(stage, batch, b"".join(payload for payload, _ in frames), frames)

    def drain(self, stage: str) -> list[tuple[bytes, int]]:
        """Read all rings; return the frames of ``stage``'s. Nothing is at fault."""
        mine = []
        for name, ring in self.rings.items():
            assert ring.handle.open, "the session has ended"
            before = ring.ledger().delivered
            frames = ring.drain()
            ledger = ring.ledger()
            captured = sum(count for _, count in frames)
            assert ledger.delivered - before == captured
            lost = ledger.dropped + ledger.oversize + ledger.errors
            assert ledger.offered == ledger.captured + lost, "the account does not close"
            mine = frames if name == stage else mine
        assert self.tap.faults == 0
        return mine

    def _compare(
        self, stage: str, batch: list[Any], found: bytes, frames: list[tuple[bytes, int]]
    ) -> None:
        """Compare what came with what each event is by itself."""
        kind = self.rings[stage].kind
        if stage == "records" or (stage == "raw" and any(map(_goes_by_its_neighbors, batch))):
            return
        events = [each for each in map(self._ALONE[stage], [self] * len(batch), batch) if each]
        if stage == "blobs":
            came = [each for payload, count in frames for each in kind.unpack(payload, count)[0]]
            assert came == [each for (each,) in events], "other bytes came"
            return
        assert found == b"".join(each + b"\n" for (each,) in events), "other text came"
        count = sum(count for _, count in frames)
        assert count == len(events)
        self.outcomes.add("compared")

    def _line(self, event: Any) -> tuple[bytes] | None:
        return _bytes(event, text=True)

    def _blob(self, event: Any) -> tuple[bytes] | None:
        return _bytes(event, text=False)

    def _json(self, event: Any) -> tuple[bytes] | None:
        try:
            return (msgspec.json.encode(event, enc_hook=self.enc_hook),)
        except Exception:
            return None

    _ALONE: Final = {"raw": _line, "decoded": _json, "blobs": _blob}

    def close(self) -> None:
        for ring in self.rings.values():
            ring.close()
        self.tap.close()
        assert not left_behind(self.tap.name)

    def outcome(self) -> str:
        return ", ".join(sorted(self.outcomes)) or "nothing to tell"


def cut(kind: Kind, payload: bytes, count: int, room: int) -> None:
    """Take ``payload`` in parts that fit into ``room``, and at each place: all events are there."""
    whole = _texts(kind, payload, count)
    is_plain = len(whole) == count  # a line that holds newlines makes more lines than are counted
    rest, singly = payload, []
    for left in range(count, 0, -1):
        first, rest = kind.split(rest, left, 1)
        singly += _texts(kind, bytes(first), 1)
    assert singly == whole or not is_plain, "other events when they are split"
    parts, left = kind.parts(memoryview(payload) if kind.name == "array" else payload, count), count
    while left:
        taken, events = parts.take(room)
        assert (events > 0) == bool(len(taken)), "a part without events, or events without a part"
        if events:
            assert len(taken) <= room
            there = whole[count - left : count - left + events]
            assert _texts(kind, bytes(taken), events) == there or not is_plain, "other events"
        else:
            assert not parts.fits(room)
            parts.skip()
        left -= events or 1
        assert parts.count == left


def _texts(kind: Kind, payload: bytes, count: int) -> list[bytes]:
    """The bytes of each event: JSON need not be any if it comes from a ``msgspec.Raw``."""
    if kind.name == "bytes":
        return kind.unpack(payload, count)[0]
    if kind.name == "array":
        return [
            payload[at : at + RECORD.itemsize] for at in range(0, len(payload), RECORD.itemsize)
        ]
    return payload.split(b"\n")[:-1]


def _goes_by_its_neighbors(event: Any) -> bool:
    """Whether a line is joined as it is, unless another one needs a closer look at each."""
    return type(event) not in (str, bytes, bytearray, memoryview)


def _bytes(event: Any, *, text: bool) -> tuple[bytes] | None:
    try:
        if text and isinstance(event, str):
            return (event.encode("utf-8", "surrogateescape"),)
        is_memory = isinstance(event, bytes | bytearray | memoryview)
        return (bytes(memoryview(event)),) if is_memory else None  # not its code
    except Exception:
        return None
