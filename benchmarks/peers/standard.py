"""The standard library's multiprocessing: Queue, SimpleQueue, Pipe.

All three go through a kernel pipe, enlarged here to the most that a user may have (1 MiB; the
default is 64 KiB), and copy twice. A message that does not fit waits for its consumer.

Queue: ``put`` appends to a deque, and a feeder thread of the producer pickles and writes beside the
engine, under its interpreter lock; so the cost of a put is the CPU time, not the time of the call.
Without a ``maxsize``, nothing limits what piles up in the engine.
SimpleQueue: pickles and writes under a lock in the caller's thread; it always waits.
Pipe: ``send_bytes`` writes in the caller's thread and does not pickle; it has no lock, so only one
producer and one consumer; it always waits.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from queue import Full as QueueFull
from typing import Any

from .channel import BUFFER_BYTES, Channel, Full, Load, Peer, as_lists, sender, unless
from .process import CONTEXT, Consumer, child, take

PIPE_BYTES = 1 << 20
PAGE_BYTES = 4096  # a message may leave the rest of a page empty


def _enlarge(writer: Any) -> None:
    fcntl.fcntl(writer.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _pipe_room(load: Load) -> int:
    if load.per_event:
        return load.batches_in(PIPE_BYTES // 2)
    return max(1, load.messages_in(PIPE_BYTES, PAGE_BYTES))


@contextmanager
def _queue(load: Load, credit: int) -> Iterator[Channel]:
    queue: Any = CONTEXT.Queue(0 if load.may_wait else load.messages_in(BUFFER_BYTES))
    _enlarge(queue._writer)
    put = queue.put if load.may_wait else unless(QueueFull, queue.put_nowait)
    try:
        with child(_consume_queue, queue, load, credit) as connection:
            consumer = Consumer.ready(connection)
            yield Channel(sender(put, load), partial(queue.put, b""), consumer)
    finally:
        queue.cancel_join_thread()
        queue.close()


@contextmanager
def _simple_queue(load: Load, credit: int) -> Iterator[Channel]:
    queue: Any = CONTEXT.SimpleQueue()
    _enlarge(queue._writer)
    try:
        with child(_consume_queue, queue, load, credit) as connection:
            consumer = Consumer.ready(connection)
            yield Channel(sender(queue.put, load), partial(queue.put, b""), consumer)
    finally:
        queue.close()


@contextmanager
def _pipe(load: Load, credit: int) -> Iterator[Channel]:
    reader, writer = CONTEXT.Pipe(duplex=False)
    _enlarge(writer)
    with writer, reader, child(_consume_pipe, reader, load, credit) as connection:
        consumer = Consumer.ready(connection)
        yield Channel(sender(writer.send_bytes, load), partial(writer.send_bytes, b""), consumer)


def _consume_queue(connection: Connection, queue: Any, load: Load, credit: int) -> None:
    take(as_lists(iter(queue.get, b""), load), connection, credit)


def _consume_pipe(connection: Connection, reader: Connection, load: Load, credit: int) -> None:
    take(as_lists(iter(reader.recv_bytes, b""), load), connection, credit)


QUEUE = Peer(
    "multiprocessing.Queue",
    _queue,
    Full.GROWS,
    lambda load: load.batches_in(BUFFER_BYTES),
    in_background="feeder thread",
    refuses="put_nowait with a maxsize",
)
SIMPLE_QUEUE = Peer("multiprocessing.SimpleQueue", _simple_queue, Full.WAITS, _pipe_room)
PIPE = Peer("multiprocessing.Pipe", _pipe, Full.WAITS, _pipe_room)
PEERS = (QUEUE, SIMPLE_QUEUE, PIPE)
