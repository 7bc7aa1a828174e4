"""The program of an engine: it offers numbered events until it is told to stop, or killed.

It writes down the sequence number at which each session began and ended, and its own counts of
it. The accountant compares them with the session's ledger. The program looks inside its Tap for
this, because only the Tap knows between which two batches a session began.
"""

from __future__ import annotations

import os
import resource
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, Final

import msgspec

import tapring
from tapring.engine.session import Live
from tapring.engine.snapshot import Snapshot
from tapring.wire.layout import NAME_PREFIX, RECORDING_PREFIX

from . import events, processes, witness

_KEEP_BYTES: Final = 1 << 40


class EngineOrders(msgspec.Struct, frozen=True):
    """How an engine behaves. It forks workers when the control words say so."""

    seed: str
    threads: int
    slot_bytes: int
    buffer_bytes: int
    max_sessions: int
    max_duration: float
    budget: float | None
    batch: int  # events in a batch, at most
    pause_s: float  # the longest pause between batches
    oversize: float  # chance that a batch has an event too large for a small ring
    junk: float  # chance that a batch has an event that cannot be serialized
    worker_batches: int  # a worker ends after so many ...
    worker_closes: bool  # ... with or without closing its tap
    recorder: dict[str, int]  # the stages that are recorded, each in so many bytes
    recorder_keep: int  # the dead lanes whose recordings stay


def run(name: str, orders: EngineOrders, place: Path) -> int:
    """Run as the engine ``name``."""
    tap, control = prepare(name, orders, place)
    lane = Lane(tap, orders, control, place, orders.threads, (os.getppid(),))
    lane.introduce()
    threads = [
        Thread(target=lane.offer_beside, args=(number,)) for number in range(1, orders.threads)
    ]
    for thread in threads:
        thread.start()
    lane.lead()
    lane.end()
    for thread in threads:
        thread.join()
    return 0


def prepare(
    name: str, orders: EngineOrders, place: Path, **more: Any
) -> tuple[tapring.Tap, memoryview]:
    """Make the tap of the engine ``name``, and find the words by which the soak commands it."""
    warnings.simplefilter("ignore", tapring.TapWarning)
    witness.hold_rings(None)
    tap = tapring.Tap(
        name,
        stages=events.EXTRA_STAGES,
        slot_bytes=orders.slot_bytes,
        buffer_bytes=orders.buffer_bytes,
        max_sessions=orders.max_sessions,
        max_duration=orders.max_duration,
        budget=orders.budget,
        recorder=orders.recorder or None,
        recorder_keep=orders.recorder_keep,
        recorder_keep_bytes=_KEEP_BYTES,
        **more,
    )
    return tap, witness.shared_words(witness.control_of(place))


