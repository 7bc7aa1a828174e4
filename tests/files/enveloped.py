"""Helpers: frames of several stages, written with the envelope, and what is read back of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import strategies as st

from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.events.objects import record_dicts, wrapped_line
from tapring.files.meta import CaptureMeta, StageMeta
from tapring.files.reading import Recording
from tapring.files.writing import Sink, open_sink
from tapring.frame import Frame, Origin
from tests.files.recorded import any_line

POINT = np.dtype([("n", "i8"), ("x", "f4")])
KINDS: dict[str, Any] = {
    "raw": Lines(),
    "decoded": Json(),
    "blobs": Blobs(),
    "points": Array(POINT),
}
META = CaptureMeta(
    engine="web",
    stage="raw",
    stages={name: StageMeta(kind.name, kind.describe()) for name, kind in KINDS.items()},
)
NO_JSON = [msgspec.Raw(b"nul"), msgspec.Raw(b'"\xff"'), msgspec.Raw(b"{a}")]

_lanes = [("web", "0a1b2c3d", 4242), ("web", "00000000", 1), ('o"dd é', "ffffffff", 2**70)]
_like_records = st.sampled_from(
    [
        {"time": "2026-11-26T23:59:23.123456789Z", "engine": "web", "lane": "0a1b2c3d",
         "pid": 4242, "stage": "decoded", "missed": 0, "event": {"a": 1}},
        {"tapring_time": 1, "tapring_engine": "x", "tapring_missed": 3},
        {"tapring_rest": None},
        {"missed": 0, "event": None},
    ]
)  # fmt: skip
_keys = st.sampled_from(["a", "b", "", "event", "missed", "tapring_stage", "tapring_x", "line"])
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**30])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_keys, inner, max_size=3)
)
_batches = {
    "raw": st.lists(
        any_line | st.sampled_from([b'{"a":1}\r', b' {"a": 1} ', b"\xff", b""]), max_size=4
    ),
    "decoded": st.lists(_json | _like_records | st.sampled_from(NO_JSON), max_size=4),
    "blobs": st.lists(st.binary(max_size=10), max_size=3),
    "points": st.lists(st.tuples(st.integers(-9, 9), st.floats(0, 1, width=32)), max_size=3),
}


class Told(NamedTuple):
    """A frame to be written, as a test has chosen it."""

    stage: str
    batch: list[Any]
    at: int
    missed: int
    lane: tuple[str, str, int]

    def frame(self) -> Frame:
        """The frame."""
        kind = KINDS[self.stage]
        batch = np.array(self.batch, POINT) if self.stage == "points" else self.batch
        payload, count, errors = kind.pack(batch)
        assert not errors
        origin = Origin(*self.lane, self.stage)
        return Frame(bytes(payload), count, self.at, self.missed, origin, kind)


tellings = st.lists(
    st.sampled_from([*KINDS]).flatmap(
        lambda stage: st.builds(
            Told,
            st.just(stage),
            _batches[stage],
            st.integers(0, 2**63 - 1) | st.sampled_from([5, 6]),
            st.sampled_from([0, 0, 1, 7]),
            st.sampled_from(_lanes),
        )
    ),
    max_size=8,
).filter(lambda told: any(each.batch or each.missed for each in told))


def fixed(**missed_of: int) -> list[Told]:
    """A frame of each stage, after as many missed events as ``missed_of`` says."""
    lane = ("web", "0a1b2c3d", 4242)
    batches: dict[str, list[Any]] = {
        "raw": [b"plain", b'{"a":  1}\r', b"\xff"],
        "decoded": [{"n": 1}, None, {}, [2]],
        "blobs": [b"\x00"],
        "points": [(1, 0.5)],
    }
    return [
        Told(stage, batch, 1_000 + 10 * i, missed_of.get(stage, 0), lane)
        for i, (stage, batch) in enumerate(batches.items())
    ]


def sink_for(path: Path, **options: Any) -> Sink:
    return open_sink(str(path), None, kind="lines", describe=lambda: META, envelope=True, **options)


def written(path: Path, told: Iterable[Told], **options: Any) -> Sink:
    sink = sink_for(path, **options)
    for each in told:
        sink.write(each.frame())
    sink.close()
    return sink


Event = tuple[int, str, Any]
"""When an event came (nanoseconds after the first), its stage, and the event."""


def expected(told: Sequence[Told], format_: str) -> list[Event]:
    """What is read back."""
    found: list[Event] = []
    start_ns, latest = None, 0
    for each in told:
        for event in _as_read(each, format_):
            start_ns = each.at if start_ns is None else start_ns
            latest = max(latest, each.at - start_ns)
            found.append((latest, each.stage, event))
    return found


def read_back(recording: Recording, format_: str) -> list[Event]:
    return [
        (batch.offset_ns, batch.stage, _comparable(recording.stages[batch.stage].kind, e, format_))
        for batch in recording.batches()
        for e in batch.events
    ]


def _as_read(told: Told, format_: str) -> list[Any]:
    kind = KINDS[told.stage]
    if kind.name == "array":
        texts = [msgspec.json.encode(each) for each in record_dicts(np.array(told.batch, POINT))]
        return [_comparable("json", text, format_) for text in texts]
    events = told.batch
    if kind.name == "json":
        if format_ == "msgpack":  # it holds them as bytes, which are not read as JSON
            events = [event for event in events if event not in NO_JSON]
        events = [
            wrapped_line(bytes(event)) if event in NO_JSON else msgspec.json.encode(event)
            for event in events
        ]
    return [_comparable(kind.name, event, format_) for event in events]


def _comparable(kind: str, event: Any, format_: str) -> Any:
    """As JSON values for ``json``; 1 is not true. In Parquet lines lose their white space."""
    event = bytes(event)
    if kind == "lines" and format_ == "parquet" and event.strip()[:1] == b"{":
        try:
            return _typed(msgspec.json.decode(event))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return event
    return _typed(msgspec.json.decode(event)) if kind == "json" else event


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    return (type(value) is bool, value)
