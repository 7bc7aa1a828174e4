"""``tapring attach`` and ``tapring dump`` of engines on another machine, through its server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
import msgspec
from msgspec import UNSET

from ..consumer.intake import AT_MOST_ONCE
from ..consumer.waiting import POLL
from ..delivery.past_report import PastSummary
from ..delivery.report import Summary
from ..delivery.transfer import Transfer
from ..ended_by import EndedBy
from ..errors import TapError
from ..files.meta import CaptureMeta
from ..files.writing import Output, Sink
from ..gateway.asking import Client, Place, parse_url
from ..gateway.client import Remote
from ..words import counted, duration_in_words, seconds_from, were
from .attach_options import MERGE_LAG, Options
from .command import ENGINE_DIED
from .messages import fail, note, print_json, say
from .selecting import Selecting
from .signals import Interrupts
from .streams import silence_stdout
from .summary import STEPS, files_written, losses, raised, withheld
from .writing import Writing

TOKEN: Final = "TAPRING_TOKEN"  # noqa: S105 - a name
CERTIFICATE: Final = "TAPRING_CERT"
_HERE_ONLY: Final[dict[str, tuple[object, ...]]] = {  # options, and what they are if not given
    "sample_batches": (None,),
    "buffer": (None,),
    "wait": (False,),
    "follow": (False,),
    "wake": (POLL,),
    "merge_lag": (seconds_from(MERGE_LAG),),
    "session_id": (None,),
    "delivery": (AT_MOST_ONCE,),
    "redact_pass_text": (None, False),
}


def client_for(place: Place) -> Client:
    """Return a client with the token and the certificate of the environment.

    Raises click.UsageError for a token that an HTTP header cannot hold.
    """
    token = os.environ.get(TOKEN, "")
    if not re.fullmatch(r"[!-~]*", token):
        raise click.UsageError(
            f"{TOKEN} is no token: it holds a space, a newline or a letter that no token has. "
            f"Set it to the token alone"
        )
    return Client(place, token, os.environ.get(CERTIFICATE) or None)


def attach(url: str, asked: Options) -> int:
    """Read live events to their end, and return the exit code."""
    for name, not_given in _HERE_ONLY.items():
        if getattr(asked, name) not in not_given:
            option = "--session" if name == "session_id" else f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{option} works only on the machine of the engine. Leave it out for {url}"
            )
    parameters = _selection(asked)
    if asked.stage is not None:
        parameters["stage"] = ",".join(asked.stages)
    for name in ("duration", "last"):
        if getattr(asked, name) is not None:
            parameters[name] = f"{getattr(asked, name):.9f}"
    if asked.limit is not None:
        parameters["limit"] = str(asked.limit)
    return _run(url, asked, parameters, past=False)


def dump(url: str, asked: Any) -> int:
    """Read what recorders hold, and return the exit code.

    asked: the options of ``tapring dump``.
    """
    if asked.since is not None or asked.until is not None:
        raise click.UsageError(f"--since and --until do not work for {url}. Try --last 5m")
    parameters = _selection(asked)
    if asked.stage is not None:
        parameters["stage"] = asked.stage
    if asked.last is not None:
        seconds, events = asked.last
        parameters["last"] = str(events) if events is not None else f"{seconds:.9f}s"
    if asked.limit is not None:
        parameters["limit"] = str(asked.limit)
    return _run(url, asked, parameters, past=True)


def _selection(asked: Selecting) -> dict[str, str]:
    """The parameters of a request that select and redact."""
    given = {
        "grep": asked.grep,
        "where": asked.where,
        "sample": str(asked.sample) if asked.sample != 1 else None,
        "by": asked.sample_by,
        "rate": asked.rate,
        "fields": asked.fields,
        "redact": ",".join(asked.redact) or None,
        "redact_regex": asked.redact_regex,
        "redact_ignore_case": "1" if asked.redact_ignore_case else None,
        "redact_in_strings": "1" if asked.redact_in_strings else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _run(url: str, asked: Any, parameters: Mapping[str, str], *, past: bool) -> int:
    place = parse_url(url)
    started = time.monotonic()
    try:
        output = asked.check_place(asked.written_of(several=False))
        remote = Remote(client_for(place), parameters, past=past)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (TapError, OSError, MemoryError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before any event came")
    with Interrupts(lambda: remote.end(EndedBy.INTERRUPT)):
        sink = _open_sink(remote, asked, asked.columns, output)
        transfer = Transfer(remote, sink)
        transfer.run()
    if remote.ended_by == EndedBy.OUTPUT_CLOSED:
        silence_stdout()
    if transfer.failure is not None:
        say(transfer.failure)
    _show(remote, place.address, asked.summary, sink, time.monotonic() - started, past=past)
    if transfer.failure is not None:
        return TapError.exit_code
    return ENGINE_DIED if remote.ended_by == EndedBy.ENGINE_DEATH else 0


def _open_sink(
    remote: Remote, asked: Writing, fields: tuple[str, ...], output: Output | None
) -> Sink:
    kinds = remote.kinds
    kind = next(iter(kinds.values())).name if kinds else "json"
    try:
        return asked.open_sink(
            asked.written_of(several=len(kinds) > 1),
            output,
            kind=kind,
            origin=("lane", "stage") if len(kinds) > 1 else ("lane",),
            describe=lambda: _meta(remote),
            fields=fields,
        )
    except (ValueError, OSError, click.UsageError) as error:
        remote.close()
        if isinstance(error, ValueError):
            raise click.UsageError(str(error)) from None
        if isinstance(error, click.UsageError):
            raise
        fail(error)


def _meta(remote: Remote) -> CaptureMeta:
    facts = remote.summary or remote.account
    return CaptureMeta(
        engine=str(facts.get("engine", "")),
        stage=",".join(remote.kinds),
        summary=dict(facts),
    )


def _show(
    remote: Remote, address: str, style: str, sink: Sink, seconds: float, *, past: bool
) -> None:
    """Print the server's account, with what was written here."""
    facts = dict(remote.summary or remote.account)
    facts |= {"written": sink.events, "bytes_written": sink.bytes, "ended_by": remote.ended_by}
    if sink.files:
        facts["files"] = list(sink.files)
    if sink.unfinished:
        facts["unfinished"] = sink.unfinished
    if remote.resumed:
        facts |= {"resumed": remote.resumed, "missed": remote.missed}
        facts["uncounted"] = remote.uncounted
    if style == "json":
        print_json({"tapring_dump" if past else "tapring_summary": facts}, err=True)
    elif style == "text":
        for line in _lines(remote, address, facts, sink, seconds, past=past):
            note(line)


