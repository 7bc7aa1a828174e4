"""A response that goes on for a while: sent until its source or its client ends it.

A client that leaves ends its source at once. One that does not even take the end of its response is
cut off a second after its deadline.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from ..ended_by import EndedBy
from .encoding import Encoding
from .problem import Problem
from .sent import Sent

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNK: Final = 64 * 1024
"""Bytes that are sent at a time. uvicorn holds as much before a client counts as slow."""
_GRACE_S: Final = 1.0


class Response:
    """Sends events, and then what came of it.

    sent: what was sent. deadline_s: after how many seconds the client has to have taken all of it.
    ``failure``: what ended it early; None if nothing did.
    """

    def __init__(self, encoding: Encoding, sent: Sent, deadline_s: float) -> None:
        self.encoding = encoding
        self.sent = sent
        self.deadline_s = deadline_s
        self.failure: Problem | None = None

    @abstractmethod
    def stop(self, reason: EndedBy = EndedBy.INTERRUPT) -> None:
        """Make it end soon, with its last record. Any task may call it."""

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
    @abstractmethod
    def ended_by(self) -> str | None:
        """Why it ended; None before."""

    @abstractmethod
    async def carry(self, send: Send) -> None:
        """Send all events."""

    @abstractmethod
    async def close(self) -> None:
        """Close what the events come from. Doing so twice is fine."""

    @abstractmethod
    def last_records(self) -> bytes:
        """What comes behind the last event, once the source is closed."""

    async def run(self, receive: Receive, send: Send) -> bool:
        """Send everything, then the end. False: the client has to be cut off."""
        loop = asyncio.get_running_loop()
        leaves = asyncio.create_task(self._notice_leaving(receive))
        try:
            async with asyncio.timeout_at(loop.time() + self.deadline_s + _GRACE_S):
                await self.carry(send)
                await self.close()
                if self.ended_by != EndedBy.OUTPUT_CLOSED.value:
                    failed = self.failure
                    error = b"" if failed is None else self.encoding.last("error", failed.told)
                    await self.send(send, error + self.last_records())
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
