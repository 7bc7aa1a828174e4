"""Segments of every minor version of this protocol are read, with whatever a later one may add.

``recorded/`` has the segments of an engine of each minor version, and what their sessions hold. It
is written once, by the first version that has it: ``python -m tests.promises.recording``.
"""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import tapring
from tapring.shm.evidence import recordings_of
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tapring.wire.layout import Owner, Verdict
from tests.conftest import SHM
from tests.helpers import offer, put_word
from tests.promises.recording import FOLDER, LANE, described, recorded
from tests.shm.recorded_lane import recorded as events_recorded

RECORDED = sorted(each.name for each in FOLDER.iterdir())
LATER = layout.format_word(layout.MAJOR, layout.MINOR + 7)
UNKNOWN = 1 << 63


@pytest.fixture
def restore(name, recordings):
    """Put the segments of a version into shared memory, as a living engine's called ``name``."""
    opened = []

    def put_back(folder: Path) -> None:
        for path in folder.glob("*.gz"):
            data = gzip.decompress(path.read_bytes())
            lane = segment_name(name, LANE)
            of_lane = path.stem == "registry"
            segment = Segment.create(lane if of_lane else f"{lane}.{path.stem}", len(data))
            opened.append(segment)
            os.pwrite(segment.fd, data if path.stem.isdigit() else renamed(data, name), 0)
            if not path.stem.isdigit():
                assert segment.try_lock(layout.LOCK_ENGINE if of_lane else layout.LOCK_RECORDING)

    yield put_back
    for segment in opened:
        segment.close()
    sweep(name)


def place_of_info(segment: bytes) -> tuple[int, int]:
    """Where a registry or a recording describes its lane, and how long that is."""
    words = memoryview(segment)[: layout.PAGE].cast("Q")
    if words[layout.MAGIC] == layout.REGISTRY_MAGIC:
        return layout.info_offset(words[layout.ROWS]), words[layout.INFO_BYTES]
    ring = layout.ring_bytes(words[layout.RING_SLOTS], words[layout.RING_SLOT_BYTES])
    return ring, words[layout.RECORDED_INFO_BYTES]


def renamed(segment: bytes, name: str) -> bytes:
    """The registry or recording as an engine called ``name`` would have made it."""
    at, length = place_of_info(segment)
    info = json.loads(segment[at : at + length])
    text = json.dumps(info | {"engine": name}, separators=(",", ":")).encode()
    assert len(text) <= length, "the recorded name is too short"
    return segment[:at] + text.ljust(length) + segment[at + length :]


def test_the_segments_of_this_minor_version_are_recorded() -> None:
    assert f"{layout.MAJOR}.{layout.MINOR}" in RECORDED


@pytest.mark.parametrize("version", RECORDED)
def test_every_recorded_minor_version_is_read(restore, name, version) -> None:
    restore(FOLDER / version)
    expected = json.loads((FOLDER / version / "expected.json").read_text())
    (lane,) = tapring.engines(name)
    assert [each.id for each in lane.sessions] == [*map(int, expected)]
    for session, found in expected.items():
        with tapring.attach_session(name, int(session)) as opened:
            assert described(opened) == found


@pytest.mark.parametrize("version", [each for each in RECORDED if each not in ("5.0", "5.1")])
@pytest.mark.parametrize("minor", [0, 7], ids=["as it is", "of a later minor version"])
def test_every_recording_of_a_minor_version_is_read(restore, name, version, minor) -> None:
    restore(FOLDER / version)
    for path in SHM.glob(f"tapring.{name}.*.{layout.RECORDING_PREFIX}*"):
        later = layout.format_word(layout.MAJOR, layout.MINOR + minor)
        if minor:
            put_word(path.name, layout.FORMAT, later)
    assert recorded(name) == json.loads((FOLDER / version / "recordings.json").read_text())


# ---- what a later minor version may add --------------------------------------------------------


