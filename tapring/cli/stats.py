"""``tapring stats``: counts, rates and distributions of events, live or of recorded files.

This module holds the command's course and its exit codes. Its options are ``stats_options``, its
tables ``stats_view``; counting is ``delivery.counting`` and ``events.tally``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import click

from ..delivery.counting import Counting, LiveCounting, RecordedCounting
from ..delivery.recorded_report import RecordedReport
from ..delivery.report import Report
from ..delivery.statistics import Account, Statistics, account_of, account_of_files
from ..delivery.transfer import Transfer
from ..ended_by import EndedBy
from ..errors import TapError
from ..shm.offered import stages_of, usual_stages
from . import cat_report, summary
from .arguments import offers
from .beginning import begin, run
from .command import ENGINE_DIED, Command
from .elsewhere import Elsewhere, Opened
from .inputs import open_recorded
from .messages import fail, note, say
from .opening import say_when_it_ends
from .reading_progress import ReadingProgress
from .signals import Interrupts
from .stats_options import GROUPS, Options
from .stats_output import Shown, remarks
from .streams import silence_stdout

_EXAMPLES: Final = (
    "tapring stats shop                         # events/s by lane and stage",
    "tapring stats shop --by level,msg --top 5  # the most frequent combinations",
    "tapring stats shop --distinct user.id --where \"level=='error'\"",
    "tapring stats shop --histogram ms          # the quantiles of a number",
    "tapring stats --from night.ndjson.gz --by level --every 1m  # the bad minute",
)
_EPILOG: Final = """\
Memory is bounded. Up to 20,000 combinations are counted exactly; beyond that, rare ones are given
up, and the output says by how much a count may be too low. Up to 32,768 different values are
counted exactly, more are estimated within 1.6 %. Quantiles are within 1 %.

A field that an event does not have counts as a value of its own. Counts and shares are of the
events that were seen: those that were lost or skipped are said apart.

\b
Exit codes:
  0  the events were counted, even if there were none
  2  wrong usage
  3  the count could not start, or a FILE not be read to its end
  4  the engine died meanwhile
"""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for add in reversed(GROUPS):
        command = add(command)
    return command


@click.command("stats", cls=Command, examples=_EXAMPLES, epilog=_EPILOG)
@click.argument("files", metavar="ADDRESS", nargs=-1, shell_complete=offers("addresses_or_files"))
@_options
def command(files: tuple[str, ...], **given: Any) -> None:
    """Count the events of the engine at ADDRESS, live.

    ADDRESS is that of tapring attach. On a terminal, a table keeps itself current until Ctrl-C, and
    stays. Elsewhere, the output is a JSON object for each interval and one for the total.
    """
    source = given["source"]
    asked = Options(files=files if source is None else (source, *files), **given)
    asked.check()
    sys.exit(_of_engine(asked) if source is None else _of_files(asked))


def _of_engine(asked: Options) -> int:
    """Count the events of an engine, say what came of it, and return the exit code."""
    address = asked.address
    chooses = asked.chooses(address)
    if chooses:
        asked = replace(asked, stage=usual_stages(stages_of(address)))
    try:
        opened, asked = begin(address, asked, chooses=chooses)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (TapError, OSError, MemoryError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before the count began")
    if asked.summary == "text":
        say_when_it_ends(address, opened.session, asked)
    return run(address, opened, asked, _count, chooses=chooses)


def _count(opened: Opened, asked: Options, elsewhere: Elsewhere) -> int:
    """Count the events of a session to its end, unless others get events; return the exit code."""
    session, select, redact = opened
    shown = Shown(asked)
    with session, Interrupts(lambda: session.end(EndedBy.INTERRUPT)):
        opened_ns = min(each.time_ns for each in session.lanes_joined)
        counting = LiveCounting(
            asked.question,
            asked.every_ns,
            shown.interval,
            age_ns=max(0, time.time_ns() - opened_ns),
        )
        report = Report(session, select, redact, counting)
        with shown.live(counting, elsewhere.look) as live:
            transfer = Transfer(session, counting, limit=asked.limit, progress=live)
            transfer.run()
    if elsewhere.instead is not None:
        return 0
    is_closed = session.ended_by == "output-closed"
    facts = _end(shown, counting, account_of(session, select), transfer, is_closed=is_closed)
    if transfer.failure is not None:
        say(transfer.failure)
    summary.show(
        replace(report, other_stages=elsewhere.others, unseen_stages=elsewhere.unseen),
        asked.summary,
    )
    _remark(facts, counting, asked)
    if transfer.failure is not None:
        return TapError.exit_code
    return ENGINE_DIED if session.ended_by == "engine-death" else 0


def _of_files(asked: Options) -> int:
    """Count the events of recorded files, say what came of it, and return the exit code."""
    select, redact = asked.select(), asked.redactor()
    with Interrupts() as interrupts:
        recorded = open_recorded(asked, interrupts, select, redact)
        shown = Shown(asked)
        counting = RecordedCounting(asked.question, asked.every_ns, shown.interval)
        report = RecordedReport(recorded, select, redact, counting)
        progress = ReadingProgress(recorded, shown.place, lambda: counting.events)
        transfer = Transfer(recorded, counting, limit=asked.limit, progress=progress)
        transfer.run()
        progress.close()
    is_closed = recorded.ended_by == EndedBy.OUTPUT_CLOSED
    account = account_of_files(recorded, select)
    facts = _end(shown, counting, account, transfer, is_closed=is_closed)
    failures = [*recorded.failures, *filter(None, [transfer.failure])]
    for failure in failures:
        say(failure)
    cat_report.show(report, asked.summary)
    _remark(facts, counting, asked)
    return TapError.exit_code if failures else 0


def _end(
    shown: Shown,
    counting: LiveCounting | RecordedCounting,
    account: Account,
    transfer: Transfer,
    *,
    is_closed: bool,
) -> Statistics:
    """Show the total, unless nothing reads the output any more or it cannot be written."""
    try:
        if transfer.failure is None and not is_closed:
            return shown.end(counting, account)
    except BrokenPipeError:
        is_closed = True
    except OSError as error:
        transfer.failure = error
    if is_closed:
        silence_stdout()
    return shown.facts(counting, account)


def _remark(facts: Statistics, counting: Counting, asked: Options) -> None:
    if asked.summary == "text":
        for line in remarks(facts, counting):
            note(line)
