"""HTTP connections of uvicorn, bounded: how many there are, how long a request may take to come.

A client that does not read the end of its stream can be cut off: closing alone would wait for it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTION: Final = "tapring.connection"
HEADERS_S: Final = 5.0
"""How many seconds the headers of a request may take to come."""


class Connection(H11Protocol):
    """One connection. It is in the request's ``state``, under the name ``CONNECTION``."""

    most: int = 1_000
    """How many connections there may be; others are closed at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state: dict[str, Any] = {**self.app_state, CONNECTION: self}
        self._too_slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_expecting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; from the first byte of a request, its headers have to follow."""
        cycle = self.cycle
        if cycle and not cycle.response_complete and self.conn.their_state is h11.DONE:
            # uvicorn would read no more until then, and so not notice that the client leaves.
            self.abort()
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_expecting()
        elif not self._too_slow and not self.transport.is_closing():
            self._expect_request()

    def abort(self) -> None:
        """Close the connection without sending what it still holds."""
        self.transport.abort()

    def _expect_request(self) -> None:
        self._too_slow = self.loop.call_later(HEADERS_S, self.abort)

    def _stop_expecting(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None
