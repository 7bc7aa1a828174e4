"""One round: makes a plan happen, ends it, and checks what it has left.

``Field`` is where the soak plays: the veteran engine, which outlives rounds, and the totals.
"""

from __future__ import annotations

import heapq
import itertools
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

import tapring
from tapring.housekeeping import Removed, sweep
from tapring.ledger import consumer_words, producer_words, read_ledger
from tapring.memory import DIRECTORY, names

from . import consumer, engine, evidence, processes, witness
from .accountant import Difference, Totals, check
from .plan import VETERAN, Plan, Reading, Step, draw, veteran
from .processes import Child, Hung, wait_for, wait_for_end

ROUNDS_OF_A_VETERAN: Final = 20
GROWTH_BYTES: Final = 8 << 20
# /dev/shm is really filled only where it is small, a container's or our own; elsewhere that would
# take the machine's memory, and a limit on the size of files takes its place.
SMALL_BYTES: Final = 256 << 20
_SMALL_FILE_BYTES: Final = 128 << 10  # engines' logs stay below


class Counts(msgspec.Struct):
    """What the soak has done so far."""

    rounds: int = 0
    consumers: int = 0
    consumer_kills: int = 0
    engine_kills: int = 0  # workers too
    stops: int = 0
    forks: int = 0
    shortages: int = 0
    refused: int = 0
    growth_bytes: int = 0


class Engine:
    """An engine of a round: one name, the processes that bear it, and where they write."""

    def __init__(self, name: str, orders: engine.EngineOrders, place: Path) -> None:
        self.name = name
        self.orders = orders
        self.place = place
        self.children: list[Child] = []
        self.killed: set[int] = set()
        self.starved = False
        self.memory: dict[int, int] = {}  # of a lane, when it was first measured
        place.mkdir(parents=True)
        self.control = witness.shared_words(place / f"{name}.control")

    def start(self) -> None:
        """Start one more process of it."""
        self.children.append(
            processes.start(self.place, engine.run, self.name, self.orders, self.place)
        )

    def living(self) -> list[Child]:
        """Its processes that run, workers apart, the oldest first."""
        for child in self.children:
            processes.reap(child)
        return [child for child in self.children if child.status is None]

    def lanes(self) -> list[evidence.Lane]:
        """What its processes have written down."""
        return evidence.lanes(self.place)

    def living_lanes(self) -> list[evidence.Lane]:
        """Lanes whose processes run; workers too."""
        return [lane for lane in self.lanes() if _runs(lane.pid)]


class Played:
    """A consumer that was started."""

    def __init__(self, reading: Reading, address: str, child: Child) -> None:
        self.reading = reading
        self.address = address
        self.child = child


class Field:
    """Where rounds are played."""

    def __init__(self, seed: str, place: Path) -> None:
        self.seed = seed
        self.place = place
        self.prefix = f"t-{os.getpid()}-"
        self.number = 0
        self.counts = Counts()
        self.totals = Totals()
        self.veteran: Engine | None = None
        self._veterans = itertools.count()

    def play(self, number: int) -> None:
        """Play round ``number``. Raises Difference or Hung."""
        if self.veteran is None:
            name = f"{self.prefix}v{next(self._veterans)}"
            self.veteran = Engine(name, veteran(f"{self.seed}/{name[-1]}"), self.place / name)
            self.veteran.start()
        self.number = number
        plan = draw(self.seed, number)
        place = self.place / f"round-{number}"
        Round(self, plan, f"{self.prefix}{number}-", place, self.veteran).play()
        shutil.rmtree(place)
        self.counts.rounds += 1
        if self.counts.rounds % ROUNDS_OF_A_VETERAN == 0:
            self.retire()

    def retire(self) -> None:
        """End the veteran: it must go as it came."""
        if self.veteran is None:
            return
        old, self.veteran = self.veteran, None
        old.control[witness.STOP] = 1
        wait_for_end(old.children[0], old.name)
        _check_end(old.children[0], (0,), old.name)
        left = names(f"tapring.{old.name}.")
        if left:
            raise Difference(f"{old.name} has closed and left {left}")
        shutil.rmtree(old.place)

    def clean(self) -> None:
        """Leave nothing, whatever happened."""
        for pid in processes.children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(Hung):
            wait_for(lambda: not [p for p in processes.children() if _still(p)], "the end")
        for path in Path(DIRECTORY).glob(f"*.{self.prefix}*"):
            path.unlink(missing_ok=True)


