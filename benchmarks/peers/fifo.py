"""faster-fifo: a ring in shared memory behind a lock, for many producers and many consumers.

By default it pickles each message, and its consumer gets them one by one. Tuned, it has serializers
that leave bytes unchanged, and its consumer takes all that are there: the fastest use that we
found. A put waits while the queue is full; ``put(block=False)`` raises. The caller's thread sends.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, takewhile
from multiprocessing.connection import Connection
from queue import Full as QueueFull
from typing import Any

from .channel import Channel, Full, Load, Peer, as_lists, sender, unless
from .process import Consumer, child, take

try:
    import faster_fifo
except ImportError:
    faster_fifo = None

QUEUE_BYTES = 1 << 20  # its best size, of 1, 4 and 16 MiB
OVERHEAD = 64  # per message: its length, and what pickling adds


def _queue_bytes(load: Load) -> int:
    return max(QUEUE_BYTES, 4 * (load.message_bytes + OVERHEAD))


def _room(load: Load) -> int:
    return load.batches_in(_queue_bytes(load) * 3 // 4, OVERHEAD)


@contextmanager
def _opened(load: Load, credit: int, *, tuned: bool) -> Iterator[Channel]:
    plain = {"dumps": _as_it_is, "loads": bytes} if tuned else {}
    queue = faster_fifo.Queue(_queue_bytes(load), **plain)
    put = queue.put if load.may_wait else unless(QueueFull, partial(queue.put, block=False))
    with child(_consume, queue, tuned, load, credit) as connection:
        consumer = Consumer.ready(connection)
        yield Channel(sender(put, load), partial(queue.put, b""), consumer)


def _as_it_is(message: bytes) -> bytes:
    return message


def _consume(connection: Connection, queue: Any, tuned: bool, load: Load, credit: int) -> None:
    gets = iter(queue.get_many, []) if tuned else iter(lambda: (queue.get(),), ())
    messages: Iterator[bytes] = takewhile(bool, chain.from_iterable(gets))
    take(as_lists(messages, load), connection, credit)


_missing = "" if faster_fifo else "faster-fifo is not installed (pip install 'tapring[bench]')"

FASTER_FIFO = Peer(
    "faster-fifo",
    partial(_opened, tuned=False),
    Full.WAITS,
    _room,
    refuses="put(block=False)",
    missing=_missing,
)
FASTER_FIFO_TUNED = Peer(
    "faster-fifo unpickled",
    partial(_opened, tuned=True),
    Full.WAITS,
    _room,
    refuses="put(block=False)",
    tuned=True,
    missing=_missing,
)
PEERS = (FASTER_FIFO, FASTER_FIFO_TUNED)
