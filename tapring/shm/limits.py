"""Limits: what a Tap may be given, and what a session may ask of it, checked for both sides."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from ..errors import BufferLimit, DurationLimit, StageNotFound, suggest_of
from ..wire import layout
from ..words import size_in_words
from .names import named_alike

MAX_DURATION_S: Final = 86_400.0
"""How long a session may last if the engine's owner sets no limit: a day.

It ends with its consumer anyway, by a lock of the kernel's, so the limit is no guard against
consumers that were killed. A capture of a night must not end before the morning.
"""
KEPT_DURATION_S: Final = 300.0
"""How long a kept session lasts if nobody says how long: it has no owner that could end it."""

MAX_BUFFER_BYTES: Final = 64 << 20
"""The largest ring that a consumer may ask for: what a container's /dev/shm has by default."""

_NS: Final = 1_000_000_000
LONGEST_S: Final = (1 << 62) / _NS  # half of what a clock's word holds


# ---- what a Tap may be given -------------------------------------------------------------


def check_name(name: object) -> None:
    """Raise ValueError unless ``name`` can be the name of an engine."""
    if not isinstance(name, str) or not re.fullmatch(layout.ENGINE_PATTERN, name):
        raise ValueError(
            f"Invalid engine name {name!r}{named_alike(name) or '.'} "
            f"Use at most 63 lower-case letters, digits, - and _, such as 'detector-1'."
        )


def check_limits(
    max_sessions: int,
    max_duration: float,
    buffer_bytes: int,
    max_buffer_bytes: int,
    slot_bytes: int,
) -> None:
    """Raise ValueError for limits that are out of range, or that no session could meet."""
    if not 1 <= max_sessions <= layout.MAX_ROWS:
        raise ValueError(f"max_sessions must be 1 to {layout.MAX_ROWS}, not {max_sessions!r}")
    if not 0 < max_duration < LONGEST_S:
        raise ValueError(f"max_duration must be a positive number of seconds, not {max_duration!r}")
    if not layout.MIN_SLOT_BYTES <= slot_bytes <= layout.MAX_SLOT_BYTES or slot_bytes & (
        slot_bytes - 1
    ):
        raise ValueError(
            f"slot_bytes must be a power of two from {layout.MIN_SLOT_BYTES} to "
            f"{layout.MAX_SLOT_BYTES}, not {slot_bytes!r}"
        )
    smallest = layout.MIN_SLOTS * slot_bytes
    if not smallest <= buffer_bytes <= max_buffer_bytes <= layout.MAX_PAYLOAD_BYTES:
        raise ValueError(
            f"{smallest} <= buffer_bytes <= max_buffer_bytes <= {layout.MAX_PAYLOAD_BYTES} "
            f"must hold, but they are {buffer_bytes!r} and {max_buffer_bytes!r}"
        )


def check_budget(budget: float | None) -> None:
    """Raise ValueError unless ``budget`` is a share of the engine's time, or None for no limit."""
    if budget is not None and not 0 < budget <= 1:
        raise ValueError(
            f"a budget is a share of the engine's time, above 0 and at most 1, such as 0.02, "
            f"not {budget!r}"
        )


# ---- what a session may ask for ----------------------------------------------------------


def check_sample(sample: int) -> None:
    """Raise ValueError unless one batch in ``sample`` can be offered."""
    if type(sample) is not int or not 0 < sample < 1 << 63:
        raise ValueError(f"sample must be a whole number from 1 on, not {sample!r}")


def stage_index(engine: str, stage: str, stages: Collection[str]) -> int:
    """Return where ``stage`` stands among an engine's ``stages``. Raises StageNotFound."""
    if stage not in stages:
        raise StageNotFound(no_stage(engine, stage, stages))
    return list(stages).index(stage)


def no_stage(engine: str, stage: object, stages: Collection[str]) -> str:
    """Return the message that an engine has no such stage, with a suggestion."""
    there = f"its stages: {', '.join(stages)}"
    if type(stage) is str:
        what = f"{stage!r}{suggest_of(stage, stages, there)}"
    else:  # its own code is not asked what it is: it might raise
        what = f"with the name of an object that is no str; {there}"
    return f"the engine {engine!r} has no stage {what}"


def duration_in_ns(engine: str, duration: float | None, longest_ns: int) -> int:
    """Return how long a session may last, in ns; 0 for None, which is as long as the engine allows.

    duration: in seconds. Raises DurationLimit.
    """
    if duration is None:
        return 0
    if 0 < duration < LONGEST_S and round(duration * _NS) <= longest_ns:
        return round(duration * _NS)
    raise DurationLimit(
        f"a session cannot last {duration:g} s: the engine {engine!r} allows at most "
        f"{longest_ns / _NS:g} s (its max_duration). Ask for less, leave the duration out, or set "
        f"Tap(max_duration=...) in the engine"
        if duration > 0
        else f"a session cannot last {duration:g} s. Ask for more than 0"
    )


def kept_duration_in_ns(longest_ns: int) -> int:
    """Return how long a kept session lasts that names no duration, in ns."""
    return min(round(KEPT_DURATION_S * _NS), longest_ns)


def slots_in(engine: str, size: int, slot_bytes: int, largest: int) -> int:
    """Return the number of slots of a ring of ``size`` bytes. Raises BufferLimit."""
    smallest = layout.MIN_SLOTS * slot_bytes
    if not smallest <= size <= largest:
        raise BufferLimit(
            f"a buffer of {size_in_words(size)} was requested; the engine {engine!r} allows "
            f"{size_in_words(smallest)} to {size_in_words(largest)} (max_buffer_bytes)"
        )
    return size // slot_bytes
