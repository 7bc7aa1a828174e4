"""tapring as a contestant: an engine here with one session, and its consumer in a child process.

It drops what it has no room for, so a producer that must not lose events has to track its consumer.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

import tapring
from tapring.wire import layout

from ..workload import BATCH, Batches
from .channel import BUFFER_BYTES, Channel, Full, Load, Peer
from .process import Consumer, child, take

SLOT_BYTES = 256  # the default of a Tap

Read = Callable[[tapring.Session], Iterable[int]]


@dataclass(frozen=True, slots=True)
class Tapped:
    """An engine, its one session, and that session's consumer."""

    tap: tapring.Tap
    handle: tapring.Handle
    consumer: Consumer

    @property
    def dropped_share(self) -> float:
        """The share of offered events that found the ring full."""
        return self.handle.dropped / max(1, self.handle.dropped + self.handle.captured)


@contextmanager
def tapped(
    stage: str, read: Read, credit: int, buffer_bytes: int = BUFFER_BYTES
) -> Iterator[Tapped]:
    """An engine whose consumer takes ``stage`` with ``read``."""
    with tapring.Tap(f"bench-{os.getpid()}", buffer_bytes=buffer_bytes) as tap:
        handle = tap.register(stage)
        assert handle is not None
        with child(_read_session, tap.name, handle.id, read, credit) as connection:
            yield Tapped(tap, handle, Consumer.ready(connection))
            handle.close()


def as_lists(session: tapring.Session) -> Iterator[int]:
    """Take each batch as a list of bytes."""
    return (len(frame.lines(keepends=True)) for frame in session.frames())


def as_payloads(session: tapring.Session) -> Iterator[int]:
    """Take each batch as one block, as a consumer does that passes it on."""
    return (frame.count for frame in session.frames())


def as_events(session: tapring.Session) -> Iterator[int]:
    """Take event after event, without newlines; they are counted at the end."""
    for _ in session:
        pass
    yield session.stats.delivered


def _read_session(connection: Connection, engine: str, id_: int, read: Read, credit: int) -> None:
    with tapring.attach_session(engine, id_) as session:
        take(read(session), connection, credit)


# ---- as one of the contestants ---------------------------------------------------------------


def _each_as_lists(session: tapring.Session) -> Iterator[int]:
    while events := list(islice(session, BATCH)):
        yield len(events)


@contextmanager
def _opened(load: Load, credit: int) -> Iterator[Channel]:
    read = _each_as_lists if load.per_event else as_lists
    with tapped("raw", read, credit) as pair:
        send = partial(_offer_each if load.per_event else offer, pair.tap)
        yield Channel(send, pair.handle.close, pair.consumer)
        assert not pair.handle.dropped or not load.may_wait


def offer(tap: tapring.Tap, batches: Sequence[Any], stage: str = "raw") -> None:
    """What an engine does: for each batch a snapshot, and an offer if there is a session."""
    for batch in batches:
        watched = tap.snapshot()
        if watched:
            watched.offer(stage, batch)


def _offer_each(tap: tapring.Tap, batches: Batches) -> None:
    for lines in batches:
        for line in lines:
            watched = tap.snapshot()
            if watched:
                watched.offer("raw", [line])


def _room(load: Load) -> int:
    return load.batches_in(BUFFER_BYTES, layout.FRAME.size + SLOT_BYTES)


TAPRING = Peer("tapring raw", _opened, Full.DROPS, _room, refuses="offer")
