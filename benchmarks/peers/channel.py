"""What all contestants have in common: their load, how they are opened, what they do when full.

Each module of this package has one family and its caveats; if a family is not installed,
``missing`` says so. ``send`` is timed: a loop around the call that a user would write.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from ..workload import BATCH, EVENT_BYTES, Batches
from .process import Consumer

BUFFER_BYTES = 4 << 20  # for each buffer whose size can be chosen: a Tap's default

Put = Callable[[bytes], object]


class Full(Enum):
    """What happens to a producer whose consumer is slow."""

    WAITS = "it waits for the consumer"
    GROWS = "what the consumer has not read piles up"
    DROPS = "it drops and counts"


@dataclass(frozen=True, slots=True)
class Load:
    """What a contestant carries, and sizes its buffers for."""

    per_event: bool = False  # a message is one event, not a batch of joined lines
    batch: int = BATCH
    event_bytes: int = EVENT_BYTES
    may_wait: bool = True  # else ``send`` discards a message if there is no room

    @property
    def batch_bytes(self) -> int:
        """The bytes of a batch whose lines are joined."""
        return self.batch * (self.event_bytes + 1)

    @property
    def message_bytes(self) -> int:
        """The bytes of the longest message."""
        return self.event_bytes + 1 if self.per_event else self.batch_bytes

    def messages_in(self, buffer_bytes: int, overhead: int = 0) -> int:
        """Messages that fit a buffer if each takes ``overhead`` bytes more; at least two."""
        return max(2, buffer_bytes // (self.message_bytes + overhead))

    def batches_in(self, buffer_bytes: int, overhead: int = 0) -> int:
        """Batches that fit such a buffer; at least one."""
        messages = self.messages_in(buffer_bytes, overhead)
        return max(1, messages // self.batch) if self.per_event else messages


@dataclass(frozen=True, slots=True)
class Channel:
    """An open way to a consumer."""

    send: Callable[[Batches], None]
    end: Callable[[], object]  # lets the consumer end once it has read everything
    consumer: Consumer


Opened = Callable[[Load, int], AbstractContextManager[Channel]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A contestant. ``opened`` takes the load and its consumer's credit."""

    name: str
    opened: Opened
    full: Full
    room: Callable[[Load], int]  # batches that it accepts without a reader
    in_background: str = ""  # the thread that sends, if not the caller's
    refuses: str = ""  # how to make its put not wait, if possible
    as_joined: bool = True
    tuned: bool = False  # not used as its documentation introduces it
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
    """A put that discards a message if there is no room for it."""

    def attempt(message: bytes) -> None:
        # A ``suppress`` would cost as much as the put that is measured.
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
