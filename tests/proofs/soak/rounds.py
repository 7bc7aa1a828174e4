"""One round: carries out a plan, ends it, and starts the inspection of what it left."""

from __future__ import annotations

import heapq
import itertools
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from tapring.shm.segment import DIRECTORY
from tapring.shm.sweep import Removed, sweep

from . import inspection, processes, witness
from .accountant import Totals
from .plan import VETERAN, Plan, Reading, Step
from .players import Consumer, Engine
from .processes import Child, Hung, wait_for, wait_for_end
from .remains import Recorded, Remains, remove
from .turnover import Recycled

# /dev/shm is really filled only if it is small (a container's or our own). Otherwise that would use
# up the machine's memory, so a limit on the size of files takes its place.
_SMALL_BYTES: Final = 256 << 20
_SMALL_FILE_BYTES: Final = 128 << 10  # engines' logs stay below
# A sweep holds the session table, so an engine that wants to free a row just then does it later.
_QUIET_POLL_S: Final = 0.01


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
    recycled: Recycled = msgspec.field(default_factory=Recycled)
    recorded: Recorded = msgspec.field(default_factory=Recorded)
    met: dict[str, int] = {}  # how often each ordeal


def end_consumers(consumers: dict[str, Consumer]) -> None:
    """Wait for the end of consumers that were told to end, and check it."""
    for name, consumer in consumers.items():
        child = consumer.child
        wait_for_end(child, f"consumer {name}")
        # SIGTERM kills a process that has no handler yet; SIGKILL may have come too late.
        child.killed = child.status in (-signal.SIGTERM, -signal.SIGKILL)
        command = consumer.reading.orders.way == "command"
        inspection.check_end(child, (0, 3, 4) if command else (0,), name, quiet=not command)


