"""Sessions that the commands open as their options ask: for attach and stats."""

from __future__ import annotations

import math

from ..consumer.beginning import OnWait
from ..consumer.opening import attach_session, capture
from ..consumer.session import Session
from ..events.redaction import Redactor
from ..events.selection import Select
from .attach_options import Watching
from .messages import note
from .time_limits import end_of_session, limit_of_engine


def open_session(
    address: str,
    asked: Watching,
    select: Select,
    redact: Redactor | None,
    on_wait: OnWait | None = None,
) -> Session:
    """Open the session that was asked for. Raises what ``capture`` and ``attach_session`` raise.

    on_wait: as for ``capture``.
    """
    patience = math.inf if asked.wait else 0.0
    if asked.names_a_session(address):
        return attach_session(
            address,
            asked.session_id,
            wait=patience,
            delivery=asked.delivery,
            wake=asked.wake,
            select=select,
            redact=redact,
            on_wait=on_wait,
        )
    return capture(
        address,
        stages=asked.stages,
        duration=asked.duration or None,
        buffer_bytes=asked.buffer,
        wait=patience,
        delivery=asked.delivery,
        sample=asked.sample_batches or 1,
        wake=asked.wake,
        select=select,
        redact=redact,
        follow=asked.follow,
        merge_lag=asked.merge_lag,
        last=asked.last,
        on_wait=on_wait,
    )


def say_when_it_ends(address: str, session: Session, asked: Watching) -> None:
    """Say how long the capture may last, if its engine decides that."""
    if asked.duration:
        return
    if asked.names_a_session(address):
        lines = end_of_session(session)
    else:
        lines = limit_of_engine(session, follow=asked.follow)
    for line in lines:
        note(line)