@pytest.fixture
def later(name):
    """A living engine whose segments look as if a later minor version had made them."""
    with tapring.Tap(name, stages={"new": "bytes"}) as tap:
        handle = tap.register("raw")
        offer(tap, "raw", [b"one", b"two"])
        registry, ring = segment_name(name, tap.lane), segment_name(name, tap.lane, handle.id)
        for segment in (registry, ring):
            put_word(segment, layout.FORMAT, LATER)
        yield tap, handle, registry, ring


def add_words(registry: str, ring: str) -> None:
    for segment, words in ((registry, (16, 70, 100)), (ring, (16, 40, 90, 512 + 40, 512 + 100))):
        for word in words:
            put_word(segment, word, layout.MAX_WORD)
    for word in (14, 15):
        put_word(registry, layout.row(0) + word, layout.MAX_WORD)


def add_fields(registry: str, ring: str) -> None:
    with open(SHM / registry, "r+b") as file:
        words = memoryview(os.pread(file.fileno(), layout.PAGE, 0)).cast("Q")
        at, length = layout.info_offset(words[layout.ROWS]), words[layout.INFO_BYTES]
        info = json.loads(os.pread(file.fileno(), length, at))
        info["recorder"] = {"raw": 1 << 20}
        info["stages"][2] |= {"kind": "columns", "unit": "events"}
        text = json.dumps(info).encode()
        os.pwrite(file.fileno(), text, at)
        put_word(registry, layout.INFO_BYTES, len(text))


def set_flags(registry: str, ring: str) -> None:
    with open(SHM / ring, "r+b") as file:
        os.pwrite(file.fileno(), b"\xff" * 4, layout.SLOTS + layout.FRAME_BYTES - 4)


def add_segments(registry: str, ring: str) -> None:
    for suffix in (".r-raw", ".x", f".{ring.rpartition('.')[2]}.old"):
        (SHM / (registry + suffix)).write_bytes(b"later")


ADDED = [add_words, add_fields, set_flags, add_segments]


@pytest.mark.parametrize("add", ADDED)
def test_a_session_of_a_later_minor_version_is_read(later, name, add) -> None:
    _, handle, *segments = later
    add(*segments)
    (lane,) = tapring.engines(name)
    assert [each.id for each in lane.sessions] == [handle.id]
    with tapring.attach_session(name, handle.id) as session:
        handle.close()
        assert list(session) == [b"one", b"two"]
        assert session.ended_by == "closed"
    sweep(name)
    for path in SHM.glob(f"{segments[0]}.*"):
        assert path.read_bytes() == b"later", "neither opened nor removed"
        path.unlink()


@pytest.mark.parametrize("add", ADDED)
def test_a_session_is_opened_on_an_engine_of_a_later_minor_version(later, name, add) -> None:
    tap, *segments = later[0], later[2], later[3]
    add(*segments)
    with tapring.capture(name, stage="decoded") as session:
        offer(tap, "decoded", [7])
        assert session.read(1, timeout=30) == [7]
    for path in SHM.glob(f"{segments[0]}.*[!0-9]"):
        path.unlink()


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("lives", [True, False])
def test_a_recording_of_a_later_minor_version_is_read(name, lives) -> None:
    with tapring.Tap(name, recorder="raw", recorder_bytes=8192) as tap:
        offer(tap, "raw", [b"one", b"two"])
        (recording, _) = recordings_of(name)
        put_word(recording, layout.FORMAT, LATER)
        for word in (layout.RING_ID, 14, 15, 17, 31, 34, 100, 511, 512 + 511):
            put_word(recording, word, layout.MAX_WORD)
        data = (SHM / recording).read_bytes()
        at, length = place_of_info(data)
        later = json.loads(data[at : at + length]) | {"cpu": [1], "stages": None}
        later["stages"] = [{"name": "raw", "kind": "lines", "unit": "lines"}]
        text = json.dumps(later).encode()
        assert at + len(text) <= len(data)
        with open(SHM / recording, "r+b") as file:
            os.pwrite(file.fileno(), text, at)
        put_word(recording, layout.RECORDED_INFO_BYTES, len(text))
        with open(SHM / recording, "r+b") as file:
            os.pwrite(file.fileno(), b"\xff" * 4, layout.SLOTS + layout.FRAME_BYTES - 4)
        if not lives:
            tap.close()
        assert events_recorded(name) == [b"one", b"two"]