class Round:
    """One round."""

    def __init__(self, field: Field, plan: Plan, prefix: str, place: Path, old: Engine) -> None:
        self.field = field
        self.counts = field.counts
        self.plan = plan
        self.place = place
        self.engines = {
            name: Engine(prefix + name, orders, place / name)
            for name, orders in plan.engines.items()
        }
        self.engines[VETERAN] = old
        old.starved = False
        self.consumers: dict[str, Played] = {}
        self.ballast: Path | None = None
        self.filled = False
        self.removed: list[Removed] = []
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []

    def play(self) -> None:
        """All of it."""
        self._act()
        self._heal()
        self._end_consumers()
        self._check_quiet()
        self._end_engines()
        self._check_names()
        self._account()

    # ---- the plan ------------------------------------------------------------------------

    def _act(self) -> None:
        started = time.monotonic()
        for step in self.plan.steps:
            self._later(step.at_s, lambda step=step: self._do(step, started))
        while self._agenda:
            at_s, _, act = heapq.heappop(self._agenda)
            time.sleep(max(0.0, started + at_s - time.monotonic()))
            act()

    def _later(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at_s, next(self._order), act))

    def _do(self, step: Step, started: float) -> None:
        undo = self._verb(step)
        if undo is not None:
            self._later(time.monotonic() - started + step.for_s, undo)

    def _verb(self, step: Step) -> Callable[[], None] | None:
        """Do one thing; return what ends it."""
        verb, who = step.verb, step.who
        if verb == "engine":
            self.engines[who].start()
        elif verb == "consumer":
            self._start_consumer(who)
        elif verb == "kill":
            self._kill(who)
            if step.other:
                self._kill(step.other)
        elif verb == "kill-worker":
            self._kill_worker(self.engines[who])
        elif verb == "stop":
            return self._stop(who)
        elif verb == "fork":
            self.engines[who].control[witness.FORKS] += 1
            self.counts.forks += 1
        elif verb == "register":
            self.engines[who].control[witness.REGISTERS] += 1
        elif verb == "fill":
            return self._fill(step.number)
        else:
            return self._starve(self.engines[who], verb)
        return None

    def _child(self, who: str) -> Child | None:
        if who in self.engines:
            living = self.engines[who].living()
            return living[0] if living else None
        return self.consumers[who].child if who in self.consumers else None

    def _kill(self, who: str) -> None:
        child = self._child(who)
        if child is not None and child.signal(signal.SIGKILL):
            if who in self.engines:
                self.engines[who].killed.add(child.pid)
                self.counts.engine_kills += 1
            else:
                self.counts.consumer_kills += 1

    def _kill_worker(self, target: Engine) -> None:
        own = {child.pid for child in target.children}
        for lane in target.living_lanes():
            if lane.pid not in own and _parent(lane.pid) in own | {os.getpid()}:
                os.kill(lane.pid, signal.SIGKILL)
                target.killed.add(lane.pid)
                self.counts.engine_kills += 1
                return

    def _stop(self, who: str) -> Callable[[], None] | None:
        child = self._child(who)
        if child is None or not child.signal(signal.SIGSTOP):
            return None
        self.counts.stops += 1
        return lambda: child.signal(signal.SIGCONT) and None

    def _fill(self, left: int) -> Callable[[], None]:
        """Leave ``left`` bytes of /dev/shm."""
        self.counts.shortages += 1
        self.filled = True
        for each in self.engines.values():
            each.starved = True
        status = os.statvfs(DIRECTORY)
        if status.f_blocks * status.f_frsize > SMALL_BYTES:
            lifts = [self._starve(each, "small-files") for each in self.engines.values()]
            return lambda: [lift() for lift in lifts] and None
        self.ballast = Path(DIRECTORY, f"held-ballast.{self.field.prefix}")
        with self.ballast.open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - left)
        return self._unfill

    def _unfill(self) -> None:
        if self.ballast is not None:
            self.ballast.unlink(missing_ok=True)

    def _starve(self, target: Engine, verb: str) -> Callable[[], None]:
        self.counts.shortages += 1
        target.starved = True
        pids = [child.pid for child in target.living()]
        what = resource.RLIMIT_NOFILE if verb == "few-files" else resource.RLIMIT_FSIZE
        for pid in pids:
            few = _highest_descriptor(pid) + 1
            processes.limit(pid, what, few if verb == "few-files" else _SMALL_FILE_BYTES)
        return lambda: [processes.limit(pid, what, None) for pid in pids if _runs(pid)] and None

    # ---- consumers -----------------------------------------------------------------------

    def _start_consumer(self, name: str) -> None:
        reading = self.plan.consumers[name]
        address = self._address(reading)
        if address is not None:
            child = processes.start(self.place, consumer.run, reading.orders, address, self.place)
            self.consumers[name] = Played(reading, address, child)
            self.counts.consumers += 1

    def _address(self, reading: Reading) -> str | None:
        """What a consumer reads; None where there is no such session."""
        target = self.engines[reading.engine]
        if reading.after:
            return self._address_after(target, reading.after)
        if reading.handle is None:
            return target.name
        handles = [(lane.lane, number) for lane in target.living_lanes() for number in lane.handles]
        if not handles:
            return None
        lane, number = handles[-1 - reading.handle % len(handles)]
        return f"{target.name}.{lane}:{number}"

    def _address_after(self, target: Engine, predecessor: str) -> str | None:
        played = self.consumers.get(predecessor)
        if played is None:
            return None
        if ":" in played.address:
            return played.address
        made = self._evidence(predecessor, played).made
        return f"{target.name}.{made[0][0]}:{made[0][1]}" if made else None

    def _evidence(self, name: str, played: Played) -> evidence.Consumer:
        return evidence.consumer(
            name, played.reading, played.child.killed, self.place, played.child.pid
        )

    # ---- the end -------------------------------------------------------------------------

    def _heal(self) -> None:
        self._unfill()
        for each in self.engines.values():
            for child in each.living():
                child.signal(signal.SIGCONT)
                for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
                    processes.limit(child.pid, what, None)
        for played in self.consumers.values():
            played.child.signal(signal.SIGCONT)

    def _end_consumers(self) -> None:
        for played in self.consumers.values():
            played.child.signal(signal.SIGTERM)
        for name, played in self.consumers.items():
            child = played.child
            wait_for_end(child, f"consumer {name}")
            if child.status == -signal.SIGTERM:  # it had not yet set a handler
                child.killed = True
            elif child.status != -signal.SIGKILL:
                child.killed = False  # it ended just before
            command = played.reading.orders.way == "command"
            _check_end(child, (0, 3, 4) if command else (0,), name, quiet=not command)

    def _check_quiet(self) -> None:
        """Without sessions, engines are as they were: no mapping, no descriptor, no memory more."""
        for each in self.engines.values():
            each.control[witness.CLOSE] = 1
        for each in self.engines.values():
            wait_for(
                lambda each=each: self._is_quiet(each), f"{each.name} to let all sessions go", 0.01
            )
            for lane in each.living_lanes():
                self._check_process(each, lane)

    def _is_quiet(self, target: Engine) -> bool:
        lanes = target.living_lanes()
        for child in target.living():
            said = [each["what"] for each in witness.records(target.place / f"{child.pid}.lane")]
            if not said:
                return False  # it has not yet made its tap
            if said[0] == "inert" and not target.starved:
                raise Difference(f"{target.name} is inert: {said}")
        for info in tapring.engines(target.name):
            for session in info.sessions:
                if session.owner == "kept":
                    with suppress(tapring.TapError):
                        tapring.close_session(f"{info.name}.{info.lane}:{session.id}")
        self.removed += sweep(target.name)
        return all(_is_idle(target, lane) for lane in lanes)

    def _check_process(self, target: Engine, lane: evidence.Lane) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):  # a worker that has just ended
            memory = processes.memory_bytes(lane.pid)
            before = target.memory.setdefault(lane.pid, lane.memory)
            if target is self.engines[VETERAN] and before == lane.memory:
                target.memory[lane.pid] = before = memory  # after its first round
            growth = memory - before
            self.counts.growth_bytes = max(self.counts.growth_bytes, growth)
            if growth > GROWTH_BYTES:
                raise Difference(f"{target.name}: {growth} bytes more memory than at first")
        faults = lane.words[witness.FAULTS]
        if faults and not target.starved and target is not self.engines[VETERAN]:
            raise Difference(f"{target.name}.{lane.lane}: {faults} faults")

    def _end_engines(self) -> None:
        for name, each in self.engines.items():
            if name == VETERAN:
                each.control[witness.CLOSE] = 0
                continue
            each.control[witness.STOP] = 1
            for child in each.children:
                wait_for_end(child, each.name)
                if child.status != -signal.SIGKILL:
                    each.killed.discard(child.pid)
                _check_end(child, (0,), each.name)
        mine = {child.pid for child in self.engines[VETERAN].children}
        wait_for(
            lambda: not [p for p in processes.children() if p not in mine and _still(p)],
            "orphaned workers to end",
        )

    def _check_names(self) -> None:
        """Nothing is left in /dev/shm but the registry of the engine that lives on."""
        for name, each in self.engines.items():
            self.removed += sweep(each.name)
            left = [found for found in names(f"tapring.{each.name}.") if found.count(".") > 2]
            if name != VETERAN:
                left = names(f"tapring.{each.name}.")
            if left:
                raise Difference(f"left in /dev/shm after a sweep: {left}")

    # ---- the account ---------------------------------------------------------------------

    def _account(self) -> None:
        found = [self._evidence(name, played) for name, played in self.consumers.items()]
        for each in self.engines.values():
            lanes = {lane.lane: lane for lane in each.lanes()}
            mine = [one for one in found if self.engines[one.reading.engine] is each]
            rings = {(lane, number): path for lane, number, path in witness.held_rings(each.name)}
            for one in mine:
                self._check_consumer(each, lanes, one)
            for key, ring in self._read_rings(rings):
                self._check_session(each, lanes, mine, key, ring)
            self._check_removed(each, lanes, rings)
            for path in rings.values():
                path.unlink()

    def _read_rings(
        self, rings: dict[tuple[str, int], Path]
    ) -> Iterator[tuple[tuple[str, int], bytes]]:
        for key, path in rings.items():
            yield key, path.read_bytes()

    def _check_session(
        self,
        target: Engine,
        lanes: dict[str, evidence.Lane],
        consumers: list[evidence.Consumer],
        key: tuple[str, int],
        ring: bytes,
    ) -> None:
        lane = lanes.get(key[0])
        mine = [
            part
            for one in consumers
            for lane_id, number, part in evidence.parts(one, target.orders.batch)
            if (lane_id, number) == key
        ]
        name = f"{target.name}.{key[0]}:{key[1]}"
        self.field.totals.add(check(name, key[1], ring, lane, mine))

    def _check_consumer(
        self, target: Engine, lanes: dict[str, evidence.Lane], one: evidence.Consumer
    ) -> None:
        """How a consumer ended, and its own account."""
        if one.failure is not None:
            self.counts.refused += 1
            _check_failure(one, target, self.filled)
        if one.end is None:
            return
        stats, by = one.end["stats"], one.end["by"]
        parts = stats["delivered"] + stats["unread"]
        lost = stats["dropped"] + stats["oversize"] + stats["errors"]
        if stats["offered"] != parts + lost or stats["captured"] != parts or stats["split"]:
            raise Difference(f"{one.name}: its account does not close: {stats}")
        mine = [part for _, _, part in evidence.parts(one, target.orders.batch)]
        before = sum(part.start.released - part.start.abandoned for part in mine)
        logged = sum(part.logged for part in mine)
        if all(part.clean for part in mine) and stats["delivered"] != before + logged:
            raise Difference(
                f"{one.name}: {logged} events were handed to it after {before}, it counts {stats}"
            )
        dead = [lane for lane, _ in _sessions(one) if lane not in lanes or not lanes[lane].end]
        if by == "evicted" or (by == "engine-death" and not dead):
            raise Difference(f"{one.name} ended by {by} on lanes {_sessions(one)}, dead: {dead}")

    def _check_removed(
        self,
        target: Engine,
        lanes: dict[str, evidence.Lane],
        rings: dict[tuple[str, int], Path],
    ) -> None:
        """What sweeping removed is what kills have left, with the account that its ring has."""
        for each in self.removed:
            _, name, lane_id, *session = each.name.split(".")
            if name != target.name:
                continue
            lane = lanes.get(lane_id)
            if each.reason == "its engine has died":
                if lane is not None and lane.end is not None:
                    raise Difference(f"{each} was removed, and its engine has closed it")
                ring = rings.get((lane_id, int(session[0]))) if session else None
                if ring is not None and each.account != _account_of(ring):
                    raise Difference(f"{each} was removed; its ring says {_account_of(ring)}")
        dead = sum(
            each.reason == "its consumer has died" and f".{target.name}." in each.name
            for each in self.removed
        )
        killed = sum(
            self.engines[played.reading.engine] is target and played.child.killed
            for played in self.consumers.values()
        )
        # A consumer has a session on each lane.
        if dead > killed * max(1, len(lanes)):
            raise Difference(f"{dead} sessions of {killed} killed consumers: {self.removed}")


