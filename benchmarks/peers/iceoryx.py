"""iceoryx2: publish and subscribe, through shared memory, over its Python binding.

The caller's thread loans a sample, copies the message into it and sends it, without pickling and
without a system call. By default the subscriber holds two samples and drops the oldest without
counting. Here it holds 4 MiB of samples and keeps the oldest (``enable_safe_overflow(False)``): the
publisher retries until there is room, or discards. A subscriber could only wait on a second service
that its publisher would have to notify, so it polls, like tapring's consumer.
"""

import ctypes
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .channel import BUFFER_BYTES, Channel, Full, Load, Peer, Put, as_lists, sender
from .process import Consumer, child, take

try:
    import iceoryx2 as iox2
except ImportError:
    iox2 = None

SHARED_MEMORY = Path("/dev/shm")
SERVICE = "events"
END = b"\0"
POLL_S = 50e-6

Place = tuple[str, str]


@contextmanager
def _opened(load: Load, credit: int) -> Iterator[Channel]:
    with _place() as place, _published(place, load, credit) as channel:
        yield channel


@contextmanager
def _place() -> Iterator[Place]:
    """A new folder and prefix; anything left in shared memory is removed afterwards."""
    prefix = f"bench{os.getpid()}_"
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield folder, prefix
        finally:
            for path in SHARED_MEMORY.glob(f"{prefix}*"):
                path.unlink()


@contextmanager
def _published(place: Place, load: Load, credit: int) -> Iterator[Channel]:
    full = iox2.BackpressureStrategy
    publisher = (
        _service(place, load)
        .publisher_builder()
        .initial_max_slice_len(load.message_bytes)
        .backpressure_strategy(full.RetryUntilDelivered if load.may_wait else full.DiscardData)
        .create()
    )
    put = _put(publisher)
    with child(_consume, place, load, credit) as connection:
        consumer = Consumer.ready(connection)
        yield Channel(sender(put, load), partial(_end, put), consumer)
    publisher.delete()


def _service(place: Place, load: Load) -> Any:
    config = iox2.config.default()
    config.global_cfg.root_path = iox2.Path.new(place[0])
    config.global_cfg.prefix = iox2.FileName.new(place[1])
    return (
        iox2.NodeBuilder.new()
        .config(config)
        .signal_handling_mode(iox2.SignalHandlingMode.Disabled)
        .create(iox2.ServiceType.Ipc)
        .service_builder(iox2.ServiceName.new(SERVICE))
        .publish_subscribe(iox2.Slice[ctypes.c_uint8])
        .enable_safe_overflow(False)
        .subscriber_max_buffer_size(load.messages_in(BUFFER_BYTES))
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
    )


def _put(publisher: Any) -> Put:
    loan, copy = publisher.loan_slice_uninit, ctypes.memmove

    def put(message: bytes) -> int:
        sample = loan(len(message))
        copy(sample.payload_ptr, message, len(message))
        receivers: int = sample.assume_init().send()
        return receivers

    return put


def _end(put: Put) -> None:
    while not put(END):
        time.sleep(POLL_S)


def _consume(connection: Connection, place: Place, load: Load, credit: int) -> None:
    subscriber = _service(place, load).subscriber_builder().create()
    take(as_lists(_messages(subscriber), load), connection, credit)
    subscriber.delete()


def _messages(subscriber: Any) -> Iterator[bytes]:
    receive, copy = subscriber.receive, ctypes.string_at
    while True:
        sample = receive()
        if sample is None:
            time.sleep(POLL_S)
            continue
        message = copy(sample.payload_ptr, sample.header.number_of_elements)
        sample.delete()
        if message == END:
            return
        yield message


ICEORYX2 = Peer(
    "iceoryx2",
    _opened,
    Full.WAITS,
    lambda load: load.batches_in(BUFFER_BYTES),
    refuses="DiscardData",
    missing="" if iox2 else "iceoryx2 is not installed (pip install 'tapring[bench]')",
)
PEERS = (ICEORYX2,)
