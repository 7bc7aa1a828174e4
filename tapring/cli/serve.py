"""``tapring serve``: lets others see the engines here over HTTP.

This module holds the command's options, its words and its exit codes. The server is ``gateway``.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import signal
import stat
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
_SMALLEST: Final = layout.MIN_SLOTS * layout.MAX_SLOT_BYTES
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?", re.ASCII | re.IGNORECASE)


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
        host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
        is_port = port.isascii() and port.isdigit() and int(port[:6]) <= 65535
        if not is_port or not _is_host(host):
            self.fail(f"Invalid address {value!r}. Try 127.0.0.1:8700 or [::1]:8700.", param, ctx)
        return Listen(host, int(port))


class HostName(ParamType[str]):
    """``taps.example.org``, or an IP address."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """``value``, checked."""
        if not _is_host(value):
            self.fail(
                f"Invalid host name {value!r}. Use letters, digits, dots and hyphens, without a "
                f"scheme or a port: taps.example.org",
                param,
                ctx,
            )
        return str(value)


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
        type=HostName(),
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
        if _has_an_open_bracket(pattern):
            raise click.UsageError(
                f"--allow {pattern}: [ needs a ], or no engine matches. Try 'web-[ab]' or 'web-*'"
            )
    for flag in ("redact_ignore_case", "redact_in_strings"):
        if given[flag] and not given["redact"]:
            option = f"--{flag.replace('_', '-')}"
            raise click.UsageError(f"{option} needs --redact. Try --redact password {option}")
    if not _SMALLEST <= given["buffer"] <= layout.MAX_PAYLOAD_BYTES:
        raise click.UsageError("--buffer must be 8KiB to 4095MiB. Try 1MiB")
    if given["max_duration"] == 0:
        raise click.UsageError("--max-duration must be more than 0. Try 30s, 1h")


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
    if type(error).__name__ == "SSLError":  # ssl takes a while to import
        return _of_tls(given)
    why = error.strerror or str(error)
    if given["uds"] is not None:
        path = given["uds"]
        return f"cannot listen at {path}: {_of_socket(error, path)}"
    return f"cannot listen on {listen.host}:{listen.port}: {why}. {_of_address(error)}"


def _of_tls(given: dict[str, Any]) -> str:
    """Which files of TLS cannot be used, and what to do. OpenSSL says neither."""
    certificate, key = given["tls"], given["tls_key"]
    if _can_be_used(certificate, key):
        return (
            f"the file {given['tls_client_ca']} cannot be used for TLS: --tls-client-ca names a "
            f"PEM file with the certificates of authorities"
        )
    if key is None:
        return (
            f"the file {certificate} cannot be used for TLS: without --tls-key, it is a PEM file "
            f"with a certificate and its key. Try --tls-key key.pem"
        )
    return (
        f"the files {certificate} and {key} cannot be used for TLS: --tls names a PEM file with a "
        f"certificate, and --tls-key one with the key that belongs to it, without a password"
    )


def _can_be_used(certificate: str, key: str | None) -> bool:
    """Whether a certificate and its key can be used."""
    import ssl

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except OSError:
        return False
    return True


def _of_socket(error: OSError, path: str) -> str:
    """Why nothing can listen at a path, and what to do."""
    another = "Try another --uds"
    if error.errno == errno.ENOENT:
        return f"its folder does not exist. Try mkdir -p {os.path.dirname(path) or '.'}"
    if error.errno != errno.EADDRINUSE:
        return f"{error.strerror or error}. {another}"
    if os.path.isdir(path):
        return f"it is a folder. Try --uds {os.path.join(path, 'tapring.sock')}"
    if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
        return f"a file is there. {another}, or remove the file"
    return f"another server listens there. {another}, or end that server"


def _of_address(error: OSError) -> str:
    """What to do if nothing can listen at an address."""
    if error.errno == errno.EADDRINUSE:
        return "Try another port, such as --listen 127.0.0.1:0, or end the program that listens"
    if error.errno == errno.EACCES:
        return f"Try a port from 1024 on, such as --listen 127.0.0.1:{_PORT}"
    return f"Try an address of this machine, such as --listen 127.0.0.1:{_PORT}"


def _greet(given: dict[str, Any], host: str, port: int, token: str | None) -> None:
    """Say where it listens. A token that it made is shown here, and nowhere else."""
    if given["uds"] is not None:
        where = f"http://localhost with curl --unix-socket {os.path.abspath(given['uds'])}"
    else:
        where = f"{'http' if given['tls'] is None else 'https'}://{host}:{port}"
    if token is None:
        note(f"serving at {where}")
        who = "tokens with the role read get"
    elif given["uds"] is not None:
        note(f"serving at {where}; the token is {token}")
        who = "who has the token reads"
    else:
        note(f"serving at {where}/#token={token}")
        who = "who has the token reads"
    if not given["redact"] and given["redact_regex"] is None:
        note(f"nothing is redacted: {who} events as they are")


def _is_host(text: str) -> bool:
    """Whether this is a host's name, or an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST.fullmatch(text) is not None and ".." not in text
    return True


def _has_an_open_bracket(pattern: str) -> bool:
    """Whether a pattern has a [ without the ] that belongs to it, which then stands for itself."""
    without_sets = re.sub(r"\[!?[^\]]+\]|\[!?\][^\]]*\]", "", pattern)
    return "[" in without_sets


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