def _check_end(child: Child, codes: tuple[int, ...], who: str, *, quiet: bool = True) -> None:
    if child.killed:
        return
    said = child.errors.read_text() if child.errors.exists() else ""
    if child.status not in codes or (said and (quiet or "Traceback" in said)):
        raise Difference(f"{who} (process {child.pid}) ended with {child.status}:\n{said}")


_ALWAYS: Final = ("EngineNotFound", "SessionNotFound", "SessionLimit", "SessionBusy")
_SAID: Final = (
    "no engine called",
    "has no lane",
    "has no session",
    "has just closed",
    "sessions already",
    "is held by another process",
    "(any more)",
)


def _check_failure(one: evidence.Consumer, target: Engine, filled: bool) -> None:
    """A consumer may be refused, for a reason that is true."""
    assert one.failure is not None
    error, message = one.failure["error"], one.failure["message"]
    orders = one.reading.orders
    poor = target.starved or filled or orders.descriptors is not None or orders.file_bytes
    short = orders.duration is not None and orders.duration > target.orders.max_duration
    if (
        error in _ALWAYS
        or (not error and any(text in message for text in _SAID))
        or (poor and (error == "SharedMemoryFull" or "could not use the ring" in message))
        or (poor and "cannot be" in message)
        or (short and "allows a session" in message)
        or (not error and message.startswith("tapring:") and "error" not in message)
    ):
        return
    raise Difference(f"{one.name} was refused by {target.name}: {error}: {message}\n  {orders}")


