"""``python -m tapring.attach`` = ``tapring attach``: see an engine's events, learn what was lost.

Arguments, signals, the summary and the exit codes live here; reading is ``session``'s, bytes are
``sinks``'s.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import click
import msgspec

from .account import Stats
from .command_line import Address, Duration, Size, fail, say
from .discovery import split_address
from .errors import TapError
from .opening import attach_session, capture
from .session import AT_MOST_ONCE, DELIVERIES, Session
from .sinks import FORMATS, STDOUT, Output, make_format

EXIT_ENGINE_DIED: Final = 4
_CANNOT: Final = TapError.exit_code


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
    "--delivery",
    type=click.Choice(DELIVERIES),
    default=AT_MOST_ONCE,
    show_default=True,
    help="Of a session that outlives this: what the next one does not see, or sees again, of the "
    "events that a killed one had in hand.",
)
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
    delivery: str,
    summary: str,
) -> None:
    """Show the events of the engine at ADDRESS, live.

    ADDRESS is ENGINE, ENGINE.LANE (one of its processes) or ENGINE:ID (a session that the engine
    registered or that tapring open made; otherwise one is opened on every lane). Nothing here
    slows the engine: what does not fit into the ring is dropped and counted.

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
        session = _open(address, stage, duration, buffer, wait, session_id, delivery)
    except (TapError, OSError, MemoryError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before the capture began")
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
    delivery: str,
) -> Session:
    patience = math.inf if wait else 0.0
    if session_id is not None or split_address(address)[2] is not None:
        return attach_session(address, session_id, wait=patience, delivery=delivery)
    return capture(
        address,
        stage=stage or "decoded",
        duration=duration or None,
        buffer_bytes=buffer,
        wait=patience,
        delivery=delivery,
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
            fail(error)
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
        say(failure)
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


if __name__ == "__main__":
    main()
