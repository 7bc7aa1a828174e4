"""What may be asked of a Tap: its name, its limits, and the sessions within them."""

from __future__ import annotations

import re
from typing import Final

from ..errors import BufferLimit, DurationLimit
from ..wire import layout

_LONGEST_S: Final = (1 << 62) / 1e9  # half of what a clock's word holds


def check_name(name: object) -> None:
    """Raise ValueError unless ``name`` may be an engine's."""
    if not isinstance(name, str) or not re.fullmatch(layout.ENGINE_PATTERN, name):
        raise ValueError(
            f"an engine's name matches {layout.ENGINE_PATTERN} (such as 'detector-1'), "
            f"{name!r} does not"
        )


def check_limits(
    max_sessions: int,
    max_duration: float,
    buffer_bytes: int,
    max_buffer_bytes: int,
    slot_bytes: int,
) -> None:
    """Raise ValueError for limits that cannot be, or that no session could meet."""
    if not 1 <= max_sessions <= layout.MAX_ROWS:
        raise ValueError(f"max_sessions is 1 to {layout.MAX_ROWS}, not {max_sessions!r}")
    if not 0 < max_duration < _LONGEST_S:
        raise ValueError(f"max_duration is a positive number of seconds, not {max_duration!r}")
    if not layout.MIN_SLOT_BYTES <= slot_bytes <= layout.MAX_SLOT_BYTES or slot_bytes & (
        slot_bytes - 1
    ):
        raise ValueError(
            f"slot_bytes is a power of two from {layout.MIN_SLOT_BYTES} to "
            f"{layout.MAX_SLOT_BYTES}, not {slot_bytes!r}"
        )
    smallest = layout.MIN_SLOTS * slot_bytes
    if not smallest <= buffer_bytes <= max_buffer_bytes <= layout.MAX_PAYLOAD_BYTES:
        raise ValueError(
            f"{smallest} <= buffer_bytes <= max_buffer_bytes <= {layout.MAX_PAYLOAD_BYTES} "
            f"must hold, not for {buffer_bytes!r} and {max_buffer_bytes!r}"
        )


def check_budget(budget: float | None) -> None:
    """Raise ValueError unless ``budget`` is a share of the engine's time; None: there is none."""
    if budget is not None and not 0 < budget <= 1:
        raise ValueError(
            f"a budget is a share of the engine's time, above 0 and at most 1, such as 0.02, "
            f"not {budget!r}"
        )


def check_duration(duration: float | None, longest: float) -> None:
    """Raise DurationLimit unless a session may last ``duration`` seconds; None: as it may."""
    if duration is not None and not 0 < duration <= longest:
        raise DurationLimit(
            f"a session of {duration:g} s was asked for; this Tap allows more than 0 and "
            f"at most {longest:g} s (max_duration)"
        )


def check_sample(sample: int) -> None:
    """Raise ValueError unless one batch in ``sample`` can be offered."""
    if type(sample) is not int or not 0 < sample < 1 << 63:
        raise ValueError(f"a sample is one batch in a whole number from 1 on, not {sample!r}")


def check_size(size: int, slot_bytes: int, largest: int) -> None:
    """Raise BufferLimit unless a ring may have ``size`` bytes."""
    smallest = layout.MIN_SLOTS * slot_bytes
    if not smallest <= size <= largest:
        raise BufferLimit(
            f"a ring of {size} bytes was asked for; this Tap allows {smallest} to {largest} bytes"
        )
