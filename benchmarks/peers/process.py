"""A consumer's process: how it starts, what it reports to its producer, how it ends or is stalled.

After every ``credit`` events, a consumer reports over a pipe how many it has taken, so that its
producer can wait until all are read, or avoid getting too far ahead. At its end it reports how many
it took altogether, and when.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter_ns

import tapring

CONTEXT = get_context("spawn")
NO_CREDIT = sys.maxsize
PATIENCE_S = 30.0
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(tapring.__file__).parents[1])}
"""Lets a fresh interpreter find the tapring that is measured, installed or not."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A consumer's final report: events, and when it had the last (``perf_counter_ns``)."""

    events: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """The producer's end of the pipe to a consumer."""

    connection: Connection
    pid: int

    @classmethod
    def ready(cls, connection: Connection) -> "Consumer":
        """The consumer behind ``connection``, once it is ready to take events."""
        if not connection.poll(PATIENCE_S):
            raise RuntimeError(f"the consumer did not start within {PATIENCE_S:g} s")
        return cls(connection, connection.recv())

    def receive(self) -> int | Taken:
        """Events taken since the last report, or the final report."""
        if not self.connection.poll(PATIENCE_S):
            raise RuntimeError(f"the consumer has reported nothing for {PATIENCE_S:g} s")
        told: int | Taken = self.connection.recv()
        return told

    def granted(self) -> int:
        """Events taken since the last report."""
        told = self.receive()
        if isinstance(told, Taken):
            raise RuntimeError("the consumer ended early")
        return told

    def wait_for(self, events: int) -> None:
        """Wait until this many more events have been taken."""
        while events > 0:
            events -= self.granted()

    def end(self) -> Taken:
        """Wait for the consumer's final report."""
        while not isinstance(told := self.receive(), Taken):
            pass
        return told

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Stop the consumer for as long as the block lasts."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@contextmanager
def child(target: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """A process that runs ``target(connection, *arguments)``; it ends with the block."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
        process.join(PATIENCE_S)
    finally:
        ours.close()
        process.terminate()
        process.join()


def take(counts: Iterable[int], connection: Connection, credit: int) -> None:
    """Run a consumer; each of ``counts`` is the number of events that it has just taken."""
    connection.send(os.getpid())
    events = owed = 0
    for count in counts:
        owed += count
        if owed >= credit:
            connection.send(owed)
            events, owed = events + owed, 0
    connection.send(Taken(events + owed, perf_counter_ns()))
