"""Helpers: recordings of each kind in each format, and the events read back from them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tapring.delivery.recorded import Recorded
from tapring.delivery.transfer import Transfer
from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.files.npy import NpyFile
from tapring.files.parquet import ParquetFile
from tapring.files.reading import open_recording
from tapring.files.writing import make_encoder, open_sink
from tests.files.frames import frame

POINT = np.dtype([("n", "i4"), ("when", "M8[ms]"), ("xy", "f8", (2,))])


LINES = [b"plain", b'{"a":  1}', b'{"line": "x"}', b"", b" ", b"\xff\x00", "é".encode(), b"[1]\r"]


JSON = [
    {"n": 1, "user": {"name": "root"}, "tags": ["a", None]},
    {"line": "x"},
    {"big": 2**70, "x": 1.5, "none": None},
    {"tapring_time": 7},
    [1, 2],
    "text",
    None,
    True,
    {},
]


BLOBS = [b"\x00\xff\n", b"", b"x" * 1000]


RECORDS = np.array([(i, i, (i / 2, -i)) for i in range(100)], POINT)


KINDS: dict[str, tuple[Any, ...]] = {
    "lines": (Lines(), LINES),
    "json": (Json(), JSON),
    "bytes": (Blobs(), BLOBS),
    "array": (Array(POINT), RECORDS),
}


FORMATS = {
    "lines": ("ndjson", "raw", "msgpack", "parquet"),
    "json": ("ndjson", "raw", "msgpack", "parquet"),
    "bytes": ("ndjson", "msgpack", "parquet"),
    "array": ("raw", "npy"),
}


SUFFIXES = {"raw": "log"}


_json_lines = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from(["line", "line_base64", "a"]) | st.text(max_size=3), inner, max_size=2
    ),
    max_leaves=4,
).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


any_line = (st.binary(max_size=30) | _json_lines).map(lambda line: line.replace(b"\n", b""))


def write(path: Path, data: bytes) -> None:
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zst":
        zstandard = pytest.importorskip("zstandard")
        data = zstandard.compress(data)
    path.write_bytes(data)


def write_meta(path: Path, kind: str, format_: str, **more) -> None:
    facts = {
        "tapring_capture": 1,
        "format": format_,
        "engine": "detector",
        "stage": f"of-{kind}",
        "kind": kind,
        "dtype": KINDS[kind][0].describe(),
        **more,
    }
    Path(f"{path}.meta.json").write_text(json.dumps(facts))


def record(folder: Path, kind: str, format_: str, ending: str = "") -> Path:
    """Write the events of ``KINDS`` to a file, as a capture does."""
    path = folder / f"events.{SUFFIXES.get(format_, format_)}{ending}"
    of, events = KINDS[kind]
    if format_ in ("npy", "parquet"):
        file = NpyFile(str(path), POINT) if format_ == "npy" else ParquetFile(str(path), kind)
        file.write(frame(of, events), None)
        file.close(complete=True, meta=dict)
    else:
        write(path, make_encoder(format_, kind)(frame(of, events)))
    write_meta(path, kind, format_)
    return path


def events_of(recording) -> list:
    """All events, as a consumer of their stage would see them."""
    found: list = []
    for _, _, events in recording.batches():
        kind = recording.make_kind()
        payload, count, errors = kind.pack(events)
        assert (count, errors) == (len(events), 0)
        unpacked, odd = kind.unpack(bytes(payload), count)
        assert not odd
        found += unpacked
    return found


def texts_of(recording) -> list[bytes]:
    """All events, byte for byte."""
    return [bytes(event) for _, _, batch in recording.batches() for event in batch]


def decoded(recording) -> list:
    return [json.loads(bytes(event)) for _, _, batch in recording.batches() for event in batch]


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner)
    ),
    max_leaves=6,
)
"""Any value that JSON can hold."""


def converted(path: Path, to: Path) -> int:
    """Write the events of a recording to another file, as tapring cat does; how many they are."""
    recorded = Recorded([open_recording(str(path))])
    enveloped = recorded.recordings[0].is_enveloped
    sink = open_sink(str(to), None, kind=recorded.kinds[0][1].name, envelope=enveloped)
    transfer = Transfer(recorded, sink)
    transfer.run()
    assert transfer.failure is None
    assert not recorded.failures
    return sink.events
