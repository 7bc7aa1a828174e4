"""Opening the session that an operator asked for, of the stage that was named or is likely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from ..consumer.opening import capture
from ..errors import StageNotFound
from ..events.selection import Select
from ..shm.names import split_address
from ..shm.offered import stages_of, usual_stages
from .attach_options import Asking
from .elsewhere import Elsewhere, Opened
from .messages import note
from .opening import open_session
from .silence import Waiting

_SMALL_RING: Final = 1 << 16
Asked = TypeVar("Asked", bound=Asking)


def begin(address: str, asked: Asked, *, chooses: bool, shows: bool = True) -> tuple[Opened, Asked]:
    """Open the session, and return what it is asked for. Raises what ``capture`` raises.

    chooses: ``asked`` holds a stage that is only likely; the one that the engine has is taken.
    shows: whether a line may say what is waited for.
    """
    with Waiting(address, shows=shows) as waiting:
        try:
            return _opened(address, asked, waiting), asked
        except StageNotFound:
            stage = usual_stages(stages_of(address))  # the engine has started meanwhile
            if not chooses or stage == asked.stage:
                raise
            asked = replace(asked, stage=stage)
            opened = _opened(address, asked, waiting)
    note(
        f"this is stage {opened.session.stage}. The first events of {opened.session.engine} may be "
        f"missing; with --stage {stage}, --wait would have had them"
    )
    return opened, asked


def run(
    address: str,
    opened: Opened,
    asked: Asked,
    read: Callable[[Opened, Asked, Elsewhere], int],
    *,
    chooses: bool,
) -> int:
    """Read ``opened``, or the stage that gets the events, if none was named; return the exit code.

    read: reads a session to its end and returns the exit code. It stops, and shows nothing, once
    the last argument says that there is a stage to be read ``instead``.
    """
    other = partial(open_other, address, asked, whole=chooses)
    with Elsewhere(address, opened.session, other, switches=chooses) as elsewhere:
        code = read(opened, asked, elsewhere)
        stage = elsewhere.instead
        if stage is None:
            return code
        instead = elsewhere.take(stage)
    note(
        f"{opened.session.stage} of {opened.session.engine} gets no events; showing stage {stage}"
        + (f". --stage {stage} would have waited for its first events, too" if asked.wait else "")
    )
    with Elsewhere(address, instead.session, other, switches=False) as elsewhere:
        return read(instead, replace(asked, stage=stage), elsewhere)


def open_other(address: str, asked: Asking, stage: str, *, whole: bool) -> Opened:
    """Open a session of another stage: one to be read, if ``whole``, or one that only counts."""
    if whole:
        return _opened(address, replace(asked, stage=stage, wait=False), None)
    engine, lane, _ = split_address(address)
    named = engine if lane is None else f"{engine}.{lane}"
    return Opened(capture(named, stage=stage, buffer_bytes=_SMALL_RING), Select(), None)


def _opened(address: str, asked: Asking, waiting: Waiting | None) -> Opened:
    select, redact = asked.select(), asked.redactor()
    session = open_session(address, asked, select, redact, waiting)
    return Opened(session, select, redact)
