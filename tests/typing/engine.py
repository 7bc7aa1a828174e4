"""An engine: every kind of batch that the runtime takes."""

from collections import deque
from typing import assert_type

import numpy as np

import tapring

POINT = np.dtype([("t", "f8"), ("x", "f4")])


def offers_every_kind_of_batch(lines: deque[bytes], users: dict[str, int]) -> None:
    tap = tapring.Tap(
        "robot",
        stages={"audit": "json", "blobs": "bytes", "track": tapring.array(POINT)},
        redact={"decoded": ["password"]},
        enc_hook=str,
        budget=0.02,
    )
    watched = tap.snapshot()
    assert_type(watched, tapring.Snapshot | None)
    if watched:
        watched.offer("raw", ["one line", b"another", bytearray(b"a third")])
        watched.offer("raw", "one block\nof two lines\n")
        watched.offer("raw", b"one block\nof two lines\n")
        watched.offer("raw", lines)
        watched.offer("decoded", [{"user": 7}, {"user": 8}])
        watched.offer("decoded", ({"user": 7},))
        watched.offer("decoded", {1, 2})
        watched.offer("decoded", users.values())
        watched.offer("decoded", users.keys())
        watched.offer("track", np.zeros(64, POINT))
        watched.offer("track", np.zeros(64, POINT)[0])
    tap.emit("decoded", {"user": 7})
    assert_type(tap.cost.share, float)
    assert_type(tap.reason, str | None)


def registers_a_session(tap: tapring.Tap) -> int:
    handle = tap.register("decoded", duration=30, sample=10)
    assert_type(handle, tapring.Handle | None)
    return handle.captured if handle else 0


def shares_a_tap(kind: tapring.StageKind) -> str:
    tap = tapring.get_tap("orders", stages={"audit": "json"}, redact=["card.number"])
    assert_type(tap, tapring.Tap)
    return f"{tap.name} {kind}"
