"""The checks after a round, besides the ledgers: processes, names, endings, sweeps.

Every function raises Difference if something is not as it must be.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

import tapring
from tapring.shm.names import parse_recording_name
from tapring.shm.requests import request_names
from tapring.shm.segment import DIRECTORY, names
from tapring.shm.sweep import Removed, sweep
from tapring.wire.geometry import consumer_words, producer_words
from tapring.wire.ledger import Account

from . import evidence, processes, witness
from .accountant import Difference, Totals, check
from .besieged import SiegeOrders
from .players import Consumer, Engine
from .processes import Child

GROWTH_BYTES: Final = 8 << 20
_MAY_ALWAYS_BE: Final = ("EngineNotFound", "SessionNotFound", "SessionLimit", "SessionBusy")
_COMMANDS_SAY: Final = (  # the same errors, as commands word them
    "no engine called",
    "has no lane",
    "has no session",
    "has just closed",
    "has just ended",
    "(any more)",
    "as many as it allows",
    "is held by another process",
)
# An engine that cannot map a ring refuses the session, and may have removed it before its consumer
# has looked for the answer.
_OF_THE_POOR: Final = ("cannot be", "cannot reserve", "could not use the ring", "is missing")


# ---- processes ---------------------------------------------------------------------------


def check_end(child: Child, codes: tuple[int, ...], who: str, *, quiet: bool = True) -> None:
    """Check that a process that was not killed ended with one of ``codes`` and printed no error."""
    if child.killed:
        return
    said = child.errors.read_text() if child.errors.exists() else ""
    if child.status not in codes or (said and (quiet or "Traceback" in said)):
        raise Difference(f"{who} (process {child.pid}) ended with {child.status}:\n{said}")


def is_quiet(engine: Engine, removed: list[Removed]) -> bool:
    """Whether all sessions of ``engine`` are gone; ends kept ones, sweeps those of the dead.

    Then each of its processes has as many files open as at first. Rings may go a little later:
    while another process holds the table, an engine frees its rows some batches later.
    """
    for child in engine.living():
        said = [each["what"] for each in witness.records(engine.place / f"{child.pid}.lane")]
        if not said:
            return False  # it has not made its tap yet
        if said[0] == "inert" and not engine.starved:
            raise Difference(f"{engine.name} is inert, and was short of nothing")
    for info in tapring.engines(engine.name):
        for session in info.sessions:
            if session.owner == "kept":
                with suppress(tapring.TapError):
                    tapring.close_session(f"{info.name}.{info.lane}:{session.id}")
    removed += sweep(engine.name)
    return all(_is_idle(engine, lane) for lane in engine.living_lanes())


def what_is_left(engine: Engine) -> list[str]:
    """What keeps each living lane of ``engine`` from being idle."""
    return [
        f"{lane.lane}: heard {lane.words[witness.HEARD]}, {lane.words[witness.ACTIVE]} sessions, "
        f"{processes.descriptors(lane.pid)} descriptors (at first {lane.descriptors}), "
        f"{names(f'tapring.{engine.name}.{lane.lane}')}"
        for lane in engine.living_lanes()
    ]


def growth(engine: Engine) -> int:
    """By how many bytes the processes of ``engine`` grew; also check that they had no faults.

    Measured from when each first had no sessions: at its start, or, if it outlives its first
    round, at the end of that.
    """
    most = 0
    for lane in engine.living_lanes():
        with suppress(FileNotFoundError, ProcessLookupError):  # a worker that has just ended
            memory = processes.memory_bytes(lane.pid)
            grown = memory - engine.memory.get(lane.pid, lane.memory)
            most = max(most, grown)
            engine.memory.setdefault(lane.pid, memory)
            if grown > GROWTH_BYTES:
                raise Difference(f"{engine.name}: {grown} bytes more memory than at first")
        faults = lane.words[witness.FAULTS]
        if faults > engine.faults.get(lane.pid, 0) and not engine.starved:
            raise Difference(f"{engine.name}.{lane.lane}: {faults} faults")
        engine.faults[lane.pid] = faults
    return most


def _is_idle(engine: Engine, lane: evidence.Lane) -> bool:
    try:
        if lane.blind:  # nothing that others do reaches it any more
            return lane.words[witness.HEARD] == 1
        return (
            lane.words[witness.HEARD] == 1
            and lane.words[witness.ACTIVE] == 0
            and 0 <= processes.descriptors(lane.pid) - lane.descriptors <= engine.losses
            and not without_recordings(names(f"tapring.{engine.name}.{lane.lane}."))
        )
    except (FileNotFoundError, ProcessLookupError):
        return True  # a worker that has just ended


def ordeals_met(engine: Engine, lane: evidence.Lane) -> dict[str, int]:
    """How often a besieged engine met each of its ordeals; also check that nothing came of them.

    If it was not killed, it has met everything that was planned.
    """
    orders, endured = engine.orders, lane.endured
    if not isinstance(orders, SiegeOrders) or (endured is None and lane.end is None):
        return {}
    met: dict[str, int] = endured["met"] if endured else {}
    never = sorted({each for group in orders.groups for each in group if not met.get(each)})
    if never:
        raise Difference(f"{engine.name} never met {', '.join(never)}: {endured}")
    if endured is None or endured["swallowed"] or endured["wrong"]:
        raise Difference(f"{engine.name} lost exceptions or files: {endured}")
    return met


# ---- /dev/shm ---------------------------------------------------------------------------


def without_recordings(found: Collection[str]) -> list[str]:
    """These names without those of recordings, which outlive their lanes."""
    return [name for name in found if parse_recording_name(name) is None]


def check_nothing_is_left(engine: str, registries: Collection[str] = ()) -> None:
    """Check that after a sweep only these registries of ``engine`` are left, and no request."""
    ours = without_recordings(names(f"tapring.{engine}."))
    left = {*ours, *names(f"sem.tapring.{engine}.")} - {*registries}
    for request in request_names():
        with suppress(FileNotFoundError):
            if f'"{engine}"'.encode() in Path(DIRECTORY, request).read_bytes():
                left.add(request)
    if left:
        raise Difference(f"left in /dev/shm after a sweep: {left}")


# ---- the account of one engine in a round ------------------------------------------------


class Inspection:
    """One engine, the consumers that read it, and what a sweep removed of it."""

    def __init__(self, engine: Engine, consumers: list[Consumer], removed: list[Removed]) -> None:
        self._engine = engine
        self._lanes = {lane.lane: lane for lane in engine.lanes()}
        self._consumers = [consumer.evidence() for consumer in consumers]
        self._removed = [each for each in removed if f".{engine.name}." in each.name]
        self.met: dict[str, int] = {}  # how often each ordeal
        self._rings: dict[tuple[str, int], Path] = {}
        self._requested: dict[int, list[tuple[str, int]]] = {}
        for lane, session, request, path in witness.held_rings(engine.name):
            self._rings[lane, session] = path
            self._requested.setdefault(request, []).append((lane, session))
        self._parts: dict[str, list[tuple[str, evidence.Part]]] = {}  # of each consumer
        self._parts_of: dict[tuple[str, int], list[evidence.Part]] = {}  # of each session
        for one in self._consumers:
            mine = self._parts.setdefault(one.name, [])
            for lane, session, part in evidence.parts(one, engine.orders.batch, self._requested):
                mine.append((lane, part))
                self._parts_of.setdefault((lane, session), []).append(part)

    def check(self) -> Totals:
        """Check everything, then close the rings."""
        totals = Totals()
        for one in self._consumers:
            self._check_consumer(one)
        self._check_lanes()
        for key in self._rings:
            totals.add(self._check_session(key))
        self._check_removed()
        for path in self._rings.values():
            path.unlink()
        return totals

    def refused(self) -> int:
        """The consumers that were refused, or whose reading was cut short."""
        return sum(one.failure is not None for one in self._consumers)

    def _check_lanes(self) -> None:
        """Check that every session was accounted for and every process ended as it should."""
        for lane in self._lanes.values():
            sessions = {(lane.lane, number) for number in lane.ups} - self._engine.accounted
            if not sessions <= self._rings.keys():
                raise Difference(f"no process kept the rings of {sessions - self._rings.keys()}")
            for pid, status in lane.workers.items():
                if status and pid not in self._engine.killed_workers:
                    raise Difference(f"{self._engine.name}: worker {pid} ended with {status}")
            for each, times in ordeals_met(self._engine, lane).items():
                self.met[each] = self.met.get(each, 0) + times
        self._engine.accounted |= self._rings.keys()

    def _check_session(self, key: tuple[str, int]) -> Totals:
        lane, number = key
        name, parts = f"{self._engine.name}.{lane}:{number}", self._parts_of.get(key, [])
        return check(name, number, self._rings[key].read_bytes(), self._lanes.get(lane), parts)

    def _check_consumer(self, one: evidence.Consumer) -> None:
        """Check how a consumer ended, and its own account."""
        if one.failure is not None:
            self._check_failure(one)
        if one.end is None:
            return
        stats, by = one.end["stats"], one.end["by"]
        captured = stats["delivered"] + stats["unread"]
        lost = stats["dropped"] + stats["oversize"] + stats["errors"]
        if stats["offered"] != captured + lost or stats["captured"] != captured or stats["split"]:
            what = f"its account does not close: {evidence.counts(stats)}"
            raise Difference(f"{one.name}: {what}")
        lanes = [lane for lane, _ in self._parts[one.name]]
        parts = [part for _, part in self._parts[one.name]]
        before = sum(part.start.released - part.start.abandoned for part in parts)
        logged = sum(part.logged for part in parts)
        if all(part.clean for part in parts) and stats["delivered"] != before + logged:
            given = f"{logged} events after {before}, not {evidence.counts(stats)}"
            raise Difference(f"{one.name} was given {given}")
        alive = all(
            lane in self._lanes and self._lanes[lane].end and not self._lanes[lane].blind
            for lane in lanes
        )
        if by == "evicted" or (by == "engine-death" and alive):
            raise Difference(f"{one.name} ended by {by} on lanes {lanes}, all of them closed")

    def _check_failure(self, one: evidence.Consumer) -> None:
        """Check that a consumer that was refused was given a true reason."""
        assert one.failure is not None
        error, message = one.failure["error"], one.failure["message"]
        orders = one.reading.orders
        poor = self._engine.starved or orders.descriptors is not None or orders.file_bytes
        short = orders.duration and orders.duration > self._engine.orders.max_duration
        if (
            error in _MAY_ALWAYS_BE
            or (not error and any(text in message for text in _COMMANDS_SAY))
            or (not error and message.startswith("tapring:") and "error" not in message)
            or (poor and error == "SharedMemoryFull")
            or (poor and any(text in message for text in _OF_THE_POOR))
            or (short and "a session cannot last" in message)
        ):
            return
        raise Difference(f"{one.name} met {error}: {message}\n  {orders}")

    def _check_removed(self) -> None:
        """Check that sweeps removed what kills left, and reported the account in its ring."""
        dead = 0
        opened = self._requested.items()
        awaited = {lane for request, each in opened if request for lane, _ in each}
        for each in self._removed:
            lane_id, *session = each.name.removeprefix("sem.").split(".")[2:]
            lane = self._lanes.get(lane_id)
            if each.reason == "its consumer has died":
                dead += 1
            elif each.reason == "its engine has died":
                closed = lane is not None and lane.end is not None and not lane.blind
                # One that has closed leaves to a consumer what it has opened for its request, and
                # to a sweep what the consumer has given back just now, or was killed before.
                if closed and lane_id not in awaited:
                    raise Difference(f"{each} was removed, and its engine has closed it")
                ring = self._rings.get((lane_id, int(session[0]))) if session else None
                if ring is not None and each.account != _account_of(ring):
                    raise Difference(f"{each} was removed; its ring says {_account_of(ring)}")
        kills = sum(one.killed for one in self._consumers)
        if dead > kills * max(1, len(self._lanes)):  # a consumer has a session on each lane
            raise Difference(f"{kills} consumers were killed and {dead} swept: {self._removed}")


def _account_of(ring: Path) -> object:
    data = bytearray(ring.read_bytes())
    return Account(producer_words(data), consumer_words(data)).ledger()
