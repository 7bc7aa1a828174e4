"""The past: what recorders hold, to one client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from ..consumer.past import Past
from ..delivery.past_report import PastReport
from ..frame import Frame
from .encoding import Encoding
from .response import CHUNK, Response, Send
from .sent import Sent

LONGEST_S: Final = 600.0
"""How many seconds a client may take for it."""


class Dumped(Response):
    """Sends the frames of a past.

    still_allowed: raises Problem once the reader may not read any more.
    """

    def __init__(
        self,
        past: Past,
        encoding: Encoding,
        sent: Sent,
        report: PastReport,
        *,
        still_allowed: Callable[[], object],
        limit: int | None = None,
    ) -> None:
        super().__init__(past, report, encoding, sent, LONGEST_S)
        self._past = past
        self._frames: Iterator[Frame] = past.frames(limit=limit)
        self._still_allowed = still_allowed
        self._closed = False

    @property
    def lost(self) -> int:
        """As of a Response."""
        return self._past.away.redaction

    async def close(self) -> None:
        """As a Response does."""
        if not self._closed:
            self._closed = True
            self._past.close()

    async def carry(self, send: Send) -> None:
        """As a Response does. Sifting goes on in a thread, since it may take long."""
        while chunk := await asyncio.to_thread(self._gather):
            self._still_allowed()
            await self.send(send, chunk)

    def _gather(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        for frame in self._frames:
            self.sent.write(frame)
            parts.append(self.encoding.frame(frame, ""))
            size += len(parts[-1])
            if size >= CHUNK:
                break
        return b"".join(parts)
