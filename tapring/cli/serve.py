"""``tapring serve``: lets others see the engines here over HTTP.

This module holds the command's options, its words and its exit codes. The server is ``gateway``.
"""

from __future__ import annotations

import ipaddress
import os
import signal
from typing import Any, Final, NamedTuple

import click

from ..errors import TapError
from ..files.compression import need
from ..shm.names import split_address
from ..wire import layout
from ..words import visible
from .arguments import Count, Duration, Size
from .command import Command, group
from .generic import ParamType
from .messages import fail, note
from .selecting import REDACT_PATHS, REDACT_REGEX, REDACT_STRICTER

_EXAMPLES: Final = (
    "tapring serve                                    # for you, on this machine",
    "tapring serve --redact user.email --tokens tokens.txt --uds /run/tapring.sock",
    "tapring serve --listen 0.0.0.0:8700 --tls cert.pem --tls-key key.pem",
    "tapring serve --host-name taps.example.org --allow 'web-*'   # behind a proxy",
)
_EPILOG: Final = """\
Everybody needs a token. Without --tokens, the command makes one and shows it once, as a URL. A file
of tokens has a line for each: NAME ROLE TOKEN [UNTIL]. Roles are ls (list engines, read metrics),
read (read events, redacted) and read-raw (without the redaction of --redact).

Each read is noted as a line of JSON on standard error, or in --audit FILE. SIGHUP opens that file
again, and reads the certificate again. Engines do not notice this server, and one that is made with
Tap(remote=False) cannot be read through it.

\b
Exit codes:
  0  it ended by Ctrl-C or SIGTERM
  2  wrong usage
  3  it could not listen, or a file could not be used
"""
_PORT: Final = 8700


class Listen(NamedTuple):
    """A host and a port."""

    host: str
    port: int


class Address(ParamType[Listen]):
    """``127.0.0.1:8700``, ``[::1]:8700``, ``:8700`` or ``8700``."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Listen:
        """The host and the port."""
        host, colon, port = value.rpartition(":")
        if not colon and not value.isdigit():
            host, port = value, str(_PORT)
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            self.fail(f"Invalid address {value!r}. Try 127.0.0.1:8700 or [::1]:8700.", param, ctx)
        return Listen(host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port))


@click.command("serve", cls=Command, examples=_EXAMPLES, epilog=_EPILOG)
@group(
    "Where to listen",
    click.option(
        "--listen",
        type=Address(),
        default=None,
        help=f"The address, and port 0 for any that is free.  [default: 127.0.0.1:{_PORT}]",
    ),
    click.option(
        "--uds", type=str, default=None, help="Listen at this Unix socket, which only you can open."
    ),
    click.option(
        "--host-name",
        "host_names",
        multiple=True,
        help="A name that clients use for this machine, such as taps.example.org.",
    ),
    click.option("--tls", type=str, default=None, help="A file with a certificate: use HTTPS."),
    click.option("--tls-key", type=str, default=None, help="The file with its key."),
    click.option(
        "--tls-client-ca",
        type=str,
        default=None,
        help="Let only clients in whose certificates this file's authorities have signed.",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        help="Use plain HTTP although other machines can reach it: anybody between can read.",
    ),
)
@group(
    "Who may see what",
    click.option("--tokens", type=str, default=None, help="A file of tokens and their roles."),
    click.option(
        "--allow",
        multiple=True,
        help="Only engines of this name, or of this pattern ('web-*').",
    ),
    REDACT_PATHS,
    REDACT_REGEX,
    *REDACT_STRICTER,
    click.option("--audit", type=str, default=None, help="Note each read in this file."),
)
@group(
    "How much at a time",
    click.option(
        "--max-duration",
        type=Duration(),
        default=None,
        help="How long a stream may last.  [default: 24h]",
    ),
    click.option(
        "--max-streams",
        type=Count(),
        metavar="N",
        default=100,
        show_default=True,
        help="How many streams there may be.",
    ),
    click.option(
        "--max-streams-per-token",
        type=Count(),
        metavar="N",
        default=20,
        show_default=True,
        help="How many of these one token may have.",
    ),
    click.option(
        "--buffer",
        type=Size(),
        default="1MiB",
        show_default=True,
        help="The size of a stream's ring in each process that it reads.",
    ),
)
def command(**given: Any) -> None:
    """Let others see the engines here, over HTTP.

    There is a page for browsers, an API for programs, and metrics for Prometheus. It listens on
    this machine only, unless told otherwise.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to read again
    try:
        for module in ("starlette", "uvicorn", "prometheus_client", "re2"):
            need(module, "serve", "tapring serve")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    listen: Listen = given["listen"] or Listen("127.0.0.1", _PORT)
    _check(given, listen)
    _serve(given, listen)


