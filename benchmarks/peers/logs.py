"""logging: a QueueHandler on a multiprocessing.Queue, one record per event.

Many programs already have it. The caller's thread makes and prepares the record; the queue's feeder
thread pickles it (with its name, time, thread and source location) and writes it. The queue has no
limit, as in the documentation's example. The consumer takes each record's message.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

from .channel import BUFFER_BYTES, Channel, Full, Load, Peer, Put, as_lists, sender
from .process import CONTEXT, Consumer, child, take


@contextmanager
def _opened(load: Load, credit: int) -> Iterator[Channel]:
    queue: Any = CONTEXT.Queue()
    logger = logging.Logger("engine", logging.INFO)
    logger.addHandler(QueueHandler(queue))
    try:
        with child(_consume, queue, load, credit) as connection:
            consumer = Consumer.ready(connection)
            yield Channel(sender(_put(logger), load), partial(queue.put, None), consumer)
    finally:
        queue.cancel_join_thread()
        queue.close()


def _put(logger: logging.Logger) -> Put:
    def put(line: bytes) -> None:
        logger.info(line.decode())

    return put


def _consume(connection: Connection, queue: Any, load: Load, credit: int) -> None:
    records: Iterator[logging.LogRecord] = iter(queue.get, None)
    messages = (record.getMessage().encode() for record in records)
    take(as_lists(messages, load), connection, credit)


LOGGING = Peer(
    "logging QueueHandler",
    _opened,
    Full.GROWS,
    lambda load: load.batches_in(BUFFER_BYTES),
    in_background="feeder thread",
    as_joined=False,
)
PEERS = (LOGGING,)
