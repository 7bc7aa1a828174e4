"""The programs of consumers. Each reads a session in one of the possible ways and logs every event.

A consumer logs its events before it asks for more. So the log of a killed consumer holds all the
events that it was given, except those in flight.
"""

from __future__ import annotations

import os
import resource
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec

import tapring

from . import events, witness

Record = tuple[int | None, list[events.Run]]


class ConsumerOrders(msgspec.Struct, frozen=True):
    """How a consumer reads. It is told the address when it starts."""

    seed: str
    way: str  # "frames", "events", "read" or "command"
    stage: str
    keep: bool
    delivery: str
    wake: str
    sample: int  # one batch in this many is wanted
    buffer_bytes: int
    duration: float | None
    pause_s: float  # the longest pause after a record
    ask: int  # events that "read" asks for
    forks: float  # chance of a fork after a record
    handled: bool  # whether it closes its session with handled=True
    descriptors: int | None  # how many more files it may open
    file_bytes: int | None  # the size of the largest file it may make
    follow: bool = False  # whether it stays when no lane is left


def run(orders: ConsumerOrders, address: str, place: Path) -> int:
    """Run as a consumer of ``address``, which may name a session."""
    log = witness.Log(place / f"{os.getpid()}.log")
    witness.hold_rings(log)
    if orders.way == "command":
        return _command(orders, address, place)
    return _Consumer(orders, log).run(address)


def _command(orders: ConsumerOrders, address: str, place: Path) -> int:
    """Run ``python -m tapring.attach`` in this process."""
    output = place / f"{os.getpid()}.out"
    sys.argv = ["attach", address, "--stage", orders.stage, "--buffer", str(orders.buffer_bytes)]
    sys.argv += [
        "--wake",
        orders.wake,
        "--sample-batches",
        str(orders.sample),
        "--format",
        "ndjson",
        "--summary",
        "json",
        "-o",
        str(output),
    ]
    if orders.follow:
        sys.argv += ["--follow"]
    if orders.duration:
        sys.argv += ["--duration", f"{orders.duration}s"]
    runpy.run_module("tapring.attach", run_name="__main__", alter_sys=True)
    return 0


class _Consumer:
    def __init__(self, orders: ConsumerOrders, log: witness.Log) -> None:
        self._orders = orders
        self._log = log
        self._random = Random(orders.seed)
        self._session: tapring.Session | None = None
        self._told = False
        signal.signal(signal.SIGTERM, self._tell)

    def run(self, address: str) -> int:
        _starve(self._orders)
        try:
            session = self._open(address)
        except tapring.TapError as error:
            self._log.say("refused", error=type(error).__name__, message=str(error))
            return 0
        self._session = session
        self._log.say(
            "open", sessions=[_position(source) for source in session._merge.rings.attachments]
        )
        if self._told:
            session.end("told")
        try:
            for missed, runs in self._read(session):
                self._log.say("got", missed=missed, runs=runs)
                time.sleep(self._random.uniform(0, self._orders.pause_s))
                if self._random.random() < self._orders.forks:
                    self._fork(session)
        except tapring.TapError as error:
            self._log.say("failed", error=type(error).__name__, message=str(error))
        self._log.say("closing")  # its requests stand until now
        session.close(handled=self._orders.handled)
        self._log.say(
            "end",
            by=session.ended_by,
            handled=self._orders.handled,
            stats=msgspec.structs.asdict(session.stats),
        )
        return 0

    def _tell(self, *_: object) -> None:
        self._told = True
        if self._session is not None:
            self._session.end("told")

    def _open(self, address: str) -> tapring.Session:
        orders = self._orders
        if ":" in address:
            return tapring.attach_session(address, delivery=orders.delivery, wake=orders.wake)
        return tapring.capture(
            address,
            stage=orders.stage,
            duration=orders.duration,
            buffer_bytes=orders.buffer_bytes,
            wait=0.5,
            keep=orders.keep,
            delivery=orders.delivery,
            wake=orders.wake,
            sample=orders.sample,
            follow=orders.follow,
        )

    def _read(self, session: tapring.Session) -> Iterator[Record]:
        kind = session.kind
        if self._orders.way == "frames":
            for frame in session.frames():
                yield frame.missed, events.runs(kind, frame.events())
        elif self._orders.way == "events":
            for event in session:
                yield None, events.runs(kind, [event])
        else:
            while True:
                got = session.read(self._orders.ask, timeout=0.05)
                if got:
                    yield None, events.runs(kind, got)
                elif session.ended_by is not None:
                    return

    def _fork(self, session: tapring.Session) -> None:
        pid = os.fork()
        if pid == 0:
            alone = list(session) == [] and session.ended_by == "fork"
            session.close()
            os._exit(0 if alone else 71)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            raise RuntimeError(f"a forked child of a consumer ended with {code}")


def _position(source: Any) -> dict[str, Any]:
    """The words that a consumer's predecessor left, which say where it begins to read."""
    reader = source.reader
    return {
        "lane": source.registry.info.lane,
        "id": source.row.id,
        "released": reader.released,
        "missed": reader._missed,
        "abandoned": reader.page[witness.layout.ABANDONED],
    }


def _starve(orders: ConsumerOrders) -> None:
    if orders.descriptors is not None:
        few = len(os.listdir("/proc/self/fd")) - 1 + orders.descriptors
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (few, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
    if orders.file_bytes is not None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (orders.file_bytes, hard))
