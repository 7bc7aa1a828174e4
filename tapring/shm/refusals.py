"""Lanes that cannot be read: why not, as a code for programs, in words for people, as an error."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

import msgspec

from ..errors import (
    BufferLimit,
    DurationLimit,
    NotPermitted,
    RemoteAccessOff,
    RingCorrupt,
    SessionBusy,
    SessionLimit,
    SessionNotFound,
    SharedMemoryFull,
    StageNotFound,
    TapError,
    VersionMismatch,
)
from ..literals import RefusalReason
from ..thrown_in import is_of_a_handler
from ..wire import layout
from .names import segment_name
from .segment import DIRECTORY, Segment

# The most useful error first: what the caller can correct, before what only others can.
_REASONS: Final[dict[type[TapError], RefusalReason]] = {
    StageNotFound: "stage",
    DurationLimit: "duration",
    BufferLimit: "buffer",
    SessionLimit: "full",
    SessionBusy: "busy",
    SharedMemoryFull: "no-memory",
    SessionNotFound: "ended",
    RingCorrupt: "damaged",
    VersionMismatch: "version",
    NotPermitted: "not-permitted",
    RemoteAccessOff: "remote-off",
}
_ERRORS: Final = {reason: error for error, reason in _REASONS.items()}
_NAMED: Final = 8  # a crowd of lanes fits on one line


class LaneRefused(msgspec.Struct, frozen=True):
    """A lane that could not be read, and why.

    engine: the engine's name.
    lane: the lane's id.
    reason: why, in a word for programs.
    text: why, in words for people.
    stage: the only stage that could not be read, of several that were asked for; otherwise empty.

    The reasons. ``stage``: it has no such stage, or has it with another kind or dtype than the
    lanes that are read.
    ``duration``, ``buffer``: it allows less than what was asked for. ``full``: it has as many
    sessions as it allows. ``busy``: another process holds its session table. ``no-memory``: shared
    memory, or this process, has no room for the ring. ``ended``: its session ended before it could
    be opened. ``damaged``: its registry or ring holds impossible values. ``version``: it uses
    another version of the protocol. ``not-permitted``: it belongs to another user, or may not be
    opened; whether its engine still lives cannot be seen then. ``remote-off``: its engine lets no
    program hand its events on.
    """

    engine: str
    lane: str
    reason: RefusalReason
    text: str
    stage: str = ""


def refusal(engine: str, lane: str, error: TapError, stage: str = "") -> LaneRefused:
    """Return what ``error``, which a lane was refused with, says of it. Not for EngineNotFound."""
    return LaneRefused(engine, lane, _REASONS[type(error)], str(error), stage)


def may_live(engine: str, lane: str) -> bool:
    """Return whether a lane that was refused may have a living engine, so that it is missed.

    The locks on another user's file cannot be seen. A link or a FIFO of that name is no lane.
    """
    name = segment_name(engine, lane)
    try:
        with Segment.attach(name) as segment:
            return segment.is_locked(layout.LOCK_ENGINE)
    except FileNotFoundError:
        return False
    except TapError:
        return _is_regular(name)


def alike(refused: Sequence[LaneRefused]) -> list[list[LaneRefused]]:
    """Return the refused lanes in groups of one engine, stage and reason, the most useful first."""
    groups: dict[tuple[str, str, str], list[LaneRefused]] = {}
    for each in refused:
        groups.setdefault((each.engine, each.stage, each.reason), []).append(each)
    reasons = list(_ERRORS)
    return sorted(groups.values(), key=lambda group: reasons.index(group[0].reason))


def in_words(group: Sequence[LaneRefused]) -> str:
    """Return why the lanes of one group cannot be read: of the first, and which others are alike.

    A single line if no text has more. It repeats what other processes wrote: print it escaped.
    """
    first, *others = group
    named = ", ".join(each.lane for each in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"{first.text}; likewise {named}{more}" if others else first.text


def error_for(refused: Sequence[LaneRefused]) -> TapError:
    """Return the error for lanes of which none can be read. It also says what is true of others."""
    groups = alike(refused)
    first, *others = map(in_words, groups)
    besides = f". Other lanes: {'. '.join(others)}" if others else ""
    return _ERRORS[groups[0][0].reason](first + besides)


def _is_regular(name: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(f"{DIRECTORY}/{name}").st_mode)
    except OSError as error:
        if is_of_a_handler(error):
            raise
        return False
