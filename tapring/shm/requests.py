"""Standing requests: what a consumer wants of lanes that do not exist yet.

Theory of operation. A consumer that captures an engine, and not one lane of it, publishes a request
first and lists the lanes after that. A lane that starts makes the name of its registry first and
looks for requests after that. So at least one of the two sees the other: a lane that the consumer
does not find opens a session for it before it is ready to be offered a batch (``Registry.create``).

A request stands for as long as its consumer holds the lock on its segment, so nothing has to be
taken back if the consumer dies. An engine looks at its own user's requests alone, and at a limited
number of them; it copies what they say, and maps nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ..errors import RingCorrupt, SharedMemoryFull, TapError
from ..wire import layout
from .names import (
    matches,
    named_alike,
    new_epoch,
    parse_request_name,
    request_name,
    requests_prefix,
)
from .protocol import check_protocol, say_protocol
from .segment import Segment, is_own, names, unlink

_Pattern = Annotated[str, Meta(min_length=1, max_length=128)]
ALL_STAGES: Final = "*"
_StageName = Annotated[str, Meta(pattern=rf"^({layout.ENGINE_PATTERN}|\*)\Z")]
_Word = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_TRIES: Final = 100


class Request(msgspec.Struct, frozen=True):
    """What is wanted of each lane: a session of ``stage``, or of each stage if it is ``*``.

    engines: the engine's name, or a pattern as in ``fnmatch``. buffer_bytes: of the ring; 0 is the
    engine's default. duration_ns: 0 is as long as the engine allows. sample: one batch in so many.
    """

    engines: _Pattern
    stage: _StageName
    buffer_bytes: _Word = 0
    duration_ns: _Word = 0
    sample: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)] = 1

    def speaks_of(self, engine: str) -> bool:
        """Return whether it wants lanes of this engine."""
        return matches(engine, self.engines)

    def stages_of(self, stages: Sequence[str]) -> Sequence[str]:
        """Return the stages of which it wants a session, of a lane that has ``stages``."""
        return stages if self.stage == ALL_STAGES else (self.stage,)


def split_stages(text: str) -> tuple[str, ...]:
    """Return the names in ``raw,decoded``, each once. Raises ValueError."""
    stages = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in stages:
        if name != ALL_STAGES and not re.fullmatch(layout.ENGINE_PATTERN, name):
            raise ValueError(
                f"Invalid stage {name!r}{named_alike(name) or '.'} "
                f"Try decoded, or raw,decoded, or '*' for all."
            )
    return stages


# Made as the module is imported: see ``decode_info``.
_decode: Final = msgspec.json.Decoder(Request).decode


class StandingRequest:
    """A request that this process has published. ``withdraw`` ends it, as does this process's end.

    ``epoch``: stands in the rows of the sessions that lanes open for it.
    """

    def __init__(self, segment: Segment, epoch: int) -> None:
        self.epoch = epoch
        self._segment = segment

    @classmethod
    def publish(cls, request: Request, owner: int | None = None) -> StandingRequest:
        """Publish ``request`` for the engines of user ``owner``; of this user by default.

        Raises SharedMemoryFull and NotPermitted.
        """
        described = msgspec.json.encode(request)
        size = layout.PAGE + len(described)
        size += -size % layout.PAGE
        for _ in range(_TRIES):
            epoch = new_epoch() | 1  # never 0, which stands in rows without a request
            segment = Segment.create(request_name(epoch), size, owner=owner)
            try:
                # A sweep that came before the lock was taken has removed the name.
                if segment.try_lock(layout.LOCK_REQUEST) and segment.is_linked():
                    _write(segment, epoch, described)
                    return cls(segment, epoch)
            except BaseException:
                unlink(segment.name)
                segment.detach()
                raise
            unlink(segment.name)
            segment.close()
        raise RingCorrupt("each request is removed as soon as it is made; see what does that")

    def withdraw(self) -> None:
        """Take the request back: lanes that start from now on do not open a session for it."""
        unlink(self._segment.name)
        self._segment.close()

    def detach(self) -> None:
        """In a forked child: leave the request to the parent."""
        self._segment.detach()


def requests_for(engine: str) -> list[tuple[int, Request]]:
    """Return the requests of this very user that stand and speak of ``engine``, with their epochs.

    Looks at ``MAX_REQUESTS`` of its own at most. One that cannot be read is left out: its consumer
    opens a session by itself.
    """
    found: list[tuple[int, Request]] = []
    with suppress(TapError):  # this process may not open another file to look
        # Chosen by their owner first, or names that another user plants would use up the number.
        for name in list(filter(is_own, request_names()))[: layout.MAX_REQUESTS]:
            epoch = parse_request_name(name)
            assert epoch is not None
            with suppress(TapError, FileNotFoundError), Segment.attach(name, own=True) as segment:
                if segment.is_locked(layout.LOCK_REQUEST):
                    request = _read(segment, epoch)
                    if request.speaks_of(engine):
                        found.append((epoch, request))
    return found


def is_standing(epoch: int) -> bool:
    """Return whether the consumer that published a request still holds it.

    If this process lacks what it takes to look (open files, say), then it may.
    """
    try:
        with Segment.attach(request_name(epoch)) as segment:
            return segment.is_locked(layout.LOCK_REQUEST)
    except SharedMemoryFull:
        return True
    except (TapError, FileNotFoundError):
        return False


def request_names() -> list[str]:
    """Return the names of all requests, standing or not. Raises SharedMemoryFull."""
    return [each for each in names(requests_prefix()) if parse_request_name(each) is not None]


def _write(segment: Segment, epoch: int, described: bytes) -> None:
    """Write a request. Not through a mapping, by which a forked child would keep its lock."""
    page = bytearray(layout.PAGE)
    with memoryview(page) as view, view.cast("Q") as words:
        say_protocol(words)
        words[layout.SEGMENT_BYTES] = segment.size
        words[layout.EPOCH] = epoch
        words[layout.REQUEST_INFO_BYTES] = len(described)
        os.pwrite(segment.fd, page + described, 0)
        words[layout.MAGIC] = layout.REQUEST_MAGIC
    os.pwrite(segment.fd, page[: layout.WORD], layout.MAGIC * layout.WORD)


def _read(segment: Segment, epoch: int) -> Request:
    """Return what a request says. Raises RingCorrupt and VersionMismatch."""
    with memoryview(segment.read(0, layout.PAGE)) as view, view.cast("Q") as words:
        if words[layout.MAGIC] != layout.REQUEST_MAGIC:
            raise RingCorrupt(f"{segment.name} is no request of tapring, or is not finished")
        check_protocol(segment.name, words)
        length = words[layout.REQUEST_INFO_BYTES]
        if words[layout.EPOCH] != epoch or length > layout.MAX_REQUEST_BYTES:
            raise RingCorrupt(f"the request {segment.name} is damaged")
    try:
        return _decode(segment.read(layout.PAGE, length))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RingCorrupt(f"the request {segment.name} is damaged: {error}") from None
