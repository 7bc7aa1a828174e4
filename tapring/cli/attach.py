"""``tapring attach``, also ``python -m tapring.attach``: see an engine's events and what was lost.

This module holds the command's course and its exit codes. Its options are ``attach_options``, its
last words ``summary``; carrying the events is ``delivery``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Final

import click

from ..consumer.intake import AT_LEAST_ONCE
from ..consumer.session import Session
from ..delivery.report import Report
from ..delivery.transfer import Transfer
from ..ended_by import EndedBy
from ..errors import TapError
from ..files.meta import CaptureMeta
from ..files.writing import Output, Sink
from ..frame import Frame
from ..shm.offered import recorded_at, stages_of, usual_stages
from . import summary
from .arguments import ANYWHERE, is_url
from .attach_options import Options, options
from .beginning import begin, run
from .command import ENGINE_DIED, Command
from .elsewhere import Elsewhere, Opened
from .messages import fail, note, say
from .opening import say_when_it_ends
from .progress import Progress, place_of
from .signals import Interrupts
from .silence import elsewhere_in_words
from .streams import silence_stdout
from .writing import differing

_EXAMPLES: Final = (
    "tapring attach shop                            # every event, until Ctrl-C",
    "tapring attach shop --where \"level=='error'\"   # only the errors",
    "tapring attach shop --grep timeout --limit 10  # ten events with that word",
    "tapring attach shop --stage raw,decoded        # two stages, in order",
    "tapring attach shop --last 30s                 # what just happened, and on",
    "tapring attach shop -o shop.ndjson.gz --redact user.email --duration 1h",
    "tapring attach 'web-*' --follow                # several, over restarts",
)
_EPILOG: Final = """\
Lanes (processes) that cannot be read are named at the end, with the reason. The engine never waits
for this command: events that do not fit into the ring are dropped and counted.

Filters apply in the order --grep, --where, --sample, --rate, --redact, --fields, --limit,
regardless of the order of the options.

\b
Exit codes:
  0  the capture completed, even if it saw no events
  2  wrong usage
  3  the capture could not start, or could not write
  4  the engine died during the capture
"""


@click.command("attach", cls=Command, examples=_EXAMPLES, epilog=_EPILOG)
@click.argument("address", type=ANYWHERE)
@options
def command(address: str, **given: Any) -> None:
    """Show the events of the engine at ADDRESS, live.

    ADDRESS is ENGINE (all its processes), a pattern of engines ('web-*'), ENGINE.LANE or a pid (one
    process), or ENGINE:ID for a session that exists already: one that the engine registered, or
    that tapring open made. http://HOST:PORT/ENGINE is an engine on another machine, where tapring
    serve runs; TAPRING_TOKEN has the token, and TAPRING_CERT, if the server wants one, a file with
    a certificate and its key. Processes that start during the capture are part of it, from their
    first event. The capture ends when no process has been left for a second.
    """
    asked = Options(**given)
    if is_url(address):
        from . import remote

        asked.check_elsewhere()
        sys.exit(remote.attach(address, asked))
    asked.check(address)
    chooses = asked.chooses(address)
    if chooses and asked.last is not None:  # what is recorded was chosen by the engine's owner
        asked = replace(asked, stage=usual_stages(recorded_at(address) or stages_of(address)))
        chooses = False
    elif chooses:
        asked = replace(asked, stage=usual_stages(stages_of(address)))
    try:
        output = asked.check_place(asked.written)
        opened, asked = begin(address, asked, chooses=chooses, shows=asked.progress)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (TapError, OSError, MemoryError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before the capture began")
    where = opened.select.where
    for name in () if where is None else where.quoted:
        note(f"--where: \"{name}\" in double quotes is a field. For the text, write '{name}'")
    if asked.summary == "text":
        say_when_it_ends(address, opened.session, asked)

    def read(opened: Opened, asked: Options, elsewhere: Elsewhere) -> int:
        return _read(opened, asked, elsewhere, output)

    sys.exit(run(address, opened, asked, read, chooses=chooses))


def _read(opened: Opened, asked: Options, elsewhere: Elsewhere, output: Output | None) -> int:
    """Capture to the end, say what came of it, and return the exit code.

    Nothing is written or said if the events go to another stage: ``elsewhere.instead``.
    """
    session, select, redact = opened
    started = time.monotonic()
    place = place_of(asked.output)

    def look() -> str:
        elsewhere.look()
        return elsewhere_in_words(elsewhere.others, elsewhere.unseen)

    progress = Progress(session, place, asked.limit, wanted=asked.progress, look=look)
    # Signals are caught before the output is opened: one in between would leave an empty file.
    with session, Interrupts(lambda: session.end(EndedBy.INTERRUPT)):
        frames = session.frames(limit=asked.limit)
        if elsewhere.switches:
            frames = _begun(session, frames, progress)
            if elsewhere.instead is not None:
                progress.close()
                return 0
        sink = _open_sink(session, asked, output, lambda: report.meta())
        progress.written = lambda: sink.events
        report = Report(session, select, redact, sink, started)
        transfer = Transfer(
            session,
            sink,
            frames=frames,
            flush_each=asked.delivery == AT_LEAST_ONCE,
            progress=progress,
        )
        transfer.run()
        progress.close()
    if session.ended_by == "output-closed":
        silence_stdout()
    if transfer.failure is not None:
        say(transfer.failure)
    summary.show(
        replace(report, other_stages=elsewhere.others, unseen_stages=elsewhere.unseen),
        asked.summary,
    )
    if transfer.failure is not None:
        return TapError.exit_code
    return ENGINE_DIED if session.ended_by == "engine-death" else 0


def _begun(session: Session, frames: Iterator[Frame], progress: Progress) -> Iterator[Frame]:
    """Wait for the first frame, or the end; return all of ``frames``.

    What waiting raises is raised by the iterator: it belongs to the capture.
    """
    session.on_idle = progress.update
    try:
        first = next(frames, None)
    except (TapError, OSError, MemoryError, ValueError, KeyboardInterrupt) as error:
        return _raising(error)
    return frames if first is None else chain((first,), frames)


def _raising(error: BaseException) -> Iterator[Frame]:
    yield from ()
    raise error


def _open_sink(
    session: Session,
    asked: Options,
    output: Output | None,
    describe: Callable[[], CaptureMeta],
) -> Sink:
    try:
        return asked.open_sink(
            asked.written,
            output,
            kind=session.kind,
            dtype=session.dtype,
            origin=differing(session.lanes_joined),
            describe=describe,
            fields=asked.columns,
        )
    except (ValueError, OSError) as error:
        session.close()
        if isinstance(error, ValueError):
            raise click.UsageError(str(error)) from None
        fail(error)
