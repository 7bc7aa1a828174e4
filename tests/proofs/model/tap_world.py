"""One run of threads that use a real Tap: they offer, and open and close sessions meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from mmap import mmap
from pathlib import Path

import tapring
from tapring.engine.snapshot import Snapshot
from tapring.shm.names import segment_name
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.reader import Reader

from .automaton import Broken
from .ends import LINES, broken
from .gate_world import LATER, SLOT_BYTES, SLOTS, Session, World
from .properties import each_open_session_has_an_owner, nothing_is_raised
from .turns import Turns

_numbers = count()


class TapWorld(World):
    """A Tap with one session. Words of scripts: "offer", "close" that session, "register"."""

    next = "attempt offer"  # if no session is left, an offer has no reason to come to the gate

    def __init__(self, turns: Turns, scripts: Sequence[str], handler: str) -> None:
        super().__init__(turns, scripts, handler)
        self.tap = tapring.Tap(f"t-{os.getpid()}-turns{next(_numbers)}", slot_bytes=SLOT_BYTES)
        self.gate = self.tap._gate
        self._handles: list[tapring.Handle] = []
        self._register("")()
        self.tap.snapshot()

    def snapshot(self) -> Snapshot | None:
        return self.tap.snapshot()

    def final(self, *, ended: bool) -> Iterator[Broken]:
        try:
            yield from super().final(ended=ended)
            yield from broken(nothing_is_raised, "a session", self.tap.faults)
            still = [each for each in self._handles if each.open]
            active = self.tap.active_sessions
            yield from broken(each_open_session_has_an_owner, active, len(still))
        finally:
            self.tap.close()
            for session in self.sessions:
                session.reader.close()

    def _register(self, thread: str) -> Callable[[], None]:
        def register() -> None:
            began = self.tick()
            handle = self.tap.register("raw", buffer_bytes=SLOTS * SLOT_BYTES)
            if handle is not None:
                self._handles.append(handle)
                self.sessions.append(self._session(handle, (began, self.tick())))

        return register

    def _close(self, thread: str) -> Callable[[], None]:
        def close() -> None:
            handle, session = self._handles[0], self.sessions[0]
            session.closed = self.tick(), LATER
            handle.close()
            if not handle.open:
                session.closed = session.closed[0], self.tick()

        return close

    def _session(self, handle: tapring.Handle, opened: tuple[int, int]) -> Session:
        name = segment_name(self.tap.name, self.tap.lane, handle.id)
        with Path("/dev/shm", name).open("r+b") as file:
            ring = mmap(file.fileno(), 0)
        shape = Shape(SLOTS, SLOT_BYTES, 0, LINES.code, LINES)
        return Session(handle._live.writer, Reader(Buffers.of(ring), shape), opened)
