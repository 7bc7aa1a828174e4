"""The server: its socket, TLS, signals, and an end within a second, with any number of streams."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import signal
import socket
import ssl
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

import uvicorn

from .admission import Admission
from .app import Gateway
from .connections import Connection
from .handshakes import Handshake

_GRACE_S: Final = 0.5
_LONGEST_END_S: Final = 5.0  # of a busy machine: 100 summaries take 0.2 s
_BACKLOG: Final = 512
_EVERY_S: Final = 60.0
_TRIES: Final = 50
_PAUSE_S: Final = 0.02
_SPARE: Final = 400
"""Connections beside those of streams: short requests, and some that only sit there."""


class Tls(NamedTuple):
    """The files of TLS: certificate, key, and who signs the certificates of clients, if anyone."""

    certificate: str
    key: str | None = None
    client_ca: str | None = None


class Where(NamedTuple):
    """Where a server listens: a host and a port, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 8700
    path: str | None = None


class Server(uvicorn.Server):
    """Serves a Gateway. ``port`` is the real one, if it was asked for any.

    Raises OSError if it cannot listen, or cannot use the files of TLS.
    """

    def __init__(self, gateway: Gateway, where: Where, tls: Tls | None = None) -> None:
        config = uvicorn.Config(
            gateway.app,
            interface="asgi3",
            http=Connection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=2 * round(_LONGEST_END_S),
        )
        super().__init__(config)
        self._gateway = gateway
        self._where = where
        self._tls = tls
        self._context = None if tls is None else _context(tls)
        self._admission = Admission(gateway.settings.streams + _SPARE)
        self._socket = _listen(where)
        self._made = None if where.path is None else _identity(where.path)
        self._complained = -_EVERY_S
        self._ready: Callable[[], object] = lambda: None
        _allow_many_files()
        self.port: int = 0 if where.path else self._socket.getsockname()[1]

    def serve_until_told(self, ready: Callable[[], object] = lambda: None) -> None:
        """Serve until SIGINT or SIGTERM. SIGHUP reads certificates again, and opens the audit.

        ready: called once clients are answered, and signals are heeded.
        """
        self._ready = ready
        try:
            asyncio.run(self._serve_here())
        finally:
            self._socket.close()
            path = self._where.path
            if path is not None and _identity(path) == self._made is not None:
                with suppress(FileNotFoundError):
                    os.unlink(path)

    async def _serve_here(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await self.serve([self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. As uvicorn does, but connections are bounded from their first moment."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complain)
        made = self._connection if self._context is None else self._handshake
        self.servers: list[asyncio.base_events.Server] = [
            await loop.create_server(made, sock=each, backlog=_BACKLOG) for each in sockets or ()
        ]
        self.started = True
        self._ready()

    def _connection(self) -> Connection:
        return Connection(
            config=self.config,
            server_state=self.server_state,
            app_state={},
            admission=self._admission,
        )

    def _handshake(self) -> Handshake:
        return Handshake(self._connection, self._context_now, self._admission)

    def _context_now(self) -> ssl.SSLContext:
        assert self._context is not None
        return self._context

    def _complain(self, _: object, context: dict[str, Any]) -> None:
        """Say what asyncio cannot do, once a minute: it tries to accept many times a second."""
        now = time.monotonic()
        if now - self._complained >= _EVERY_S:
            self._complained = now
            error = context.get("exception") or context.get("message")
            print(f"tapring: error: a connection has failed: {error}", file=sys.stderr)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all streams with their last record; cut off those whose client does not take it."""
        self._gateway.stop()
        cutting = asyncio.create_task(self._cut_off())
        await super().shutdown(sockets)
        cutting.cancel()
        self._captured_signals.clear()  # uvicorn would raise them again: this is a good end

    async def _cut_off(self) -> None:
        """Cut off clients that take nothing; those that do get their last record."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _LONGEST_END_S
        await asyncio.sleep(_GRACE_S)
        while connections := tuple(self.server_state.connections):
            late = loop.time() >= ends_at
            for connection in connections:
                transport = connection.transport
                if late or transport.get_write_buffer_size():
                    transport.abort()
            await asyncio.sleep(_GRACE_S)

    def _reload(self) -> None:
        """Read again what may have been replaced. What is wrong is said, and changes nothing."""
        try:
            self._gateway.audit.reopen()
        except OSError as error:
            print(f"tapring: error: the audit was not opened again: {error}", file=sys.stderr)
        try:
            if self._tls is not None:
                self._context = _context(self._tls)
        except OSError as error:  # also an ssl.SSLError
            why = f"{error.filename}: {error.strerror}" if error.filename else "they do not match"
            print(
                f"tapring: error: the old certificate stays in use: the new files of --tls cannot "
                f"be used ({why})",
                file=sys.stderr,
            )


def _allow_many_files() -> None:
    """A connection is a file, and so is each lane of a stream: allow as many as may be."""
    with suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _context(tls: Tls) -> ssl.SSLContext:
    for path in filter(None, tls):  # ssl does not say which file it lacks
        _check_regular(path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.client_ca)
    # Without a password, ssl would ask for it at the terminal, and all streams would wait.
    context.load_cert_chain(tls.certificate, tls.key, password=lambda: b"")
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_regular(path: str) -> None:
    """Raise OSError unless it is a file that can be read at once: all streams would wait."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    with open(path, "rb"):
        pass


def _listen(where: Where) -> socket.socket:
    if where.path is not None:
        return _listen_at(where.path)
    family, kind, protocol, _, address = socket.getaddrinfo(
        where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)  # clients may connect as soon as the address is shown
    except BaseException:
        made.close()
        raise
    return made


def _identity(path: str) -> tuple[int, int] | None:
    """What tells a file from another one that has taken its place; None if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _listen_at(path: str) -> socket.socket:
    """A Unix socket that its owner alone may connect to. One that nobody listens at is replaced."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with _alone_in(os.path.dirname(path) or "."):
            _remove_dead(path)
            made.bind(path)
            made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(mask)
    return made


@contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Keep other servers from taking the same dead socket for theirs, for a moment."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # to bind says what is wrong with the folder
        yield
        return
    try:
        for _ in range(_TRIES):  # what else locks a folder must not keep this from starting
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(fd)


def _remove_dead(path: str) -> None:
    """Remove a socket at which nobody listens."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                try:
                    other.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)
