"""TLS handshakes: counted from a connection's first moment, and bounded in time.

asyncio tells a protocol of a connection once its handshake is done. Until then it would count
nowhere, and each takes 300 kB.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from .admission import Admission
from .connections import HEADERS_S, Connection

_CLOSING_S: Final = 1.0  # for the client's part of the end; asyncio would wait 30 s


class Handshake(asyncio.Protocol):
    """A connection up to the end of its handshake, and then one that ``made`` returns.

    context: returns the context of new connections.
    """

    def __init__(
        self,
        made: Callable[[], Connection],
        context: Callable[[], ssl.SSLContext],
        admission: Admission,
    ) -> None:
        self._made = made
        self._context = context
        self._admission = admission
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake, if there is room for another connection."""
        self._transport = transport
        transport.pause_reading()  # what comes is for the handshake alone
        if self._admission.enter(self):
            self._task = asyncio.get_running_loop().create_task(self._shake_hands(transport))
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._admission.leave(self)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        connection = self._made()
        try:
            secure = await loop.start_tls(
                transport,
                connection,
                self._context(),
                server_side=True,
                ssl_handshake_timeout=HEADERS_S,
                ssl_shutdown_timeout=_CLOSING_S,
            )
        except OSError:  # also an ssl.SSLError: it is the client's fault, or it has left
            transport.abort()
            return
        finally:
            self._admission.leave(self)
        if secure is None or secure.is_closing():
            transport.abort()
        else:
            connection.connection_made(secure)
