"""``Tap.emit``: one event is a batch of its own, offered as ``offer`` offers it."""

from typing import Any

import numpy as np
import pytest

import tapring

POINT = np.dtype([("t", "f8"), ("x", "i4")])
STAGES = {"blobs": "bytes", "points": tapring.array(POINT)}
EVENTS: dict[str, list[Any]] = {
    "raw": [b"bytes", "te\udcffxt", b"", bytearray(b"array"), memoryview(b"view")],
    "decoded": [{"n": 1}, [1, 2], None, "text", 7],
    "blobs": [b"\x00\n\xff", b"", bytearray(b"array")],
    "points": [(1.5, 2), np.array([(2.5, 3)], POINT)[0]],
}


@pytest.fixture
def tap(name):
    with tapring.Tap(name, stages=STAGES) as made:
        yield made


@pytest.fixture
def read(tap, name):
    """Open a session, do something, and return its events and its account."""

    def of(stage: str, do):
        with tapring.capture(name, stage=stage) as session:
            do()
            tap.snapshot()
            tap.close()
            return list(session), session.stats

    return of


@pytest.mark.parametrize("stage", EVENTS)
def test_an_event_of_each_kind_is_a_batch_of_its_own(tap, read, stage) -> None:
    events = EVENTS[stage]
    seen, stats = read(stage, lambda: [tap.emit(stage, event) for event in events])
    if stage == "points":
        assert [each.tolist() for each in seen] == [[(1.5, 2)], [(2.5, 3)]]
    else:
        text = [e.encode(errors="surrogateescape") if isinstance(e, str) else e for e in events]
        assert seen == (events if stage == "decoded" else text)
    assert (stats.captured, stats.errors, stats.split) == (len(events), 0, 0)


def test_a_line_with_newlines_is_one_event_that_is_read_as_several(tap, read) -> None:
    seen, stats = read("raw", lambda: tap.emit("raw", "Traceback:\n  one\n  two"))
    assert seen == [b"Traceback:", b"  one", b"  two"]
    assert (stats.offered, stats.split) == (1, 2)


@pytest.mark.parametrize(
    ("stage", "event"), [("raw", 7), ("blobs", "text"), ("decoded", object()), ("raw", None)]
)
def test_an_event_that_cannot_be_serialized_is_counted(tap, read, stage, event) -> None:
    with pytest.warns(tapring.TapWarning, match=f"stage '{stage}'"):
        seen, stats = read(stage, lambda: tap.emit(stage, event))
    assert (seen, stats.errors) == ([], 1)


@pytest.mark.parametrize("wrong", [("rw", b"x"), (7, b"x"), ([], b"x"), ("points", 7)])
def test_what_is_wrong_is_misuse_and_raises_only_if_strict(tap, name, wrong) -> None:
    tap.emit(*wrong)  # nobody watches, so nothing is looked at
    assert tap.misuse == 0
    with tap.register("points"), pytest.warns(tapring.TapWarning):
        tap.emit(*wrong)
    assert tap.misuse == 1
    with (
        tapring.Tap(name, stages=STAGES, strict=True) as strict,
        strict.register("points"),
        pytest.raises((tapring.StageNotFound, TypeError)),
    ):
        strict.emit(*wrong)


def test_a_session_is_offered_the_first_event_after_it_opened_and_none_after_it_ended(
    tap,
) -> None:
    handle = tap.register("raw")
    tap.emit("raw", b"first")
    handle.close()
    tap.emit("raw", b"no more")
    assert handle.captured == 1
    tap.close()
    tap.emit("raw", b"nor now")


def test_an_inert_tap_takes_it_and_does_nothing(name, monkeypatch) -> None:
    monkeypatch.setenv("TAPRING_DISABLE", "1")
    with tapring.Tap(name) as tap:
        tap.emit("raw", b"x")
