"""The program of a master that recycles its workers, and the program of a worker.

A worker numbers its events and notes each offer before it and after it, in words that survive its
kill. It does so whether a consumer watches or not, so that one that none has seen shows, too.
"""

from __future__ import annotations

import atexit
import multiprocessing.util  # a Tap then exits with the workers of a pool
import os
import signal
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, NoReturn

import msgspec

import tapring
from tapring.engine.snapshot import Snapshot

from . import events, processes, witness
from .engine import EngineOrders, Lane, prepare

_POLL_S: Final = 0.001

ENDS: Final[dict[str, Callable[[], object] | None]] = {
    "close": lambda: None,  # ``Lane.end`` closes the tap
    "exit": atexit._run_exitfuncs,
    "pool": multiprocessing.util._exit_function,  # type: ignore[attr-defined]
    "vanish": None,
    "kill": None,
}
"""How a worker ends, and what it calls then; None: nothing closes its tap."""


class WorkerOrders(msgspec.Struct, frozen=True):
    """What one worker does. Times are seconds since its fork, as its master sees it."""

    seed: str
    batches: int  # of each stage; then it ends
    pause_s: float  # the longest pause between batches
    end: str  # one of ``ENDS``
    killed_at_s: float | None = None
    stopped_at_s: float | None = None
    stopped_for_s: float = 0.0


class MasterOrders(EngineOrders, frozen=True):
    """How a master and its workers behave."""

    workers: tuple[WorkerOrders, ...]  # each takes the place of one that has ended
    places: int  # how many run at once
    preloads: bool  # whether the master has the tap, which the workers inherit


def run(name: str, orders: MasterOrders, place: Path) -> int:
    """Run as the master of the engine ``name``."""
    open_tap = partial(prepare, name, orders, place)
    inherited = open_tap() if orders.preloads else None
    _Master(orders, place, open_tap if inherited is None else lambda: inherited).run()
    if inherited is not None:
        inherited[0].close()
    return 0


class Departure(NamedTuple):
    """How a worker has ended: as it was told to, and as the kernel says."""

    pid: int
    end: str
    status: int


class _Master:
    def __init__(
        self,
        orders: MasterOrders,
        place: Path,
        open_tap: Callable[[], tuple[tapring.Tap, memoryview]],
    ) -> None:
        self._orders = orders
        self._place = place
        self._open_tap = open_tap
        self._control = witness.shared_words(witness.control_of(place))
        self._log = witness.Log(place / "master.log")
        self._waiting = list(reversed(orders.workers))
        self._staff: dict[int, WorkerOrders] = {}
        self._agendas: dict[int, list[tuple[float, int]]] = {}  # times and signals, of each worker

    def run(self) -> None:
        """Replace each worker as it ends, until all have had their turn."""
        while self._waiting or self._staff:
            while self._waiting and len(self._staff) < self._orders.places:
                self._hire(self._waiting.pop())
            self._send_signals()
            time.sleep(_POLL_S)
            self._let_go()

    def _hire(self, orders: WorkerOrders) -> None:
        pid = os.fork()
        if pid == 0:
            self._be_a_worker(orders)
        now = time.monotonic()
        agenda = []
        if orders.stopped_at_s is not None:
            goes_on_at_s = orders.stopped_at_s + orders.stopped_for_s
            agenda = [(orders.stopped_at_s, signal.SIGSTOP), (goes_on_at_s, signal.SIGCONT)]
        if orders.killed_at_s is not None:
            agenda.append((orders.killed_at_s, signal.SIGKILL))
        self._staff[pid] = orders
        self._agendas[pid] = sorted((now + at_s, signum) for at_s, signum in agenda)
        self._control[witness.HIRED] += 1

    def _send_signals(self) -> None:
        now = time.monotonic()
        for pid, agenda in self._agendas.items():
            while agenda and agenda[0][0] <= now:
                os.kill(pid, agenda.pop(0)[1])

    def _let_go(self) -> None:
        while self._staff:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            del self._agendas[pid]
            end, code = self._staff.pop(pid).end, os.waitstatus_to_exitcode(status)
            self._log.say("left", pid=pid, end=end, status=code)

    def _be_a_worker(self, orders: WorkerOrders) -> NoReturn:
        code = 70
        try:
            processes.be_mortal()
            processes.die_with_parent()
            began_ns = time.monotonic_ns()
            tap, control = self._open_tap()
            worker = Worker(tap, self._orders, control, self._place, 1, (os.getppid(),))
            worker.work(orders, began_ns)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)


class Worker(Lane):
    """A worker: one lane of the engine."""

    def work(self, orders: WorkerOrders, began_ns: int) -> None:
        """Offer so many batches, then end. ``began_ns``: from before there was a lane."""
        self._random = random = Random(orders.seed)
        self._log.say("began", at_ns=began_ns, end=orders.end)
        self.introduce()
        for number in range(orders.batches):
            watched = self._tap.snapshot()
            self.introduce()
            self._look()
            if number == 0:
                self._log.say("looked")
            for index, stage in enumerate(events.STAGES):
                self._note_offer(watched, stage, index)
            time.sleep(random.uniform(0, orders.pause_s))
        if orders.end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        close = ENDS[orders.end]
        if close is not None:
            close()
            self.end()

    def _note_offer(self, watched: Snapshot | None, stage: str, index: int) -> None:
        """Offer the next batch of a stage, whether it is watched or not."""
        first = self._next[0][index]
        pads, junk = self._draw_batch(stage, self._random)
        after = first + len(pads)
        self._words[witness.progress(witness.BEGUN, 0, index)] = after
        if watched and watched.watches(stage):
            lane = int(self._tap.lane or "0", 16)
            watched.offer(stage, events.make(stage, lane, 0, first, pads, junk))
        self._words[witness.progress(witness.DONE, 0, index)] = after
        self._next[0][index] = after


def departures(place: Path) -> list[Departure]:
    """How the workers of the master in ``place`` have ended."""
    return [
        Departure(each["pid"], each["end"], each["status"])
        for each in witness.records(place / "master.log")
    ]
