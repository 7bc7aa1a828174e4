"""Opening what a request asks for: a session of live events, or a copy of the past.

What the server hides is hidden before a request's own filters see it, so that no filter can ask for
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..consumer.opening import capture
from ..consumer.past import Past, past
from ..consumer.session import Session
from ..delivery.past_report import PastReport
from ..delivery.report import Report
from ..errors import NotRecorded, TapError
from ..shm.offered import recorded_at, stages_of
from ..words import counted, duration_in_words
from .access import Role
from .positions import Positions
from .problem import Problem, malformed, not_found, problem_of
from .query import Dump, Live
from .sent import Sent
from .settings import Settings


def open_live(
    settings: Settings, address: str, asked: Live, role: Role, sent: Sent, positions: Positions
) -> tuple[Session[Any], Report]:
    """Open a session for a reader with that role. Raises Problem.

    positions: where the reader was, if it resumes. Then the session begins there if the engine
    records the stage.
    """
    select, redact = asked.select(), asked.redactor()
    last = asked.last
    if positions.time_ns:
        last = max(last or 0.0, positions.seconds_back())
    open_ = partial(
        capture,
        address,
        stages=asked.stages,
        duration=asked.duration,
        buffer_bytes=settings.ring_bytes,
        select=select,
        redact=redact,
        guard=settings.hidden.redactor(role),
        remote=True,
    )
    with _problems(address):
        try:
            session = open_(last=last)
        except NotRecorded:
            if asked.last is not None:
                raise
            session = open_()  # the stream tells of the gap
    return session, Report(session, select, redact, sent)


def open_past(
    settings: Settings, address: str, asked: Dump, role: Role, sent: Sent
) -> tuple[Past, PastReport]:
    """Copy what recorders hold for a reader with that role. Raises Problem."""
    select, redact = asked.select(), asked.redactor()
    window = None
    if asked.last is not None:
        window = duration_in_words(asked.last)
    elif asked.last_events is not None:
        window = counted(asked.last_events, "event")
    with _problems(address):
        if not stages_of(address) and not recorded_at(address):
            raise not_found(address)
        found = past(
            address,
            stages=asked.stages or None,
            last=asked.last,
            last_events=asked.last_events,
            select=select,
            redact=redact,
            guard=settings.hidden.redactor(role),
            remote=True,
        )
    return found, PastReport(found, select, redact, sent, window)


@contextmanager
def _problems(address: str) -> Iterator[None]:
    """Raise as a Problem what keeps ``address`` from being read."""
    try:
        yield
    except TapError as error:
        raise problem_of(error, address) from None
    except ValueError as error:
        raise malformed(str(error), "Correct the parameters, or name another stage.") from None
    except (OSError, MemoryError) as error:
        raise Problem(507, f"this server lacks something: {error}", "Try again later.") from None
