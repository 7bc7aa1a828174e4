"""What all contestants have in common: what they carry, how they are opened, what they do if full.

Each module of this package has one family and its caveats; a family that is not installed says so
in ``missing``. ``send`` is what is timed: a loop around the call that a user of it would write.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from ..workload import BATCH, EVENT_BYTES, Batches
from .process import Consumer

BUFFER_BYTES = 4 << 20  # of each buffer that can be chosen: the default of a Tap

Put = Callable[[bytes], object]


class Full(Enum):
    """What a producer meets when its consumer is slow."""

    WAITS = "it waits for the consumer"
    GROWS = "what the consumer has not read piles up"
    DROPS = "it drops and counts"


@dataclass(frozen=True, slots=True)
class Load:
    """What a contestant carries: it sizes its buffers for that."""

    per_event: bool = False  # a message is an event, and not a batch whose lines are joined
    batch: int = BATCH
    event_bytes: int = EVENT_BYTES
    may_wait: bool = True  # else ``send`` gives up what there is no room for

    @property
    def batch_bytes(self) -> int:
        """Of a batch whose lines are joined."""
        return self.batch * (self.event_bytes + 1)

    @property
    def message_bytes(self) -> int:
        """Of the longest message."""
        return self.event_bytes + 1 if self.per_event else self.batch_bytes

    def messages_in(self, buffer_bytes: int, overhead: int = 0) -> int:
        """Messages that fit a buffer where each takes ``overhead`` bytes more; at least two."""
        return max(2, buffer_bytes // (self.message_bytes + overhead))

    def batches_in(self, buffer_bytes: int, overhead: int = 0) -> int:
        """Batches that fit such a buffer; at least one."""
        messages = self.messages_in(buffer_bytes, overhead)
        return max(1, messages // self.batch) if self.per_event else messages


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to a consumer that is open."""

    send: Callable[[Batches], None]
    end: Callable[[], object]  # lets the consumer end when it has read all
    consumer: Consumer


Opened = Callable[[Load, int], AbstractContextManager[Channel]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A contestant. ``opened`` takes the load and the credit of its consumer."""

    name: str
    opened: Opened
    full: Full
    room: Callable[[Load], int]  # batches that it takes while nobody reads
    in_background: str = ""  # the thread that sends, where that is not the caller's
    refuses: str = ""  # how its put is made not to wait, where it can be
    as_joined: bool = True
    tuned: bool = False  # used as its documentation does not begin with
    missing: str = ""


def sender(put: Put, load: Load) -> Callable[[Batches], None]:
    """A loop that puts each event, or each batch with its lines joined."""

    def each(batches: Batches) -> None:
        for lines in batches:
            for line in lines:
                put(line)

    def joined(batches: Batches) -> None:
        for lines in batches:
            put(b"\n".join([*lines, b""]))

    return each if load.per_event else joined


def unless(full: type[Exception], put: Put) -> Put:
    """A put that gives up a message for which there is no room."""

    def attempt(message: bytes) -> None:
        # A ``suppress`` would cost as much as what is measured.
        try:  # noqa: SIM105
            put(message)
        except full:
            pass

    return attempt


def as_lists(messages: Iterator[bytes], load: Load) -> Iterator[int]:
    """Take each batch as a list of bytes."""
    if load.per_event:
        while events := list(islice(messages, load.batch)):
            yield len(events)
    else:
        for message in messages:
            yield len(io.BytesIO(message).readlines())
