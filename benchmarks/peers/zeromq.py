"""pyzmq: PUSH and PULL over ``ipc://``.

``send`` hands a message to an I/O thread (in C++, outside the interpreter lock), which writes it to
a Unix socket; so the cost of a send is the CPU time, not the time of the call. Nothing is pickled.
The high-water marks of both ends are the number of messages that fit 4 MiB; beyond them ``send``
waits, or raises with ``NOBLOCK``. PUSH loses nothing; PUB would.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection

from .channel import BUFFER_BYTES, Channel, Full, Load, Peer, as_lists, sender, unless
from .process import Consumer, child, take

try:
    import zmq
except ImportError:
    zmq = None

LINGER_MS = 1000  # for messages still unsent when a socket is closed


@contextmanager
def _opened(load: Load, credit: int) -> Iterator[Channel]:
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context:
        address = f"ipc://{os.path.join(folder, 'push')}"
        with context.socket(zmq.PUSH) as push:
            push.linger = LINGER_MS
            push.sndhwm = load.messages_in(BUFFER_BYTES)
            push.bind(address)
            put = (
                push.send
                if load.may_wait
                else unless(zmq.Again, partial(push.send, flags=zmq.NOBLOCK))
            )
            with child(_consume, address, load, credit) as connection:
                consumer = Consumer.ready(connection)
                yield Channel(sender(put, load), partial(push.send, b""), consumer)


def _consume(connection: Connection, address: str, load: Load, credit: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.rcvhwm = load.messages_in(BUFFER_BYTES)
        pull.connect(address)
        take(as_lists(iter(pull.recv, b""), load), connection, credit)


PYZMQ = Peer(
    "pyzmq PUSH/PULL",
    _opened,
    Full.WAITS,
    lambda load: load.batches_in(BUFFER_BYTES),
    in_background="I/O thread",
    refuses="NOBLOCK",
    missing="" if zmq else "pyzmq is not installed (pip install 'tapring[bench]')",
)
PEERS = (PYZMQ,)