def _sessions(one: evidence.Consumer) -> list[tuple[str, int]]:
    if one.open is None:
        return one.made
    return [(session["lane"], session["id"]) for session in one.open["sessions"]]


def _account_of(ring: Path) -> object:
    with memoryview(ring.read_bytes()) as data:
        return read_ledger(producer_words(data.obj), consumer_words(data.obj))


def _is_idle(target: Engine, lane: evidence.Lane) -> bool:
    """Whether a lane has no session any more, and as many files open as at first.

    Its rings may go a little later: where somebody holds the table, it frees rows some batches on.
    """
    try:
        return (
            lane.words[witness.HEARD] == 1
            and lane.words[witness.ACTIVE] == 0
            and processes.descriptors(lane.pid) == lane.descriptors
            and not names(f"tapring.{target.name}.{lane.lane}.")
        )
    except (FileNotFoundError, ProcessLookupError):
        return True


def _highest_descriptor(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        return max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
    return 64


def _stat(pid: int) -> list[str]:
    """State, parent and more of a process; [] where there is none."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _runs(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def _parent(pid: int) -> int:
    stat = _stat(pid)
    return int(stat[1]) if stat else 0


def _still(pid: int) -> bool:
    """Whether a child of ours still runs; one that has ended is buried."""
    return processes.reap_orphan(pid) is None
