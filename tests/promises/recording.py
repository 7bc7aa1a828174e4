"""Records the segments of an engine and what its sessions hold, once a minor version.

    python -m tests.promises.recording

writes ``recorded/MAJOR.MINOR/``: the registry, the rings and the recordings (``~STAGE.gz``, since
5.2), packed, and what they hold (``expected.json``, ``recordings.json``).
"""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np

import tapring
from tapring.shm.evidence import dead_lanes, remove_evidence
from tapring.shm.names import recording_name, segment_name
from tapring.shm.segment import DIRECTORY
from tapring.wire import layout

FOLDER: Final = Path(__file__).parent / "recorded"
LANE: Final = "5a5a5a5a"
# Longer than any name that a test gives it.
_NAME: Final = "recorded-" + "-" * 50
_POINT: Final = np.dtype(
    {
        "names": ["t", "at", "text"],
        "formats": ["<f8", ("<i2", (2,)), "S5"],
        "offsets": [0, 12, 16],
        "itemsize": 24,
    }
)
_RECORDED: Final = ("raw", "decoded", "track")
_STAGES: Final = {"blobs": "bytes", "track": tapring.array(_POINT)}


def described(session: tapring.Session) -> dict[str, Any]:
    """What is left in a session whose engine makes no more batches, as JSON shows it."""
    frames = []
    while (left := session.stats.unread) > 0:
        for frame in session.frames(limit=left):
            frames.append([frame.sequence, frame.count, frame.missed, frame.payload.hex()])
    stats = session.stats
    names = ("offered", "captured", "delivered", "dropped", "oversize", "errors", "sampled_out")
    return {"frames": frames, **{name: getattr(stats, name) for name in names}}


def recorded(address: str) -> dict[str, Any]:
    """What an engine's recordings hold, by their stages, as JSON shows it."""
    past = tapring.past(address)
    frames: dict[str, Any] = {stage: [] for stage in past.kinds}
    for frame in past.frames():
        found = [frame.sequence, frame.count, frame.missed, frame.timestamp, frame.payload.hex()]
        frames[frame.stage].append(found)
    lost = {each.stage: each.overwritten for each in past.recordings}
    return {stage: {"frames": frames[stage], "overwritten": lost[stage]} for stage in frames}


def _offer(tap: tapring.Tap) -> None:
    points = np.array([(n, (n, -n), b"p%d" % n) for n in range(40)], _POINT)
    batches: list[tuple[str, Any]] = [
        ("raw", [b"one", "zw\u00f6lf", b"", b"four"]),
        ("decoded", [{"n": 1, "text": "\u2603"}, None, object(), [1, 2.5]]),
        ("blobs", [b"\0\n", b"", bytes(range(200))]),
        ("track", points[:7]),
        ("raw", [b"x" * 5_000, b"three"]),
        ("track", points),
        ("decoded", [{"n": n, "pad": "." * n} for n in range(60)]),
        ("raw", [b"last", b"two\nlines"]),
    ]
    for stage, batch in batches:
        watched = tap.snapshot()
        assert watched is not None
        watched.offer(stage, batch)


def record(folder: Path) -> None:
    """Record an engine's segments into the new ``folder``."""
    warnings.simplefilter("ignore", tapring.TapWarning)
    with patch("tapring.engine.lane.new_lane", return_value=LANE):
        tap = tapring.Tap(
            _NAME, stages=_STAGES, slot_bytes=64, recorder=list(_RECORDED), recorder_bytes=8192
        )
    with tap:
        samples = {"raw": 1, "decoded": 1, "blobs": 1, "track": 2}
        handles = [
            tap.register(stage, buffer_bytes=2048, sample=sample)
            for stage, sample in samples.items()
        ]
        _offer(tap)
        with tapring.attach_session(tap.name, handles[0].id) as session:
            session.read(2)  # out of the middle of its first frame
        tap.snapshot().offer("raw", [b"after"])
        for n in range(60):  # the recording of decoded wraps
            tap.snapshot().offer("decoded", [{"n": n}, {"pad": "." * 3 * n}])
        tap.trigger("as it was recorded", pre=1.5)
        folder.mkdir(parents=True)
        sources = {"registry": segment_name(tap.name, LANE)}
        sources |= {str(each.id): segment_name(tap.name, LANE, each.id) for each in handles}
        for stage in (*_RECORDED, layout.TRIGGERS):
            name = recording_name(tap.name, LANE, stage)
            sources[name.removeprefix(f"{segment_name(tap.name, LANE)}.")] = name
        for target, source in sources.items():
            data = Path(DIRECTORY, source).read_bytes()
            (folder / f"{target}.gz").write_bytes(gzip.compress(data, mtime=0))
        past = json.dumps(recorded(tap.name), indent=1) + "\n"
        (folder / "recordings.json").write_text(past)
        expected = {}
        for handle in handles:
            with tapring.attach_session(tap.name, handle.id) as session:
                expected[handle.id] = described(session)
        text = json.dumps(expected, indent=1) + "\n"
        (folder / "expected.json").write_text(text)
    remove_evidence(dead_lanes(_NAME))


if __name__ == "__main__":
    record(FOLDER / f"{layout.MAJOR}.{layout.MINOR}")