def test_a_stage_of_a_kind_that_is_not_known_cannot_be_read_and_the_others_can(later, name) -> None:
    tap, _, registry, ring = later
    add_fields(registry, ring)
    with pytest.raises(tapring.TapError, match="columns"):
        tapring.capture(name, stage="new")
    with tapring.capture(name, stage="raw") as session:
        offer(tap, "raw", [b"three"])
        assert session.read(1, timeout=30) == [b"three"]


@pytest.mark.parametrize(("ended", "reason"), [(5, "closed"), (layout.MAX_WORD, "closed")])
def test_an_end_that_is_not_known_is_an_end(later, name, ended, reason) -> None:
    _, handle, _, ring = later
    with tapring.attach_session(name, handle.id) as session:
        put_word(ring, layout.ENDED, ended)
        assert list(session) == [b"one", b"two"]
        assert session.ended_by == reason


@pytest.mark.parametrize("verdict", [4, layout.VERDICT_MASK])
def test_a_verdict_that_is_not_known_is_a_refusal(later, name, verdict) -> None:
    _, handle, registry, _ = later
    with tapring.attach_session(name, handle.id) as session:
        put_word(registry, layout.verdict(0), handle.id << layout.VERDICT_ID_SHIFT | verdict)
        assert session.read(2) == [b"one", b"two"]
        with pytest.raises(tapring.RingCorrupt, match=f"does not know \\({verdict}\\)"):
            session.read(1)


def test_an_open_session_of_an_owner_that_is_not_known_is_left_alone(later, name) -> None:
    tap, handle, registry, _ = later
    put_word(registry, layout.row(0) + layout.ROW_OWNER, 5)
    sweep(name)
    with tapring.capture(name, stage="raw"):  # it sweeps dead rows before it takes one
        (lane,) = tapring.engines(name)
    assert handle.id in [each.id for each in lane.sessions]
    offer(tap, "raw", [b"three"])
    assert handle.open


# ---- what it may not ---------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1], ids=["registry", "ring"])
def test_a_feature_that_is_not_known_refuses_that_segment(later, name, which) -> None:
    tap, handle, *segments = later
    put_word(segments[which], layout.FEATURES, UNKNOWN)
    with pytest.raises(tapring.VersionMismatch, match="features"):
        tapring.attach_session(name, handle.id)
    offer(tap, "raw", [b"three"])
    assert handle.captured == 3, "the engine goes on"


def made_by_a_consumer(tap: tapring.Tap, change: Callable[[str], None]) -> int:
    """A session that a consumer opens, whose ring is changed before the engine sees it."""
    with Registry.attach(tap.name, tap.lane) as registry:
        asked = {"stage": 0, "slots": 16, "slot_bytes": 64, "duration_ns": 0}
        row = registry.register(owner=Owner.NOBODY, **asked)
        change(segment_name(tap.name, tap.lane, row.id))
        for _ in range(50):
            tap.snapshot()
        return registry.verdict_on(row.index, row.id)


def test_a_ring_of_another_minor_version_is_taken_up(name) -> None:
    with tapring.Tap(name) as tap:
        change = lambda ring: put_word(ring, layout.FORMAT, LATER)  # noqa: E731
        assert made_by_a_consumer(tap, change) == Verdict.ACCEPTED
        offer(tap, "raw", [b"one"])
        with tapring.attach_session(name, 1) as session:
            assert session.read(1) == [b"one"]


@pytest.mark.parametrize(
    ("word", "value"),
    [(layout.FEATURES, UNKNOWN), (layout.FORMAT, layout.format_word(layout.MAJOR + 1, 0))],
)
def test_a_ring_that_the_engine_does_not_know_how_to_write_is_refused(name, word, value) -> None:
    with tapring.Tap(name) as tap, pytest.warns(tapring.TapWarning, match="refused: .* version"):
        verdict = made_by_a_consumer(tap, lambda ring: put_word(ring, word, value))
        assert verdict == Verdict.UNUSABLE