class Lane:
    """One process of an engine, and what it writes down."""

    unit = 1  # the number of events in a batch is a multiple of this

    def __init__(
        self,
        tap: tapring.Tap,
        orders: EngineOrders,
        control: memoryview,
        place: Path,
        threads: int,
        elders: tuple[int, ...],
    ) -> None:
        self._tap = tap
        self._orders = orders
        self._control = control
        self._place = place
        self._threads = threads
        with _unlimited():  # the soak may have left this process no descriptor
            self._log = witness.Log(place / f"{os.getpid()}.lane")
            self._words = witness.shared_words(place / f"{os.getpid()}.words")
        self._random = Random(f"{orders.seed}/{control[witness.FORKS]}")
        self._next = [[0] * len(events.STAGES) for _ in range(threads)]
        self._known: dict[int, Live] = {}
        self._handles: list[tapring.Handle] = []
        self._workers: list[int] = []
        self._forks = control[witness.FORKS]
        self._registers = control[witness.REGISTERS]
        self._said = False
        self._elders = elders

    def lead(self, batches: int | None = None) -> None:
        """The main thread: obey, offer, log which sessions came and went."""
        while not self._control[witness.STOP] and batches != 0 and self._is_wanted():
            self._obey()
            watched = self._tap.snapshot()
            self.introduce()
            self._look()
            if watched:
                self._offer(watched, 0, self._random)
            time.sleep(self._random.uniform(0, self._orders.pause_s))
            batches = None if batches is None else batches - 1

    def offer_beside(self, thread: int) -> None:
        """Another thread of the engine: it only offers."""
        random = Random(f"{self._orders.seed}/thread/{thread}")
        while not self._control[witness.STOP]:
            watched = self._tap.snapshot()
            if watched:
                self._offer(watched, thread, random)
            time.sleep(random.uniform(0, self._orders.pause_s))

    def end(self) -> None:
        """Close the tap; write down the last counts."""
        for handle in self._handles[::2]:  # the others end with the tap
            handle.close()
        self._tap.close()
        self._look()
        for pid in self._workers:
            self._note_worker(pid, os.waitpid(pid, 0)[1])
        self._log.say("end", faults=self._tap.faults, misuse=self._tap.misuse)

    def _is_wanted(self) -> bool:
        """Whether the soak, which adopts the workers of a killed engine, still runs."""
        return os.getppid() in self._elders

    # ---- what the soak says --------------------------------------------------------------

    def _obey(self) -> None:
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._workers.remove(pid)
                self._note_worker(pid, status)
        self._words[witness.HEARD] = closing = self._control[witness.CLOSE]
        if closing:
            for handle in self._handles:
                handle.close()
            self._handles.clear()
            self._registers = self._control[witness.REGISTERS]  # too late for what was asked for
        elif self._registers < self._control[witness.REGISTERS]:
            self._registers += 1
            self._register()
        elif self._forks < self._control[witness.FORKS]:
            self._forks += 1
            self._fork()

    def _note_worker(self, pid: int, status: int) -> None:
        self._log.say("worker", pid=pid, status=os.waitstatus_to_exitcode(status))

    def _register(self) -> None:
        if len(self._handles) > 2:
            self._handles.pop(0).close()
        stage = self._random.choice(events.STAGES)
        size = self._random.choice((8 << 10, 32 << 10, 256 << 10))
        handle = self._tap.register(stage, buffer_bytes=size)
        if handle is not None:
            self._handles.append(handle)
            self._log.say("handle", id=handle.id)

    def _fork(self) -> None:
        elders = (os.getpid(), *self._elders)
        pid = os.fork()
        if pid:
            self._workers.append(pid)
            return
        code = 70
        try:
            processes.be_mortal()
            for handle in self._handles[:1]:  # closing a parent's handle must not touch its session
                handle.close()
            worker = Lane(self._tap, self._orders, self._control, self._place, 1, elders)
            worker._forks = worker._registers = 1 << 62
            worker.lead(self._orders.worker_batches)
            if self._orders.worker_closes or self._control[witness.STOP]:
                worker.end()
            else:
                worker._log.say("vanish")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    # ---- what is written down ------------------------------------------------------------

    def introduce(self) -> None:
        """Log the lane, and how much memory and how many files it needs, once there is one."""
        if self._said:
            return
        if self._tap.lane is None:
            if self._tap.reason is not None:
                self._said = True
                self._log.say("inert", reason=self._tap.reason)
        else:
            self._said = True
            # A consumer that waited for the engine may have a session already.
            lane = f"{NAME_PREFIX}.{self._tap.name}.{self._tap.lane}."
            rings = processes.descriptors_of(lane)
            rings -= processes.descriptors_of(lane + RECORDING_PREFIX)
            self._log.say(
                "ready",
                pid=os.getpid(),
                lane=self._tap.lane,
                threads=self._threads,
                batch=self._orders.batch,
                unit=self.unit,
                descriptors=processes.descriptors(os.getpid()) - 1 - len(rings),
                memory=processes.memory_bytes(os.getpid()),
            )

    def _look(self) -> None:
        """Log which sessions came and went since the last batch."""
        lane = self._tap._lane
        watched = lane.schedule.watched if lane else {}
        stages = [each for each in watched.values() if each]
        lives = [each for stage in stages for each in stage.lives if not each.records]
        live = {each.row.id: each for each in lives}
        known = self._known
        if live.keys() != known.keys():
            for session, each in live.items():
                if session not in known:
                    known[session] = each
                    self._note_up(session, each)
            for session in known.keys() - live.keys():
                # Another thread may be in the middle of releasing it.
                if not known[session].open:
                    self._note_down(session, known.pop(session))
        self._words[witness.ACTIVE] = len(known)
        self._words[witness.FAULTS] = self._tap.faults

    def _note_up(self, session: int, live: Live) -> None:
        stage = live.row.stage
        whole = live.row.sample == 1 and self._orders.budget is None
        self._log.say("up", id=session, stage=stage, at=self._next[0][stage], whole=whole)

    def _note_down(self, session: int, live: Live, **more: int) -> None:
        writer = live.writer
        self._log.say(
            "down",
            id=session,
            at=self._next[0][live.row.stage],
            offered=writer.offered,
            captured=writer.captured,
            dropped=writer.dropped,
            oversize=writer.oversize,
            errors=writer.errors,
            sampled_out=writer.sampled_out,
            shed=writer.shed,
            **more,
        )

    def _offer(self, watched: Snapshot, thread: int, random: Random) -> None:
        lane = int(self._tap.lane or "0", 16)
        if not lane:
            return  # the main thread has just closed the tap
        for index, stage in enumerate(events.STAGES):
            if not watched.watches(stage):
                continue
            first = self._next[thread][index]
            pads, junk = self._draw_batch(stage, random)
            batch = events.make(stage, lane, thread, first, pads, junk)
            if stage == "raw" and not junk and random.random() < 0.2:
                batch = b"\n".join(batch)
            after = first + len(pads)
            self._words[witness.progress(witness.BEGUN, thread, index)] = after
            watched.offer(stage, batch)
            self._words[witness.progress(witness.DONE, thread, index)] = after
            self._next[thread][index] = after

    def _draw_batch(self, stage: str, random: Random) -> tuple[list[int], bool]:
        """By how much to pad each event of a batch, and whether one cannot be serialized."""
        pads = [random.randrange(8, 120)] * random.randint(1, self._orders.batch)
        if random.random() < self._orders.oversize:
            pads[random.randrange(len(pads))] = random.choice((3_000, 20_000, 70_000))
        return pads, stage != "grid" and random.random() < self._orders.junk


@contextmanager
def _unlimited() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
