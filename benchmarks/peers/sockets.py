"""A Unix stream socket: each message prefixed with its length, ``sendall`` in the caller's thread.

The kernel copies twice and nothing is pickled. The send buffer is the largest that this machine
allows a user (``net.core.wmem_max``, up to 4 MiB); ``sendall`` waits while it is full. With
``MSG_DONTWAIT`` it raises, but a message may then be half sent, which breaks the stream.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from struct import Struct

from .channel import BUFFER_BYTES, Channel, Full, Load, Peer, Put, as_lists, sender, unless
from .process import Consumer, child, take

LENGTH = Struct("=I")
SMALL_MESSAGE_BYTES = 1024  # more than the kernel charges for one


def _pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    return pair


def _send_buffer_bytes() -> int:
    ours, theirs = _pair()
    with ours, theirs:
        return ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def _room(load: Load) -> int:
    bytes_counted = max(SMALL_MESSAGE_BYTES, 2 * load.message_bytes)
    return load.batches_in(_send_buffer_bytes(), bytes_counted - load.message_bytes)


@contextmanager
def _opened(load: Load, credit: int) -> Iterator[Channel]:
    ours, theirs = _pair()
    refusing = unless(BlockingIOError, _put(ours, socket.MSG_DONTWAIT))
    put = _put(ours, 0) if load.may_wait else refusing
    with ours, theirs, child(_consume, theirs, load, credit) as connection:
        consumer = Consumer.ready(connection)
        yield Channel(sender(put, load), partial(ours.shutdown, socket.SHUT_WR), consumer)


def _put(ours: socket.socket, flags: int) -> Put:
    sendall, pack = ours.sendall, LENGTH.pack

    def put(message: bytes) -> None:
        sendall(pack(len(message)) + message, flags)

    return put


def _consume(connection: Connection, theirs: socket.socket, load: Load, credit: int) -> None:
    take(as_lists(_messages(theirs), load), connection, credit)


def _messages(theirs: socket.socket) -> Iterator[bytes]:
    with theirs, theirs.makefile("rb", buffering=1 << 16) as stream:
        while length := stream.read(LENGTH.size):
            yield stream.read(LENGTH.unpack(length)[0])


UNIX_SOCKET = Peer("Unix socket", _opened, Full.WAITS, _room, refuses="MSG_DONTWAIT")
PEERS = (UNIX_SOCKET,)
