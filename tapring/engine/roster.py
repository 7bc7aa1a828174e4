"""The sessions that the engine writes to, brought in line with the session table.

Theory of operation. ``follow`` compares the sessions with the table: it takes in those that are
new and ends those that the table no longer names. It never repeats what is done, so after an
exception, or half-way, the next batch just goes on. A session that has just been opened is taken
in by parts, one a batch: opening its ring, mapping it, opening its doorbell and making a new
snapshot take 30 to 50 us each, and 150 us together, because a working engine does not keep this
code in its caches. The consumer allows the engine ``TAKE_UP_NS`` for that. A batch that begins
later finds the session taken in, or takes it in at once. If no other session is being read, or a
consumer has ended its own, everything is done at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec

from ..events.kinds import Kind
from ..shm.registry import Registry
from ..shm.row import NO_BELL, Row
from ..thrown_in import was_thrown_in
from ..wire import layout
from ..wire.layout import Ended, Verdict
from .complaints import Complaints
from .mapping import WHOLE_BYTES, Arriving, Leaving
from .session import Live

# What ``follow`` returns instead of a generation. No generation is negative.
AGAIN: Final = -2
"""The next batch must call ``follow`` again."""
CHANGED: Final = -3
"""The sessions have changed: make new snapshots, and then as AGAIN."""

# Batches that find the table half-changed, or held, before one tries its lock again (2 us).
_BATCHES_BEFORE_REPAIR: Final = 64
_READINGS: Final = 8  # of a table that is being changed, by one batch: 10 us each


class Roster:
    """The sessions of one lane. Only for inside the gate.

    ``live``: those that are written to, by id. ``leaving``: rings that are being unmapped.
    ``outdated``: the sessions or their doorbells have changed since snapshots were last made.
    """

    __slots__ = (
        "_arriving",
        "_complaints",
        "_followed",
        "_left",
        "_paused",
        "_registry",
        "_stages",
        "_table",
        "_to_free",
        "leaving",
        "live",
        "outdated",
    )

    def __init__(
        self, registry: Registry, stages: Mapping[str, Kind], complaints: Complaints
    ) -> None:
        self._registry = registry
        self._table = registry.table
        self._stages = stages
        self._complaints = complaints
        self.live: dict[int, Live] = {}
        self.leaving: list[Leaving] = []
        self.outdated: bool = False
        self._arriving: Arriving | None = None
        self._to_free: list[Row] = []
        self._left: set[int] = set()  # sessions that have ended, and whose consumer comes later
        self._followed = -1  # the generation of which all is done, but for rows to free
        self._paused = 0

    def follow(self, now: int) -> int:
        """Take in and end sessions as the table says; return its generation when that is done.

        Returns AGAIN or CHANGED if there is more to do, or if a process is changing the table.
        """
        if self._paused and self._table.generation == self._followed:
            self._paused -= 1
            return AGAIN
        read = self._read()
        if read is None:
            return self._begin() if self._followed < 0 else AGAIN
        generation, table = read
        gone = self._end_all_but(table)
        refused = [row.id for row in self._to_free]
        self._left = {row.id for row in table if row.id in self._left}
        over = {*refused, *self._left}
        pending = [row for row in table if row.id not in over and not self._is_done(row)]
        in_parts = not [row for row in pending if not _has_just_opened(row, now)]
        if gone and in_parts:
            return CHANGED
        for row in pending:
            if self._advance(row, in_parts=in_parts) and in_parts:
                return AGAIN
        if self.outdated:
            return CHANGED
        self._followed = generation
        if generation & 1:
            self._table.repair()  # it can be, if the process that was changing it has died
            self._paused = _BATCHES_BEFORE_REPAIR
            return AGAIN
        if not self.free_rows():
            return AGAIN
        self.free_the_dead()
        return generation

    def _read(self) -> tuple[int, list[Row]] | None:
        """The generation and the open rows; None if processes keep changing the table.

        This reads again, because one change takes less time than a few readings. If it gave up at
        once, a session that has just been opened could miss this batch, and nobody would count it.
        """
        for _ in range(_READINGS):
            read = self._table.stable_rows() or self._read_half_changed()
            if read is not None:
                return read
        return None

    def _begin(self) -> int:
        """Take in the sessions that the lane has opened itself: they see its first batch.

        The table is being changed just now, so it can be read at the next batch only.
        """
        for row in self._registry.first_rows:
            self.take_in(row)
        return CHANGED if self.outdated else AGAIN

    def _read_half_changed(self) -> tuple[int, list[Row]] | None:
        """The generation and the open rows, if a process was stopped while it changes the table.

        It alone can change them, and may be stopped for long. The sessions of other consumers must
        not miss a batch meanwhile. None if the table is being changed just now.
        """
        half_changed = self._table.half_changed_rows()
        if half_changed is None:
            return None
        generation, rows = half_changed
        # A doorbell may be half-written. It stays as it was.
        hung = {session: live.hung for session, live in self.live.items()}
        return generation, [
            msgspec.structs.replace(row, bell=hung.get(row.id, NO_BELL)) for row in rows
        ]

    def take_in(self, row: Row, *, in_parts: bool = False) -> Exception | None:
        """Map the ring of a new row, and answer its consumer in the row's verdict.

        in_parts: the first of two calls only opens the ring.
        Returns the error if the ring could not be mapped.
        """
        refusal: Exception | None = None
        known = self.live.get(row.id)
        if known is not None and known.row.epoch == row.epoch:  # another batch was faster
            return None
        if known is not None:  # a consumer has set the table's next id back
            self.end(self.live.pop(row.id), Ended.CLOSED)
        if row.slots * row.slot_bytes > self._registry.info.max_buffer_bytes:
            verdict = Verdict.TOO_LARGE
        else:
            try:
                # Forgotten first: if mapping is interrupted, the ring is opened anew.
                arriving, self._arriving = self._arriving, None
                if arriving is None or arriving.row.id != row.id:
                    arriving = Arriving(self._registry, self._stages, row)
                    if in_parts:
                        self._arriving = arriving
                        return None
                self.outdated = True
                self.live[row.id] = arriving.map()
                verdict = Verdict.ACCEPTED
            except Exception as error:  # whatever it is, the consumer gets its answer
                if was_thrown_in(error):
                    raise
                if not self._table.is_open(row):  # it ended before the engine saw it
                    return error
                self._complaints.fault(f"session {row.id} is refused: {str(error) or repr(error)}")
                verdict, refusal = Verdict.UNUSABLE, error
        self._registry.answer(row, verdict)
        if verdict != Verdict.ACCEPTED:
            self._to_free.append(row)
        return refusal

    def end(self, live: Live, reason: Ended) -> None:
        """End ``live`` for its consumer. A large ring is unmapped during the next batches.

        Calling it again finishes what an exception has interrupted.
        """
        self.outdated = True
        live.end(reason)
        segment = live.segment
        if segment.size <= WHOLE_BYTES:
            segment.close()
        elif segment.is_mapped and not [each for each in self.leaving if each.segment is segment]:
            self.leaving.append(Leaving(segment, partial(self._table.may_be_read, live.row)))
            # Sessions may come and go faster than batches do.
            while len(self.leaving) > self._registry.info.max_sessions:
                self.leaving.pop(0).segment.close()

    def dismiss(self, live: Live, reason: Ended) -> None:
        """End a session that the table still names. ``free_rows`` must come next."""
        self.end(live, reason)
        if self.live.get(live.row.id) is live:  # not so if a fork came between: ids begin anew
            self._to_free.append(live.row)
            del self.live[live.row.id]

    def leave(self, row: Row) -> None:
        """Free a row whose session never began."""
        self._to_free.append(row)
        self.free_rows()

    def free_the_dead(self) -> None:
        """Free the rows of consumers that died, whose rings would take up memory."""
        if self._table.dead_rows():
            self._table.repair()

    def free_rows(self) -> bool:
        """Free the rows of ended sessions. False: the table is held; try later."""
        self._to_free = [row for row in self._to_free if not self._free(row)]
        if self._to_free:
            self._paused = _BATCHES_BEFORE_REPAIR
        return not self._to_free

    def _free(self, row: Row) -> bool:
        try:
            if self._table.is_awaited_in(row):  # its consumer frees it, once it has read the ring
                self._left.add(row.id)
                return True
            return self._table.free(row)
        except OSError as error:  # the kernel has no lock to give, or the descriptor is gone
            if was_thrown_in(error):
                raise
            self._complaints.warn(f"the row of session {row.id} could not be freed: {error}")
            return False

    @property
    def has_rows_to_free(self) -> bool:
        """Whether ``free_rows`` or ``follow`` still has rows of ended sessions to free."""
        return bool(self._to_free)

    def unmap_some(self) -> bool:
        """Unmap a part of what has ended; say whether that was the last part of a ring."""
        if not self.leaving or not self.leaving[0].step():
            return False
        del self.leaving[0]
        return True

    def close(self) -> None:
        """End all sessions, because the engine closes its lane."""
        self._arriving = None
        for live in list(self.live.values()):
            live.end(Ended.ENGINE_EXIT)
            live.segment.close()
        for leaving in self.leaving:
            leaving.segment.close()

    def detach(self) -> None:
        """In a forked child: leave the rings to the parent."""
        self._arriving = None
        for live in self.live.values():
            live.detach()
        for leaving in self.leaving:
            leaving.segment.detach()

    def _end_all_but(self, table: list[Row]) -> bool:
        """End the sessions that ``table`` does not name; say whether there were any."""
        there = [row.id for row in table]
        if self._arriving is not None and self._arriving.row.id not in there:
            self._arriving = None
        gone = [session for session in self.live if session not in there]
        for session in gone:
            self.end(self.live[session], Ended.CLOSED)
            del self.live[session]
        return bool(gone)

    def _is_done(self, row: Row) -> bool:
        live = self.live.get(row.id)
        return live is not None and live.hung == row.bell

    def _advance(self, row: Row, *, in_parts: bool) -> bool:
        """Do the next thing that ``row`` asks for, or everything; say whether it took time."""
        if row.id not in self.live:
            self.take_in(row, in_parts=in_parts)
            if in_parts:
                return True
        live = self.live.get(row.id)
        if live is None or live.hung == row.bell:
            return False
        self.outdated = True
        live.hang_bell(row)
        return True


def _has_just_opened(row: Row, now: int) -> bool:
    return 0 <= now - row.opened_ns < layout.TAKE_UP_NS