def _check(given: dict[str, Any], listen: Listen) -> None:
    """Raise click.UsageError for options that contradict each other."""
    if given["uds"] is not None and (given["listen"] is not None or given["tls"] is not None):
        raise click.UsageError("--uds cannot be combined with --listen or --tls.")
    for name in ("tls_key", "tls_client_ca"):
        if given[name] is not None and given["tls"] is None:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --tls. Try --tls cert.pem")
    secure = given["uds"] is not None or given["tls"] is not None or _is_loopback(listen.host)
    if not secure and not given["insecure"]:
        raise click.UsageError(
            f"--listen {listen.host} lets other machines in, and plain HTTP lets anybody between "
            f"read tokens and events. Use --tls cert.pem --tls-key key.pem, or listen on 127.0.0.1 "
            f"behind an SSH tunnel or nginx. (--insecure does it anyway.)"
        )
    for pattern in given["allow"]:
        try:
            _, lane, session = split_address(pattern)
        except ValueError as error:
            raise click.UsageError(f"--allow: {error}") from None
        if lane is not None or session is not None:
            raise click.UsageError(f"--allow {pattern}: name an engine, not a lane or a session.")
    for flag in ("redact_ignore_case", "redact_in_strings"):
        if given[flag] and not given["redact"]:
            option = f"--{flag.replace('_', '-')}"
            raise click.UsageError(f"{option} needs --redact. Try --redact password {option}")
    if given["buffer"] < layout.MIN_SLOTS * layout.MAX_SLOT_BYTES:
        raise click.UsageError("--buffer must be at least 8KiB.")


def _serve(given: dict[str, Any], listen: Listen) -> None:
    from ..gateway.access import Access, TokenFileError
    from ..gateway.app import Gateway
    from ..gateway.audit import Audit
    from ..gateway.guard import host_of
    from ..gateway.server import Server, Tls, Where
    from ..gateway.settings import Hidden, Settings

    hidden = Hidden(
        paths=tuple(given["redact"]),
        regex=given["redact_regex"],
        ignore_case=given["redact_ignore_case"],
        in_strings=given["redact_in_strings"],
    )
    host = host_of(listen.host)
    settings = Settings(
        allow=tuple(given["allow"]),
        hidden=hidden,
        hosts=(host, *map(host_of, given["host_names"])),
        longest_s=given["max_duration"] or Settings().longest_s,
        ring_bytes=given["buffer"],
        streams=given["max_streams"],
        streams_each=given["max_streams_per_token"],
    )
    try:
        access = Access(given["tokens"])
        audit = Audit(given["audit"])
        gateway = Gateway(access, audit, settings)
        tls = None
        if given["tls"] is not None:
            tls = Tls(given["tls"], given["tls_key"], given["tls_client_ca"])
        server = Server(gateway, Where(listen.host, listen.port, given["uds"]), tls)
    except TokenFileError as error:
        fail(f"{given['tokens']}: {error}")
    except OSError as error:
        fail(_in_words(error, given, listen))
    except TapError as error:
        fail(error)
    server.serve_until_told(lambda: _greet(given, host, server.port, access.token))


def _in_words(error: OSError, given: dict[str, Any], listen: Listen) -> str:
    """What could not be opened."""
    if error.filename:
        return f"{visible(str(error.filename))}: {error.strerror}"
    if given["uds"] is not None:
        return f"cannot listen at {given['uds']}: {error.strerror or error}"
    if error.errno is None or type(error).__name__ == "SSLError":
        return f"the files of TLS cannot be used: {error}"
    return f"cannot listen on {listen.host}:{listen.port}: {error.strerror or error}"


def _greet(given: dict[str, Any], host: str, port: int, token: str | None) -> None:
    """Say where it listens. A token that it made is shown here, and nowhere else."""
    if given["uds"] is not None:
        where = f"http://localhost with curl --unix-socket {os.path.abspath(given['uds'])}"
    else:
        where = f"{'http' if given['tls'] is None else 'https'}://{host}:{port}"
    if token is None:
        note(f"serving at {where}")
        return
    if given["uds"] is not None:
        note(f"serving at {where}; the token is {token}")
    else:
        note(f"serving at {where}/#token={token}")
    if not given["redact"] and given["redact_regex"] is None:
        note("nothing is redacted: who has the token reads events as they are")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
