"""A consumer's process: how it is started, what it tells its producer, how it ends or is stalled.

A consumer tells over a pipe how many events it has taken, each ``credit`` of them (so that a
producer can wait until all is read, or keep from getting too far ahead), and at its end how many
it took altogether and when.
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
"""In which a fresh interpreter finds the tapring that is measured, installed or not."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a consumer says at its end: events, and when it had the last (``perf_counter_ns``)."""

    events: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """The producer's end of the pipe to a consumer."""

    connection: Connection
    pid: int

    @classmethod
    def ready(cls, connection: Connection) -> "Consumer":
        """The consumer behind ``connection``, as soon as it can take."""
        if not connection.poll(PATIENCE_S):
            raise RuntimeError(f"no consumer has started in {PATIENCE_S:g} s")
        return cls(connection, connection.recv())

    def receive(self) -> int | Taken:
        """Events that were taken since the last time, or the end."""
        if not self.connection.poll(PATIENCE_S):
            raise RuntimeError(f"the consumer has said nothing for {PATIENCE_S:g} s")
        told: int | Taken = self.connection.recv()
        return told

    def granted(self) -> int:
        """Events that were taken since the last time."""
        told = self.receive()
        if isinstance(told, Taken):
            raise RuntimeError("the consumer ended early")
        return told

    def wait_for(self, events: int) -> None:
        """Wait until so many more events were taken."""
        while events > 0:
            events -= self.granted()

    def end(self) -> Taken:
        """What the consumer says at its end."""
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
    """Run a consumer: each of ``counts`` is what it has taken more."""
    connection.send(os.getpid())
    events = owed = 0
    for count in counts:
        owed += count
        if owed >= credit:
            connection.send(owed)
            events, owed = events + owed, 0
    connection.send(Taken(events + owed, perf_counter_ns()))
