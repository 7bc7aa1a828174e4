"""``python -m tapring.attach`` = ``tapring attach``: see an engine's events, learn what was lost.

Arguments, signals, the summary and the exit codes live here; reading is ``session``'s, bytes are
``sinks``'s.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import click
import msgspec

from .discovery import split_address
from .errors import TapError
from .opening import attach_session, capture
from .session import Session, Stats
from .sinks import FORMATS, STDOUT, Output, make_format

EXIT_ENGINE_DIED: Final = 4
_CANNOT: Final = TapError.exit_code
_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS: Final = dict(enumerate("kmgt", start=1))
_UNITS_BYTES: Final = (
    {"": 1, "b": 1}
    | {letter + end: 1024**power for power, letter in _POWERS.items() for end in ("", "ib")}
    | {letter + "b": 1000**power for power, letter in _POWERS.items()}
)


class Address(click.ParamType[str]):
    """``ENGINE``, ``ENGINE.LANE`` or ``ENGINE[.LANE]:ID``."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that ``value`` is an address."""
        try:
            split_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Duration(click.ParamType[float]):
    """``30s``, ``1m30s``, ``500ms``, ``2h``; a plain number is seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        text = value.strip().lower()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)", text)
        if not parts or "".join(map("".join, parts)) != text:
            self.fail(f"{value!r} is no duration; 30s, 1m30s, 500ms and 2h are", param, ctx)
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


class Size(click.ParamType[int]):
    """``16MiB``, ``64k``, ``1048576``: k, M and KiB, MiB are powers of 1024; kB, MB of 1000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip().lower())
        if not match or match[2] not in _UNITS_BYTES or not float(match[1]):
            self.fail(f"{value!r} is no size; 16MiB, 64k and 1048576 are", param, ctx)
        size: int = round(float(match[1]) * _UNITS_BYTES[match[2]])
        return size


@click.command("attach")
@click.argument("address", type=Address())
@click.option("--stage", default=None, help="The stage to read.  [default: decoded]")
@click.option(
    "--duration",
    type=Duration(),
    default=None,
    help="End after this long (30s, 5m). 0, the default: when interrupted, or at the engine's "
    "limit.",
)
@click.option("--limit", type=click.IntRange(1), default=None, help="End after this many events.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default=None,
    help="Default: pretty on a terminal; elsewhere lines as they are, ndjson for other stages.",
)
@click.option("-o", "--output", default=STDOUT, metavar="PATH", help="Write to a file.")
@click.option("--buffer", type=Size(), default=None, help="Size of the ring, such as 16MiB.")
@click.option("--wait", is_flag=True, help="Wait for the engine to appear.")
@click.option("--session", "session_id", type=click.IntRange(1), help="Read a registered session.")
@click.option(
    "--summary",
    type=click.Choice(["text", "json", "none"]),
    default="text",
    show_default=True,
    help="What standard error says at the end.",
)
def command(
    address: str,
    stage: str | None,
    duration: float | None,
    limit: int | None,
    format_: str | None,
    output: str,
    buffer: int | None,
    wait: bool,
    session_id: int | None,
    summary: str,
) -> None:
    """Show the events of the engine at ADDRESS, live.

    ADDRESS is ENGINE, ENGINE.LANE (one of its processes) or ENGINE:ID (a session that somebody
    registered; otherwise one is opened on every lane). Nothing here slows the engine: what does
    not fit into the ring is dropped and counted.

    \b
    Exit codes: 0 the capture completed, also without events; 2 wrong usage;
    3 it could not start or could not write; 4 the engine died during the capture.
    """
    _, _, named = split_address(address)
    if named is not None and session_id not in (None, named):
        raise click.UsageError(f"ADDRESS says session {named} and --session says {session_id}")
    if session_id or named:
        _refuse_with_session(stage=stage, duration=duration, buffer=buffer)
    try:
        session = _open(address, stage, duration, buffer, wait, session_id)
    except (TapError, OSError, MemoryError) as error:
        _fail(error)
    except KeyboardInterrupt:
        _fail("interrupted before the capture began")
    sys.exit(_run(session, output, format_, limit, summary))


def main() -> None:
    """Run the command; its errors are one line."""
    command(prog_name="python -m tapring.attach")


