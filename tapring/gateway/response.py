"""A response that goes on for a while: sent until its source or its client ends it.

A client that leaves ends its source at once. One that does not even take the end of its response is
cut off a second after its deadline.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Final, Protocol

import msgspec

from ..ended_by import EndedBy
from ..frame import Frame
from .encoding import Encoding
from .problem import Problem
from .sent import Sent

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNK: Final = 64 * 1024
"""Bytes that are sent at a time. uvicorn holds as much before a client counts as slow."""
_GRACE_S: Final = 1.0


class Source(Protocol):
    """What events come from: a session, or a past."""

    @property
    def ended_by(self) -> str | None:
        """Why it ended; None before."""

    @property
    def final_gaps(self) -> Iterable[Frame]:
        """What was lost behind the last event, as frames without events."""

    def end(self, reason: EndedBy) -> None:
        """Make it end soon. Any thread may call it."""


class Facts(Protocol):
    """A report of what came of it, as its ``facts``."""

    def facts(self) -> msgspec.Struct:
        """What is known now."""


class Response:
    """Sends events, and then what came of it.

    report: its facts are the last record. sent: what was sent. deadline_s: after how many seconds
    the client has to have taken all of it. ``failure``: what ended it early; None if nothing did.
    """

    def __init__(
        self, source: Source, report: Facts, encoding: Encoding, sent: Sent, deadline_s: float
    ) -> None:
        self._source = source
        self._report = report
        self.encoding = encoding
        self.sent = sent
        self.deadline_s = deadline_s
        self.failure: Problem | None = None

    def stop(self, reason: EndedBy = EndedBy.INTERRUPT) -> None:
        """Make it end soon, with its last record. Any task may call it."""
        self._source.end(reason)

    def fail(self, problem: Problem) -> None:
        """Say, before the last record, what has ended it early."""
        self.failure = problem

    @property
    def events(self) -> int:
        """The events that were sent."""
        return self.sent.events

    @property
    @abstractmethod
    def lost(self) -> int:
        """The events that were lost, or withheld."""

    @property
    def ended_by(self) -> str | None:
        """Why it ended; None before."""
        return self._source.ended_by

    @property
    def position(self) -> str:
        """Where the reader is, for one that resumes; "" if none can."""
        return ""

    @abstractmethod
    async def carry(self, send: Send) -> None:
        """Send all events. Raises Problem for what ends it early."""

    @abstractmethod
    async def close(self) -> None:
        """Close what the events come from. Doing so twice is fine."""

    def _last_records(self) -> bytes:
        """What comes behind the last event: the last gaps, and the summary."""
        gaps = [self.encoding.frame(gap, self.position) for gap in self._source.final_gaps]
        return b"".join([*gaps, self.encoding.last("summary", self._report.facts())])

    async def run(self, receive: Receive, send: Send) -> bool:
        """Send everything, then the end. False: the client has to be cut off."""
        loop = asyncio.get_running_loop()
        leaves = asyncio.create_task(self._notice_leaving(receive))
        try:
            async with asyncio.timeout_at(loop.time() + self.deadline_s + _GRACE_S):
                try:
                    await self.carry(send)
                except Problem as problem:
                    self.fail(problem)
                    self.stop(EndedBy.CLOSED)
                await self.close()
                if self.ended_by != EndedBy.OUTPUT_CLOSED.value:
                    failed = self.failure
                    error = b"" if failed is None else self.encoding.last("error", failed.told)
                    await self.send(send, error + self._last_records())
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return False
        except OSError:  # the client has left
            self.stop(EndedBy.OUTPUT_CLOSED)
        finally:
            leaves.cancel()
            with suppress(asyncio.CancelledError):
                await leaves
            await self.close()
        return True

    async def send(self, send: Send, body: bytes) -> None:
        """Send a part of the body, and wait while the client is slow."""
        for begin in range(0, len(body), CHUNK):
            part = body[begin : begin + CHUNK]
            self.sent.bytes += len(part)
            await send({"type": "http.response.body", "body": part, "more_body": True})

    async def _notice_leaving(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.stop(EndedBy.OUTPUT_CLOSED)
