"""A lane's description: what another process wrote is checked before any of it is used."""

import os
import subprocess
import sys

import msgspec
import pytest

from tapring.errors import EngineNotFound, RingCorrupt, VersionMismatch
from tapring.shm import info as module
from tapring.shm.info import LaneInfo, StageInfo, read_info, write_header
from tapring.shm.segment import Segment, unlink
from tapring.wire import layout

LANE = "0a1b2c3d"


@pytest.fixture
def info(describe_lane) -> LaneInfo:
    return describe_lane(
        StageInfo("raw", "lines"), StageInfo("decoded", "json", redact=("user.email",))
    )


@pytest.fixture
def segment(info):
    """A registry in which ``info`` is described."""
    with Segment.create(info.segment_name(), 3 * layout.PAGE) as made:
        with memoryview(made.map(0, made.size, writable=True)) as view, view.cast("Q") as words:
            write_header(words, made.size, info, msgspec.json.encode(info))
        yield made
    unlink(info.segment_name())


def test_a_description_is_read_as_it_was_written(segment, info) -> None:
    assert read_info(segment, info.engine, LANE, 0.0) == info


def test_a_lane_knows_its_address_and_the_names_of_its_segments(info) -> None:
    assert info.address == f"{info.engine}.{LANE}"
    assert info.segment_name(7) == f"{info.segment_name()}.7" == f"tapring.{info.address}.7"


@pytest.mark.parametrize(
    ("word", "value", "error", "said"),
    [
        (layout.MAGIC, 0, EngineNotFound, "is not ready"),
        (layout.MAGIC, 7, RingCorrupt, "is not a registry of tapring"),
        (layout.FORMAT, 99, VersionMismatch, "version 99"),
        (layout.SEGMENT_BYTES, 7, RingCorrupt, "truncated or damaged"),
        (layout.ROWS, 65, RingCorrupt, "truncated or damaged"),
        (layout.ROWS, 3, RingCorrupt, "says that it is"),
        (layout.INFO_BYTES, (1 << 64) - 1, RingCorrupt, "truncated or damaged"),
        (layout.INFO_BYTES, 3, RingCorrupt, "is damaged"),
    ],
)
def test_a_word_that_is_wrong_is_an_error(segment, info, word, value, error, said) -> None:
    os.pwrite(segment.fd, value.to_bytes(8, "little"), word * layout.WORD)
    with pytest.raises(error, match=said):
        read_info(segment, info.engine, LANE, 0.0)


def test_a_description_of_another_lane_is_refused(segment, info) -> None:
    with pytest.raises(RingCorrupt, match=f"says that it is {info.engine}.{LANE}"):
        read_info(segment, info.engine, "f" * 8, 0.0)


@pytest.mark.parametrize("field", ["engine", "lane"])
def test_a_name_that_would_reach_a_terminal_as_a_command_is_not_repeated(
    segment, info, field
) -> None:
    """Its error is shown to root, and any user can make a registry."""
    evil = msgspec.structs.replace(info, **{field: "\x1b]0;x\x07"})
    described = msgspec.json.encode(evil)
    os.pwrite(segment.fd, described, layout.info_offset(info.max_sessions))
    os.pwrite(segment.fd, len(described).to_bytes(8, "little"), layout.INFO_BYTES * layout.WORD)
    with pytest.raises(RingCorrupt, match="is damaged") as refused:
        read_info(segment, info.engine, LANE, 0.0)
    assert str(refused.value).isprintable()


def test_where_stores_may_be_reordered_the_magic_follows_a_barrier(info, monkeypatch) -> None:
    at_the_barrier: list[tuple[int, int]] = []
    with memoryview(bytearray(3 * layout.PAGE)) as view, view.cast("Q") as words:
        monkeypatch.setattr(
            module,
            "publish_barrier",
            lambda: at_the_barrier.append((words[layout.MAGIC], words[layout.ENGINE_STATE])),
        )
        write_header(words, len(view), info, msgspec.json.encode(info))
        assert words[layout.MAGIC] == layout.REGISTRY_MAGIC
    assert at_the_barrier == [(0, 1)]


@pytest.mark.parametrize("shape", ["info.LaneInfo", "requests.Request"])
def test_threads_that_decode_at_once_for_the_first_time_do_not_crash(shape) -> None:
    """What a type consists of is worked out as its module is imported, and never while decoding."""
    module_name, _, type_name = shape.partition(".")
    source = f"""
import sys, msgspec, msgspec._utils
from tapring.shm.{module_name} import {type_name}
called = []
sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_filename))
try:
    msgspec.json.decode(b"[]", type={type_name})
except msgspec.ValidationError:
    pass
sys.setprofile(None)
assert msgspec._utils.__file__ not in called
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)
