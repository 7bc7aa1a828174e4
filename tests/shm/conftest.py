"""Shared by the tests of shared memory: the description of a small lane."""

from collections.abc import Callable

import pytest

from tapring.shm.info import LaneInfo, StageInfo
from tapring.shm.registry import Registry


@pytest.fixture
def describe_lane(name) -> Callable[..., LaneInfo]:
    """Describe a lane of the test's engine with room for two small sessions."""

    def describe(*stages: StageInfo) -> LaneInfo:
        return LaneInfo(
            engine=name,
            lane="0a1b2c3d",
            stages=stages,
            max_sessions=2,
            max_duration_ns=1,
            buffer_bytes=512,
            max_buffer_bytes=512,
            slot_bytes=64,
        )

    return describe


@pytest.fixture
def engine(describe_lane):
    """The registry of a lane, as its engine has it."""
    info = describe_lane(StageInfo("raw", "lines"))
    with Registry.create(info) as made:
        yield made
        made.unlink()


@pytest.fixture
def consumer(engine):
    """The same registry, as another process has it."""
    with Registry.attach(engine.info.engine, engine.info.lane) as opened:
        yield opened


@pytest.fixture
def other(engine):
    with Registry.attach(engine.info.engine, engine.info.lane) as opened:
        yield opened
