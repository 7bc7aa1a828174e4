"""Which stages the lanes at an address offer, which they record, and which one is usually read."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ..errors import TapError
from ..wire import layout
from .discovery import engines, lanes_of_process
from .evidence import recordings_of
from .names import parse_recording_name, split_address
from .requests import ALL_STAGES

USUAL: Final = "decoded"


def stages_of(address: str) -> tuple[str, ...]:
    """The names of the stages that the lanes at ``address`` offer, each once; () if none runs."""
    with suppress(TapError, OSError):
        engine, lane, _ = split_address(address)
        running = engines(engine, sweep=False) or lanes_of_process(engine)
        lanes = [each for each in running if lane in (None, each.lane)]
        return tuple(dict.fromkeys(name for each in lanes for name in each.stages))
    return ()


def recorded_at(address: str) -> tuple[str, ...]:
    """The names of the stages that the lanes at ``address`` record, each once."""
    with suppress(TapError, OSError):
        engine, lane, _ = split_address(address)
        names = recordings_of(engine, lane)
        stages = [parsed[2] for name in names if (parsed := parse_recording_name(name))]
        return tuple(dict.fromkeys(each for each in stages if each != layout.TRIGGERS))
    return ()


def usual_stages(stages: tuple[str, ...]) -> str:
    """The stage to read of an engine with these ``stages``, if its operator named none."""
    if USUAL in stages or not stages:
        return USUAL
    return stages[0] if len(stages) == 1 else ALL_STAGES