def _refuse_with_session(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(
                f"--{name} is set by who registered the session; leave it out, or leave the "
                f"session's id out to open one of your own"
            )


def _open(
    address: str,
    stage: str | None,
    duration: float | None,
    buffer: int | None,
    wait: bool,
    session_id: int | None,
) -> Session:
    patience = math.inf if wait else 0.0
    if session_id is not None or split_address(address)[2] is not None:
        return attach_session(address, session_id, wait=patience)
    return capture(
        address,
        stage=stage or "decoded",
        duration=duration or None,
        buffer_bytes=buffer,
        wait=patience,
    )


def _run(session: Session, path: str, format_: str | None, limit: int | None, summary: str) -> int:
    """Read to the end, whatever ends it; say what came of it; return the exit code."""
    started = time.monotonic()
    failure: Exception | None = None
    with session:
        try:
            output = Output(path)
        except OSError as error:
            session.close()
            _fail(error)
        with output, _signals(session):
            try:
                _copy(session, output, format_, limit)
            except BrokenPipeError:
                session.ended_by = "output-closed"
                _silence_stdout()
            except (TapError, OSError, MemoryError) as error:
                session.ended_by, failure = "error", error
            except KeyboardInterrupt:
                session.ended_by = "interrupt"
    if failure is not None:
        _say(failure)
    _summarize(session, time.monotonic() - started, summary)
    if failure is not None:
        return _CANNOT
    return EXIT_ENGINE_DIED if session.ended_by == "engine-death" else 0


def _copy(session: Session, output: Output, format_: str | None, limit: int | None) -> None:
    terminal = output.is_terminal
    colour = terminal and not os.environ.get("NO_COLOR")
    encode = make_format(format_, session.kind, terminal=terminal, colour=colour)
    for frame in session.frames(limit=limit):
        output.write(encode(frame))


@contextmanager
def _signals(session: Session) -> Iterator[None]:
    """SIGINT and SIGTERM end the session normally; the second one at once."""

    def stop(signum: int, _frame: FrameType | None) -> None:
        session.end("interrupt")
        signal.signal(signum, signal.default_int_handler)

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _silence_stdout() -> None:
    # The interpreter flushes standard output when it ends and would complain of the closed pipe.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _summarize(session: Session, seconds: float, style: str) -> None:
    if style == "json":
        line = msgspec.json.encode({"tapring_summary": _facts(session, seconds)})
        click.echo(line.decode(), err=True)
    elif style == "text":
        click.echo(_words(session, seconds), err=True)


def _facts(session: Session, seconds: float) -> dict[str, Any]:
    stats = msgspec.structs.asdict(session.stats)
    del stats["lag_ns"]
    return {
        **stats,
        "redaction_dropped": 0,
        "filtered": 0,
        "duration_ms": round(seconds * 1000),
        "engine": session.engine,
        "lanes": list(session.lanes),
        "stage": session.stage,
        "ended_by": session.ended_by,
    }


def _words(session: Session, seconds: float) -> str:
    stats = session.stats
    first = (
        f"tapring: {_events(stats.delivered)} of {session.engine}/{session.stage} "
        f"in {seconds:.1f} s, ended by {session.ended_by}; {_losses(stats)}"
    )
    lines = [first]
    if stats.dropped:
        lines.append(
            "tapring: the ring was full when they came: a larger --buffer bridges bursts, "
            "a quicker output or --limit helps a constant stream"
        )
    if stats.split:
        lines.append(f"tapring: {stats.split:,} lines more than events: some had a newline inside")
    return "\n".join(lines)


def _losses(stats: Stats) -> str:
    parts = [
        (stats.dropped, "dropped"),
        (stats.oversize, "larger than the ring"),
        (stats.errors, "not serializable"),
    ]
    unread = f"; {stats.unread:,} more lay unread in the ring" if stats.unread else ""
    lost = sum(count for count, _ in parts)
    if not lost:
        return "nothing was lost" + unread
    said = ", ".join(f"{count:,} {what}" for count, what in parts if count)
    places = f" in {stats.gaps:,} place{'s' * (stats.gaps != 1)}" if stats.gaps else ""
    return (
        f"{lost:,} of {stats.offered:,} ({100 * lost / stats.offered:.1f} %) were lost"
        f"{places}: {said}{unread}"
    )


def _events(count: int) -> str:
    return f"{count:,} event{'s' * (count != 1)}"


def _say(error: object) -> None:
    if isinstance(error, OSError) and error.strerror:
        error = f"{error.filename or 'output'}: {error.strerror}"
    elif isinstance(error, MemoryError):
        error = "this process has no memory left; raise its limit (ulimit -v), or --buffer less"
    click.echo(f"tapring: error: {error}", err=True)


def _fail(error: object) -> Any:
    _say(error)
    sys.exit(_CANNOT)


if __name__ == "__main__":
    main()
