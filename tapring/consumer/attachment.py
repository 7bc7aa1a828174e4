"""One ring that a session reads: opening it, asking how it ends, and giving it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic_ns
from typing import Final, TypeVar

from msgspec.structs import replace

from ..ended_by import EndedBy
from ..errors import BufferLimit, EngineNotFound, RingCorrupt, SessionNotFound, TapError
from ..events.kinds import Kind, kind_from
from ..events.sieve import Sieve, Sieves
from ..frame import Frame, Origin
from ..in_any_case import do_all
from ..shm.clocks import EngineClock
from ..shm.names import lane_number, new_epoch, recording_name
from ..shm.recording import Recording
from ..shm.registry import Registry
from ..shm.rings import map_ring
from ..shm.row import BellOf, Row
from ..shm.segment import Segment
from ..shm.sweep import sweep_lane
from ..wire import layout
from ..wire.geometry import Buffers, Shape, consumer_words, producer_words
from ..wire.layout import Ended, Verdict
from ..wire.ledger import Ledger
from ..wire.ordering import publish_barrier
from ..wire.reader import Reader
from ..words import size_in_words
from .lanes import LaneJoined, joining
from .past_first import LanePast, PastFirst

AnyReader = TypeVar("AnyReader", bound=Reader)

CLOSE_TIMEOUT_S: Final = 1.0
# How long the lanes that are read wait for the table of one that joins.
JOIN_TIMEOUT_S: Final = 0.02
_REASONS: Final[dict[int, EndedBy]] = {
    Ended.ENGINE_EXIT: EndedBy.ENGINE_EXIT,
    Ended.EXPIRED: EndedBy.EXPIRED,
    Ended.CLOSED: EndedBy.CLOSED,
    Ended.EVICTED: EndedBy.EVICTED,
}


class Attachment:
    """An open ring, and the registry with the session's row.

    ``owned``: the session ends with this consumer; it was neither registered by the engine nor
    opened to be kept. ``clock``: how to read the engine's times, as of when this was opened.
    ``joined``: what is said of the lane. wanted: how many bytes were asked for. ``sieve``: what its
    frames pass, one of ``sieves``; None if every event passes. ``kind_left``: the kind of those
    that have passed. ``missed``: events that are missing behind the last frame that passed.
    ``behind``: the number behind the last event that the sieve has looked at. ``first``: that of
    the first one, or of the first event that was missing before it; None so far. ``places``: the
    indices of the events that it has left of the last frame that passed; None for all.
    ``looked_ns``: when the last batch that it has looked at was offered (ns since the epoch).
    ``told``: those that frames have told of. since_ns: begin with what the lane has recorded from
    then on (this process's CLOCK_MONOTONIC). ``past``: that part of ``reader``; None if it begins
    with the session. ``no_past``: why there is none, if one was wanted. Closing twice is fine.
    """

    def __init__(
        self,
        registry: Registry,
        row: Row,
        *,
        owned: bool,
        wanted: int | None = None,
        sieves: Sieves | None = None,
        since_ns: int | None = None,
        ring: Segment | None = None,
    ) -> None:
        """Map the ring of ``row``, which is ``ring`` if that is open already.

        Raises EngineNotFound if the engine has just ended, and SessionNotFound if the session has;
        RingCorrupt and VersionMismatch if this is not the ring that the row describes; and what
        ``Segment.attach`` and ``map`` raise.
        """
        info = registry.info
        self.registry = registry
        self.row = row
        self.owned = owned
        self.clock: EngineClock = registry.clock
        self._dead = False
        self._final: Ledger | None = None
        self.missed = 0
        self.behind: int = 0
        self.first: int | None = None
        self.places: Sequence[int] | None = None
        self.looked_ns: int = 0
        self.told = 0
        self.kind: Kind = kind_of(registry, row.stage)
        self.sieve: Sieve | None = None if sieves is None else sieves.of(self.kind)
        self.kind_left: Kind = self.kind if self.sieve is None else self.sieve.kind
        stage = info.stages[row.stage].name
        self.origin: Origin = Origin(info.engine, info.lane, registry.pid, stage)
        self._segment: Segment = ring or self._open_ring()
        self.past: PastFirst | None = None
        self.no_past: LanePast | None = None
        try:
            recording = None if since_ns is None else self._recording()
            if recording is None or since_ns is None:
                self.reader: Reader = self._map(Reader)
            else:
                begins = partial(
                    PastFirst,
                    recording=recording,
                    since_ns=since_ns,
                    opened_ns=row.opened_ns,
                    ahead_ns=self.clock.ahead_ns,
                )
                self.reader = self.past = self._map(begins)
        except BaseException:
            self._segment.detach()
            raise
        # Only now: the ring has confirmed what the row says of it.
        self.joined: LaneJoined = joining(registry, row, self.kind_left, wanted)
        self._missed_before = self.reader.missed  # the last consumer was told

    def note_beginning(self, began_ns: int) -> None:
        """Say when the capture began: a lane that was made later joined it."""
        created_ns = self.registry.created_ns - self.clock.ahead_ns
        if self.clock.known:
            self.joined = replace(self.joined, initial=created_ns <= began_ns)

    def note_sifted(self, frame: Frame, places: Sequence[int] | None) -> None:
        """Note that a filter has looked at a frame, and which of its events it has left."""
        self.missed += frame.missed
        self.behind = frame.sequence + frame.count
        self.looked_ns = frame.timestamp
        self.places = places
        if self.first is None:
            self.first = frame.sequence - frame.missed

    def note_cut(self, frame: Frame, left: int) -> None:
        """Note that of the frame that passed last only ``left`` events are handed out."""
        self.behind = frame.sequence + (left if self.places is None else self.places[left])

    def new_bell(self) -> BellOf:
        """Identify a new doorbell of this session, as rows name it."""
        return BellOf(lane_number(self.registry.info.lane), self.row.id, new_epoch())

    @property
    def bell_name(self) -> str:
        """The name of this session's doorbell, as its semaphore is called."""
        return self.registry.info.segment_name(self.row.id)

    def next_time_ns(self) -> int | None:
        """The time of the oldest unread frame, by this process's clock; None if there is none.

        Raises RingCorrupt.
        """
        time_ns = self.reader.next_time_ns()
        return None if time_ns is None else time_ns - self.clock.ahead_ns

    def oldest_ns(self) -> int | None:
        """As ``next_time_ns``, for any thread: None if the frame is taken meanwhile, or corrupt."""
        time_ns = self.reader.glimpse_time_ns()
        return None if time_ns is None else time_ns - self.clock.ahead_ns

    def time_ns(self, frame: Frame) -> int:
        """When the engine began to offer a frame's batch, by this process's clock.

        Unlike ``frame.timestamp``, it does not change when the wall clock is set.
        """
        return self.by_this_clock(frame.timestamp)

    def by_this_clock(self, timestamp: int) -> int:
        """Return a frame's timestamp as this process's CLOCK_MONOTONIC, in ns."""
        return timestamp - self.clock.to_wall_ns - self.clock.ahead_ns

    def ends_ns(self) -> int:
        """The latest time at which the engine ends the session, by this process's clock."""
        longest = self.registry.info.max_duration_ns
        # A session that was opened in the future was opened by another clock.
        opened_ns = min(self.row.opened_ns - self.clock.ahead_ns, monotonic_ns())
        return opened_ns + min(self.row.duration_ns or longest, longest)

    def ended_by(self) -> EndedBy | None:
        """Why no more frames will come, or None.

        A look into the ring after this call finds every frame that was written before the end.
        Raises BufferLimit and RingCorrupt if the engine refused the session.
        """
        alive = self.registry.engine_is_alive()  # asked first: after its death no word changes
        ended = self.reader.ended()
        if ended:
            return _REASONS.get(ended, EndedBy.CLOSED)
        if self.registry.engine_has_closed():
            if publish_barrier is not None:
                publish_barrier()
            return EndedBy.ENGINE_EXIT
        if not alive:
            self._dead = True
            return EndedBy.ENGINE_DEATH
        return EndedBy.CLOSED if self._was_closed_unseen() else None

    def ledger(self) -> Ledger:
        """The account of this ring; after ``settle``, the final one."""
        if self._final is not None:
            return self._final
        ledger = self.reader.account.ledger()
        if not self._dead:
            return ledger
        # A killed engine may have counted a frame that it never published.
        with suppress(RingCorrupt):
            return ledger.with_captured(self.reader.published())
        return ledger

    def settle(self) -> None:
        """Make the account final, if the session ends with this consumer; count the last gap.

        It is not noted in the ring, in which frames from before it may be unread.
        """
        if self.owned and self._final is None:
            self._final = self.ledger()

    def gaps(self) -> int:
        """Return at how many places events are missing."""
        known = self._known_missing() - self._missed_in_past()
        return self.reader.gaps + (known > self.reader.missed)

    def final_gap(self) -> Frame | None:
        """Return a frame without events that says what no other one has told of; or None."""
        missed = self._known_missing() - self._missed_before - self.told
        if missed <= 0:
            return None
        return Frame(b"", 0, time.time_ns(), missed, self.origin, self.kind_left)

    def _known_missing(self) -> int:
        """Events that are missing up to the end, if that is known; else up to what was released."""
        lost = 0 if self._final is None else self._final.lost
        return max(self.reader.missed, 0 if lost >> 63 else lost) + self._missed_in_past()

    def _missed_in_past(self) -> int:
        return 0 if self.past is None else self.past.past_missed

    def look_into_past(self) -> None:
        """Copy the lane's recording, if it is to be read: the engine has taken the session up."""
        if self.past is not None:
            self.past.look()

    @property
    def is_in_past(self) -> bool:
        """Whether the last frame came out of the recording, and so is not in the ring."""
        return self.past is not None and self.past.is_past

    def recorded(self) -> int:
        """Return how many events came out of the recording and were not in the ring, too."""
        return 0 if self.past is None else self.past.recorded

    def found_in_past(self) -> LanePast | None:
        """Return what the lane's recording held, if it was asked for and has been copied."""
        return self.no_past if self.past is None else self.past.found

    def detach(self) -> None:
        """In a forked child: unmap and close everything, but free and unlock nothing."""
        self.reader.close()
        self._segment.detach()
        self.registry.detach()

    def free(self) -> None:
        """Free the row if it is ours, and unlock it; of a dead engine, remove the whole lane.

        Everything stays mapped. Does nothing once this is closed.
        """
        registry = self.registry
        if not registry.segment.is_open:
            return
        if self.owned:
            registry.table.free(self.row, CLOSE_TIMEOUT_S)
        registry.table.unlock_reader(self.row)
        if not registry.engine_is_alive():  # asked last: it may leave this to us as it exits
            with suppress(TapError):  # this process may not open another file to look
                sweep_lane(registry.info.engine, registry.info.lane)

    def end(self) -> None:
        """End the session, whoever owns it, and close what is still open."""
        registry, info = self.registry, self.registry.info
        if registry.segment.is_open:
            registry.table.free(self.row, CLOSE_TIMEOUT_S)
        elif not self.owned:
            with suppress(TapError), Registry.attach(info.engine, info.lane, patience_s=0.0) as it:
                it.table.free(self.row, CLOSE_TIMEOUT_S)
        self.close()

    def close(self) -> None:
        """Free what ``free`` frees, then unmap and close everything."""
        do_all([self.free, self.reader.close, self._segment.close, self.registry.close])

    def _open_ring(self) -> Segment:
        registry, row = self.registry, self.row
        try:
            return Segment.attach(registry.info.segment_name(row.id))
        except FileNotFoundError:
            if registry.engine_has_closed() or not registry.segment.is_linked():
                raise EngineNotFound(f"the engine {registry.address} has just ended") from None
            self._raise_if_refused()  # then the engine has removed its ring
            session = f"session {registry.address}:{row.id}"
            if not registry.table.is_open(row):
                raise SessionNotFound(f"{session} has just ended") from None
            raise RingCorrupt(f"the ring of {session} is missing") from None

    def _recording(self) -> Recording | None:
        """Open what the lane has recorded of this stage; None if it has not, see ``no_past``."""
        engine, lane, stage = self.origin.engine, self.origin.lane, self.origin.stage
        try:
            return Recording.attach(recording_name(engine, lane, stage))
        except EngineNotFound:
            problem = f"{self.registry.address} does not record {stage}"
        except TapError as error:
            problem = str(error)
        self.no_past = LanePast(engine=engine, lane=lane, stage=stage, problem=problem)
        return None

    def _map(self, make: Callable[..., AnyReader]) -> AnyReader:
        registry, row, segment = self.registry, self.row, self._segment
        ring = map_ring(segment, row, registry.segment.owner, writable=False)
        page = segment.map(layout.CONSUMER_PAGE, layout.PAGE, writable=True)
        segment.close_descriptor()
        return make(
            Buffers(producer_words(ring), consumer_words(page, 0), ring),
            Shape(row.slots, row.slot_bytes, row.stage, self.kind.code, self.kind),
            publish_barrier,
            origin=self.origin,
            to_wall_ns=self.clock.to_wall_ns,
        )

    def _was_closed_unseen(self) -> bool:
        """Whether the session was closed before its engine saw it, so that the engine won't end it.

        Raises BufferLimit and RingCorrupt if the engine refused it instead.
        """
        is_open = self.registry.table.is_open(self.row)  # first: the engine may answer meanwhile
        return self._raise_if_refused() == Verdict.NONE and not is_open

    def _raise_if_refused(self) -> int:
        """Return the engine's verdict. Raises BufferLimit and RingCorrupt for a refusal."""
        verdict = self.registry.verdict_on(self.row.index, self.row.id)
        if verdict == Verdict.TOO_LARGE:
            raise BufferLimit(
                f"the engine {self.registry.address} refused a ring of "
                f"{size_in_words(self.row.slots * self.row.slot_bytes)}; its limit is "
                f"{size_in_words(self.registry.info.max_buffer_bytes)} (max_buffer_bytes)"
            )
        if verdict == Verdict.UNUSABLE:
            raise RingCorrupt(
                f"the engine {self.registry.address} could not use the ring of session "
                f"{self.row.id}; its standard error says why"
            )
        if verdict not in (Verdict.NONE, Verdict.ACCEPTED):
            raise RingCorrupt(
                f"the engine {self.registry.address} refused session {self.row.id} for a reason "
                f"that this tapring does not know ({verdict}); use the engine's tapring"
            )
        return verdict


def kind_of(registry: Registry, stage: int) -> Kind:
    """What a stage of a lane carries. Raises RingCorrupt if the lane says what cannot be."""
    try:
        described = registry.info.stages[stage]
        return kind_from(described.kind, described.dtype)
    except (IndexError, ValueError) as error:
        raise RingCorrupt(f"stage {stage} of {registry.address}: {error}") from None
