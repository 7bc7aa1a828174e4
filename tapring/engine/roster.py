"""The sessions of a lane as its engine has them: taken up, ended, let go of as the table says.

Theory of operation. ``follow`` makes the sessions those that the table names, and what is done
already it does not do again: after an exception, or half-way, the next batch goes on. A session
that has just been opened is taken up in parts, one a batch: to open its ring, map it, hang its
doorbell and make a new snapshot takes 30 to 50 us each, and 150 us at once, because an engine that
works does not keep this code in its caches. Its consumer gives the engine ``TAKE_UP_NS`` for that:
a batch that begins later finds the session taken up, or takes it up at once. Where nobody watches
any more, or a consumer has ended, all is done at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, Protocol

from ..events.kinds import Kind
from ..shm.registry import Registry
from ..shm.row import Row
from ..thrown_in import was_thrown_in
from ..wire import layout
from ..wire.layout import Ended, Verdict
from .session import WHOLE_BYTES, Arriving, Leaving, Live

AGAIN: Final = -2
"""What ``follow`` returns, and no generation is, where the next batch is to call it again."""
# Batches that find the table half-changed, or held, before its lock is tried (2 us) again.
_BATCHES_BEFORE_REPAIR: Final = 64


class Engine(Protocol):
    """What a Roster tells its Tap of."""

    def _fault(self, message: str) -> None:
        """What a session holds in shared memory is odd."""

    def _rebuild(self) -> None:
        """The sessions are others now."""


class Roster:
    """The sessions of one lane. ``live`` are those that are written to, by id."""

    __slots__ = (
        "_arriving",
        "_max_buffer_bytes",
        "_max_sessions",
        "_odd",
        "_outdated",
        "_paused",
        "_stages",
        "_to_free",
        "leaving",
        "live",
    )

    def __init__(self, stages: Mapping[str, Kind], max_sessions: int, max_bytes: int) -> None:
        self._stages = stages
        self._max_sessions = max_sessions
        self._max_buffer_bytes = max_bytes
        self.live: dict[int, Live] = {}
        self.leaving: list[Leaving] = []
        self._arriving: Arriving | None = None
        self._to_free: list[Row] = []
        self._outdated = False  # there are sessions, or doorbells, that the engine does not know of
        self._odd = 0
        self._paused = 0

    def follow(self, engine: Engine, registry: Registry, now: int) -> int:
        """Take sessions up and end others, as the table says; the generation when that is done.

        AGAIN where there is more to do at the next batch, or the table is being changed.
        """
        if self._paused:
            self._paused -= 1
            return AGAIN
        stable = registry.table.stable_rows()
        if stable is None:
            self._odd += 1
            if self._odd % _BATCHES_BEFORE_REPAIR == 0:
                registry.table.repair()
            return AGAIN
        self._odd = 0
        generation, table = stable
        gone = self._end_all_but(registry, table)
        refused = [row.id for row in self._to_free]
        pending = [row for row in table if row.id not in refused and not self._is_done(row)]
        in_parts = not [row for row in pending if not _has_just_opened(row, now)]
        if gone:
            self.rebuild(engine)
            if in_parts:
                return AGAIN
        for row in pending:
            if self._advance(engine, registry, row, in_parts=in_parts) and in_parts:
                return AGAIN
        if self._outdated:
            self.rebuild(engine)
            return AGAIN
        if not self.free_rows(registry):
            return AGAIN
        if registry.table.dead_rows():
            registry.table.repair()
        return generation

    def take_up(
        self, engine: Engine, registry: Registry, row: Row, *, in_parts: bool = False
    ) -> Exception | None:
        """Map the ring of a row that is new; answer its consumer in the row's verdict.

        Returns what kept it from being mapped. in_parts: the first of two calls only opens it.
        """
        refusal: Exception | None = None
        if row.id in self.live:  # somebody has set the table's next id back
            self.end(registry, self.live.pop(row.id), Ended.CLOSED)
        if row.slots * row.slot_bytes > self._max_buffer_bytes:
            verdict = Verdict.TOO_LARGE
        else:
            try:
                # Taken out first: one whose mapping is interrupted is opened anew.
                arriving, self._arriving = self._arriving, None
                if arriving is None or arriving.row.id != row.id:
                    arriving = Arriving(registry, row)
                    if in_parts:
                        self._arriving = arriving
                        return None
                self._outdated = True
                self.live[row.id] = arriving.map(registry, self._stages)
                verdict = Verdict.ACCEPTED
            except Exception as error:  # whatever it is, the consumer gets its answer
                if was_thrown_in(error):
                    raise
                if not registry.table.is_open(row):  # it ended before it was seen
                    return error
                engine._fault(f"session {row.id} is refused: {str(error) or repr(error)}")
                verdict, refusal = Verdict.UNUSABLE, error
        registry.answer(row, verdict)
        if verdict != Verdict.ACCEPTED:
            self._to_free.append(row)
        return refusal

    def end(self, registry: Registry, live: Live, reason: Ended) -> None:
        """End ``live`` for its consumer; a large ring is unmapped with the batches to come.

        Doing it again finishes what an exception has interrupted.
        """
        self._outdated = True
        live.end(reason)
        segment = live.segment
        if segment.size <= WHOLE_BYTES:
            segment.close()
        elif segment.is_mapped and not [each for each in self.leaving if each.segment is segment]:
            self.leaving.append(Leaving(segment, partial(registry.table.may_be_read, live.row)))
            # Where sessions come and go faster than batches.
            while len(self.leaving) > self._max_sessions:
                self.leaving.pop(0).segment.close()

    def dismiss(self, registry: Registry, live: Live, reason: Ended) -> None:
        """End ``live``, which the table still names: ``free_rows`` is what is next."""
        self.end(registry, live, reason)
        if live.row.id in self.live:
            self._to_free.append(live.row)
            del self.live[live.row.id]

    def rebuild(self, engine: Engine) -> None:
        """Tell the engine that the sessions are others now. ``follow`` does, where it was not."""
        engine._rebuild()
        self._outdated = False

    def free_rows(self, registry: Registry, timeout_s: float = 0.0) -> bool:
        """Free the rows of ended sessions; where the table is held, some batches later: False."""
        self._to_free = [row for row in self._to_free if not registry.table.free(row, timeout_s)]
        if self._to_free:
            self._paused = _BATCHES_BEFORE_REPAIR
        return not self._to_free

    def unmap_some(self) -> bool:
        """Unmap a part of what has ended; say whether that was the last of a ring."""
        if not self.leaving or not self.leaving[0].step():
            return False
        del self.leaving[0]
        return True

    def close(self) -> None:
        """End all sessions, because the engine goes."""
        self._arriving = None
        for live in list(self.live.values()):
            live.end(Ended.ENGINE_EXIT)
            live.segment.close()
        for leaving in self.leaving:
            leaving.segment.close()

    def after_fork(self) -> None:
        """In a forked child: leave the rings to the parent."""
        self._arriving = None
        for live in self.live.values():
            live.after_fork()
        for leaving in self.leaving:
            leaving.segment.detach()

    def _end_all_but(self, registry: Registry, table: list[Row]) -> bool:
        """End the sessions that the table no longer names; say whether there were any."""
        there = [row.id for row in table]
        if self._arriving is not None and self._arriving.row.id not in there:
            self._arriving = None
        gone = [session for session in self.live if session not in there]
        for session in gone:
            self.end(registry, self.live[session], Ended.CLOSED)
            del self.live[session]
        return bool(gone)

    def _is_done(self, row: Row) -> bool:
        live = self.live.get(row.id)
        return live is not None and live.hung == row.bell

    def _advance(self, engine: Engine, registry: Registry, row: Row, *, in_parts: bool) -> bool:
        """Do the next thing that ``row`` asks for, or all; say whether it took time."""
        if row.id not in self.live:
            self.take_up(engine, registry, row, in_parts=in_parts)
            if in_parts:
                return True
        live = self.live.get(row.id)
        if live is None or live.hung == row.bell:
            return False
        self._outdated = True
        live.hang_bell(registry, row)
        return True


def _has_just_opened(row: Row, now: int) -> bool:
    return 0 <= now - row.opened_ns < layout.TAKE_UP_NS