class Round:
    """One round. ``old`` is the engine that lives through many rounds."""

    def __init__(self, plan: Plan, prefix: str, place: Path, old: Engine, counts: Counts) -> None:
        self._plan = plan
        self._prefix = prefix
        self._place = place
        self._old = old
        self._counts = counts
        self._mortals = {
            name: Engine(prefix + name, orders, place / name)
            for name, orders in plan.engines.items()
        }
        self._engines = {**self._mortals, VETERAN: old}
        self._consumers: dict[str, Consumer] = {}
        self._ballast = Path(DIRECTORY, f"held-ballast.{prefix}")
        self._removed: list[Removed] = []
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        old.starved = False

    def play(self) -> Totals:
        """Play the whole round. Raises Difference or Hung."""
        self._act()
        self._heal()
        for consumer in self._consumers.values():
            consumer.child.signal(signal.SIGTERM)
        end_consumers(self._consumers)
        self._check_quiet()
        self._end_engines()
        self._check_names()
        self._check_recorded()
        return self._inspect()

    # ---- the plan ------------------------------------------------------------------------

    def _act(self) -> None:
        started = time.monotonic()
        for step in self._plan.steps:
            self._later(step.at_s, partial(self._do, step, started))
        while self._agenda:
            at_s, _, act = heapq.heappop(self._agenda)
            time.sleep(max(0.0, started + at_s - time.monotonic()))
            act()

    def _later(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at_s, next(self._order), act))

    def _do(self, step: Step, started: float) -> None:
        """Do one thing; a later step ends it."""
        match step.verb:
            case "engine":
                self._engines[step.who].start()
            case "consumer":
                self._start_consumer(step.who)
            case "kill":
                self._kill(step.who)
                if step.other:
                    self._kill(step.other)
            case "kill-worker":
                self._kill_worker(self._engines[step.who])
            case "fork":
                self._engines[step.who].control[witness.FORKS] += 1
                self._counts.forks += 1
            case "dump":
                self._dump(self._engines[step.who])
            case "register":
                self._engines[step.who].control[witness.REGISTERS] += 1
            case fault:
                undo = self._fault(fault, step)
                self._later(time.monotonic() - started + step.for_s, undo)

    def _fault(self, fault: str, step: Step) -> Callable[[], None]:
        """Begin a fault that lasts for a while; return what ends it."""
        if fault == "stop":
            return self._stop(step.who)
        if fault == "fill":
            return self._fill(step.number)
        return self._starve([self._engines[step.who]], fault)

    def _child(self, who: str) -> Child | None:
        if who in self._engines:
            return next(iter(self._engines[who].living()), None)
        return self._consumers[who].child if who in self._consumers else None

    def _kill(self, who: str) -> None:
        child = self._child(who)
        if child is not None and child.signal(signal.SIGKILL):
            if who in self._engines:
                self._counts.engine_kills += 1
                wait_for_end(child, who)
                self._check_at_once(self._engines[who], child.pid)
            else:
                self._counts.consumer_kills += 1

    def _kill_worker(self, target: Engine) -> None:
        own = {child.pid for child in target.children}
        for lane in target.living_lanes():
            if lane.pid not in own and processes.parent(lane.pid) in own | {os.getpid()}:
                os.kill(lane.pid, signal.SIGKILL)
                target.killed_workers.add(lane.pid)
                self._counts.engine_kills += 1
                return

    def _stop(self, who: str) -> Callable[[], None]:
        child = self._child(who)
        if child is None or not child.signal(signal.SIGSTOP):
            return lambda: None
        self._counts.stops += 1
        return partial(child.signal, signal.SIGCONT)

    def _fill(self, left: int) -> Callable[[], None]:
        """Fill /dev/shm except for ``left`` bytes."""
        status = os.statvfs(DIRECTORY)
        if status.f_blocks * status.f_frsize > _SMALL_BYTES:
            return self._starve(list(self._engines.values()), "small-files")
        self._counts.shortages += 1
        for each in self._engines.values():
            each.starved = True
        with self._ballast.open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - left)
        return self._unfill

    def _unfill(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def _starve(self, targets: list[Engine], fault: str) -> Callable[[], None]:
        """Keep engines from opening more files, or from making larger ones."""
        self._counts.shortages += 1
        what = resource.RLIMIT_NOFILE if fault == "few-files" else resource.RLIMIT_FSIZE
        pids = [child.pid for target in targets for child in target.living()]
        for target in targets:
            target.starved = True
        for pid in pids:
            few = processes.highest_descriptor(pid) + 1
            processes.limit(pid, what, few if fault == "few-files" else _SMALL_FILE_BYTES)
        return partial(self._feed, pids)

    def _feed(self, pids: list[int]) -> None:
        for pid in filter(processes.runs, pids):
            processes.limit(pid, resource.RLIMIT_NOFILE, None)
            processes.limit(pid, resource.RLIMIT_FSIZE, None)

    # ---- consumers -----------------------------------------------------------------------

    def _start_consumer(self, name: str) -> None:
        reading = self._plan.consumers[name]
        address = self._address(reading)
        if address is not None:
            self._consumers[name] = Consumer(name, reading, address, self._place)
            self._counts.consumers += 1

    def _address(self, reading: Reading) -> str | None:
        """The address that a consumer reads; None if there is no such session."""
        target = self._engines[reading.engine]
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
        before = self._consumers.get(predecessor)
        if before is None or ":" in before.address:
            return before and before.address
        made = before.evidence().made
        return f"{target.name}.{made[0][0]}:{made[0][1]}" if made else None

    # ---- recordings ----------------------------------------------------------------------

    def _dump(self, target: Engine) -> None:
        """Read what an engine's recorders hold while it goes on."""
        remains = Remains(target.name, target.orders, poor=target.starved)
        remains.dump()
        self._counts.recorded.add(remains.found)

    def _check_at_once(self, target: Engine, pid: int) -> None:
        """Check what a process has recorded that was killed just now."""
        remains = Remains(target.name, target.orders, poor=target.starved)
        remains.check([lane for lane in target.lanes() if lane.pid == pid])
        self._counts.recorded.at_once += remains.found.lanes

    def _check_recorded(self) -> None:
        """Check what all dead lanes have recorded, then remove it."""
        for each in self._mortals.values():
            remains = Remains(each.name, each.orders, poor=each.starved)
            remains.check(each.lanes())
            remove(each.name)
            self._counts.recorded.add(remains.found)

    # ---- the end -------------------------------------------------------------------------

    def _heal(self) -> None:
        """End every fault once more, to be sure that nothing stays stopped, starved or filled."""
        self._unfill()
        for each in self._engines.values():
            self._feed([child.pid for child in each.living()])
            for child in each.living():
                child.signal(signal.SIGCONT)
        for consumer in self._consumers.values():
            consumer.child.signal(signal.SIGCONT)

    def _check_quiet(self) -> None:
        """Check that engines without sessions need no more than at their start."""
        for each in self._engines.values():
            each.control[witness.CLOSE] = 1
        for each in self._engines.values():
            is_quiet = partial(inspection.is_quiet, each, self._removed)
            try:
                wait_for(is_quiet, f"{each.name} to let all sessions go", _QUIET_POLL_S)
            except Hung as hung:
                raise Hung(f"{hung}; {inspection.what_is_left(each)}") from None
            self._counts.growth_bytes = max(self._counts.growth_bytes, inspection.growth(each))
        self._old.control[witness.CLOSE] = 0

    def _end_engines(self) -> None:
        for each in self._mortals.values():
            each.control[witness.STOP] = 1
        for each in self._mortals.values():
            for child in each.children:
                wait_for_end(child, each.name)
                child.killed = child.status == -signal.SIGKILL
                inspection.check_end(child, (0,), each.name)
        wait_for(lambda: not self._orphans(), "orphaned workers to end")

    def _orphans(self) -> list[int]:
        mine = {child.pid for child in self._old.children}
        return [pid for pid in processes.children() if pid not in mine and processes.still(pid)]

    def _check_names(self) -> None:
        """Check that /dev/shm holds only the registry of the engine that lives on."""
        for each in self._engines.values():
            self._removed += sweep(each.name)
            registries = [f"tapring.{each.name}.{lane.lane}" for lane in each.living_lanes()]
            inspection.check_nothing_is_left(each.name, registries)

    def _inspect(self) -> Totals:
        totals = Totals()
        for name, each in self._engines.items():
            mine = [one for one in self._consumers.values() if one.reading.engine == name]
            found = inspection.Inspection(each, mine, self._removed)
            totals.add(found.check())
            self._counts.refused += found.refused()
            for ordeal, times in found.met.items():
                self._counts.met[ordeal] = self._counts.met.get(ordeal, 0) + times
        return totals
