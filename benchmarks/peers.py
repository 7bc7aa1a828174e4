"""The contestants that take two processes: a producer here, and its consumer in a child.

A consumer tells over a pipe how many events it has taken, each ``credit`` of them (so that a
producer can wait until all is read, or keep from getting too far ahead), and at its end how many
it took altogether and when.
"""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, takewhile
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import tapring

from .workload import BATCH

try:
    import faster_fifo
except ImportError:
    faster_fifo = None

HAS_FIFO = faster_fifo is not None
NO_FIFO = "faster-fifo is not installed (pip install 'tapring[bench]')"
BUFFER_BYTES = 4 << 20  # of the ring and of the queue: the default of a Tap
FIFO_BYTES = 1 << 20  # what faster-fifo does best with, of 1, 4 and 16 MiB
NO_CREDIT = sys.maxsize
PATIENCE_S = 30.0
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(tapring.__file__).parents[1])}
"""In which a fresh interpreter finds the tapring that is measured, installed or not."""

Read = Callable[[Any], Iterable[int]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a consumer says at its end: events, and when it had the last (``perf_counter_ns``)."""

    events: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """The producer's end of the pipe to a consumer."""

    connection: Connection

    def receive(self) -> int | Taken:
        """Events that were taken since the last time, or the end."""
        if not self.connection.poll(PATIENCE_S):
            raise RuntimeError(f"the consumer has said nothing for {PATIENCE_S:g} s")
        told: int | Taken = self.connection.recv()
        return told

    def wait_for(self, events: int) -> None:
        """Wait until so many more events were taken."""
        while events > 0:
            told = self.receive()
            if isinstance(told, Taken):
                raise RuntimeError(f"the consumer ended {events} events early")
            events -= told

    def end(self) -> Taken:
        """What the consumer says at its end."""
        while not isinstance(told := self.receive(), Taken):
            pass
        return told


@contextmanager
def child(target: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """A process that runs ``target(connection, *arguments)``; it ends with the block."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
        process.join(PATIENCE_S)
    finally:
        ours.close()
        process.terminate()
        process.join()


# ---- tapring ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tapped:
    """An engine, its one session, and who reads that."""

    tap: tapring.Tap
    handle: tapring.Handle
    consumer: Consumer

    @property
    def dropped_share(self) -> float:
        """Events that found the ring full, of those that were offered."""
        return self.handle.dropped / max(1, self.handle.dropped + self.handle.captured)


@contextmanager
def tapped(stage: str, read: Read, credit: int) -> Iterator[Tapped]:
    """An engine with a consumer that takes ``stage`` as ``read`` does."""
    with tapring.Tap(f"bench-{os.getpid()}", buffer_bytes=BUFFER_BYTES) as tap:
        handle = tap.register(stage)
        assert handle is not None
        with child(_read_session, tap.name, handle.id, read, credit) as connection:
            consumer = Consumer(connection)
            consumer.receive()
            yield Tapped(tap, handle, consumer)
            handle.close()


def as_lists(session: tapring.Session) -> Iterator[int]:
    """Take each batch as a list of bytes."""
    return (len(frame.lines(keepends=True)) for frame in session.frames())


def as_payloads(session: tapring.Session) -> Iterator[int]:
    """Take each batch as the block that it is, as one does who passes it on."""
    return (frame.count for frame in session.frames())


def as_events(session: tapring.Session) -> Iterator[int]:
    """Take event after event, without its newline; told at the end."""
    for _ in session:
        pass
    yield session.stats.delivered


def _read_session(connection: Connection, engine: str, id_: int, read: Read, credit: int) -> None:
    with tapring.attach_session(engine, id_) as session:
        _take(read(session), connection, credit)


# ---- faster-fifo -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """A way to use faster-fifo: pickled or bytes as they are, ``get`` or ``get_many``."""

    name: str
    pickled: bool
    many: bool


AS_IT_COMES = Way("faster-fifo", pickled=True, many=False)
CHEAPEST_PUT = Way("faster-fifo unpickled", pickled=False, many=False)
FASTEST = Way("faster-fifo unpickled, get_many", pickled=False, many=True)


@dataclass(frozen=True, slots=True)
class Queued:
    """A faster-fifo queue and who reads it: each batch is one message."""

    queue: Any
    consumer: Consumer

    def close(self) -> None:
        """Let the consumer end when it has read all."""
        self.queue.put(b"")


@contextmanager
def queued(way: Way, read: Read, credit: int, queue_bytes: int) -> Iterator[Queued]:
    """A queue with a consumer that takes its messages as ``read`` does."""
    plain = {} if way.pickled else {"dumps": _as_it_is, "loads": bytes}
    queue = faster_fifo.Queue(queue_bytes, **plain)
    with child(_read_queue, queue, way.many, read, credit) as connection:
        pair = Queued(queue, Consumer(connection))
        pair.consumer.receive()
        yield pair


def messages_as_lists(messages: Iterator[bytes]) -> Iterator[int]:
    """As ``as_lists``."""
    return (len(io.BytesIO(message).readlines()) for message in messages)


def messages_as_payloads(messages: Iterator[bytes]) -> Iterator[int]:
    """As ``as_payloads``."""
    return (BATCH for _ in messages)


def _as_it_is(message: bytes) -> bytes:
    return message


def _read_queue(connection: Connection, queue: Any, many: bool, read: Read, credit: int) -> None:
    gets = iter(queue.get_many, []) if many else iter(lambda: (queue.get(),), ())
    messages: Iterator[bytes] = takewhile(bool, chain.from_iterable(gets))
    _take(read(messages), connection, credit)


def _take(counts: Iterable[int], connection: Connection, credit: int) -> None:
    connection.send(0)
    events = owed = 0
    for count in counts:
        owed += count
        if owed >= credit:
            connection.send(owed)
            events, owed = events + owed, 0
    connection.send(Taken(events + owed, perf_counter_ns()))
