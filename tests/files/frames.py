"""Helpers: frames to write, and the contents of the files that were written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tapring.events.kinds import Json
from tapring.frame import Frame, Origin

NS = 1_700_000_000_123_456_789


POINT = np.dtype([("t", "f8"), ("x", "i4")])


_json_objects = st.dictionaries(
    st.sampled_from(["line", "line_base64", "a"]), st.integers() | st.text(), max_size=2
).map(lambda event: json.dumps(event).encode())


text_lines = st.lists(
    st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")) | _json_objects, max_size=5
)

WRITER = """
import signal, sys, time
import numpy as np
from tapring.files.writing import open_sink
from tapring.frame import Frame, Origin
from tapring.events.kinds import Array, Json
kind = Array([("t", "f8"), ("x", "i4")]) if sys.argv[1].endswith(".npy") else Json()
sink = open_sink(sys.argv[1], None, kind=kind.name, dtype=getattr(kind, "dtype", None))
def put(n):
    batch = [(k, k) if kind.name == "array" else {"n": k} for k in range(n, n + 10)]
    payload, count, _ = kind.pack(batch)
    sink.write(Frame(bytes(payload), count, n, 0, Origin(), kind))
"""


def frame(kind, batch, at: int = NS, missed: int = 0) -> Frame:
    payload, count, _ = kind.pack(batch)
    return Frame(bytes(payload), count, at, missed, Origin(lane="00000000"), kind)


def numbers(start: int, stop: int) -> Frame:
    return frame(Json(), [{"n": n} for n in range(start, stop)], NS + start)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def meta_of(path: Path) -> dict:
    return json.loads(Path(f"{path}.meta.json").read_bytes())


def numbers_in(text: bytes) -> list[int]:
    assert text.endswith(b"\n") or not text
    return [json.loads(line)["n"] for line in text.splitlines()]


def readable(part: Path, suffix: str) -> list[int]:
    if suffix.endswith(".npy"):
        return np.load(part)["x"].tolist()
    data = part.read_bytes()
    if suffix.endswith(".gz"):
        shown = subprocess.run(["zcat"], input=data, capture_output=True, check=False)
        assert b"unexpected end of file" in shown.stderr
        data = shown.stdout
    if suffix.endswith(".zst"):
        import zstandard

        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return numbers_in(data)