def _lines(
    remote: Remote,
    address: str,
    facts: dict[str, Any],
    sink: Sink,
    seconds: float,
    *,
    past: bool,
) -> Iterator[str]:
    took = duration_in_words(round(seconds, 1))
    where = f"{facts.get('engine', address)}/{','.join(remote.kinds)}"
    first = f"{counted(sink.events, 'event')} of {where} in {took}, ended by {remote.ended_by}"
    if remote.resumed:
        told = f"{counted(remote.missed, 'event')} {were(remote.missed)} missed"
        if remote.uncounted:
            told += (
                ", and more, which nobody has counted: an engine that records (recorder="
                "'decoded') has them still"
            )
        yield f"{first}; the connection broke {counted(remote.resumed, 'time')}; {told}"
    elif remote.summary is None:
        yield f"{first}; {_so_far(remote.account)}"
    else:
        try:
            yield from _in_words(first, remote.summary, past=past)
        except (msgspec.ValidationError, KeyError):
            yield f"{first}; the server's account is not one that this version can read"
    yield from files_written(sink)


def _in_words(first: str, told: Mapping[str, Any], *, past: bool) -> Iterator[str]:
    """A server's final account. Raises msgspec.ValidationError and KeyError for another one."""
    if past:
        of_past = msgspec.convert(told, PastSummary)
        yield f"{first}; {counted(of_past.overwritten, 'older event')} had been overwritten"
        return
    summary = msgspec.convert(told, Summary)
    steps = [f"{counted(n, 'event')} {STEPS[step]}" for step, n in summary.filtered_by.items()]
    yield f"{first}; {losses(summary)}"
    yield from steps
    yield from withheld(summary.redaction_dropped, summary.decode_errors)
    yield from raised({} if summary.failures is UNSET else summary.failures)


def _so_far(account: Mapping[str, Any]) -> str:
    """What the server had lost as it last told of that: within a second of the end."""
    if not account:
        return "the server has not told of any loss yet"
    counts = [account.get(name) for name in ("dropped", "oversize", "errors")]
    lost = sum(each for each in counts if isinstance(each, int))
    return f"up to the server's last account, {lost or 'no'} events were lost"
