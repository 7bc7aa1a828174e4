"""HTTP connections of uvicorn, bounded: how many there are, how long a request may take to come.

A client that does not read the end of its stream can be cut off: closing alone would wait for it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .admission import Admission

CONNECTION: Final = "tapring.connection"
HEADERS_S: Final = 5.0
"""How many seconds the headers of a request may take to come."""


class Connection(H11Protocol):
    """One connection. It is in the request's ``state``, under the name ``CONNECTION``.

    admission: says whether there is room for it.
    """

    def __init__(self, *args: Any, admission: Admission, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state: dict[str, Any] = {**self.app_state, CONNECTION: self}
        self._admission = admission
        self._too_slow: asyncio.TimerHandle | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and wait for a request."""
        super().connection_made(transport)
        if not self._admission.enter(self):
            transport.abort()
            return
        self._expect_request()
        early, self._early = b"".join(self._early), []
        if early:
            self.data_received(early)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_expecting()
        self._admission.leave(self)
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; from the first byte of a request, its headers have to follow."""
        if self.transport is None:  # it came with the end of a TLS handshake
            self._early.append(data)
            return
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

    def know(self) -> None:
        """Note that it has shown a token."""
        self._admission.know(self)

    def abort(self) -> None:
        """Close the connection without sending what it still holds."""
        self.transport.abort()

    def _expect_request(self) -> None:
        self._too_slow = self.loop.call_later(HEADERS_S, self.abort)

    def _stop_expecting(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None
