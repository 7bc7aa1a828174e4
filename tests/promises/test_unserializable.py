"""What people really offer: it is serialized, or counted as an error with a reason."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import json
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tapring
from tests.helpers import closes, offer


class Color(enum.Enum):
    RED = "red"


class Text(str):
    pass


class Blob(bytes):
    pass


@dataclasses.dataclass
class Point:
    x: int = 1


class Record(msgspec.Struct):
    n: int = 1


OFFERED: list[Any] = [
    Path("/tmp"),
    np.int64(1),
    np.float64(1.5),
    np.str_("x"),
    np.arange(2),
    Text("x"),
    Blob(b"x"),
    b"x",
    bytearray(b"x"),
    memoryview(b"x"),
    deque([1]),
    {"a": 1}.keys(),
    {"a": 1}.values(),
    {1, 2},
    frozenset([1]),
    Counter("a"),
    OrderedDict(a=1),
    Point(),
    Record(),
    Color.RED,
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("1.0"),
    uuid.UUID(int=1),
    ipaddress.ip_address("::1"),
    "\ud800",
    {1: 2},
    {(1, 2): 3},
    {None: 1},
    ValueError("x"),
    ValueError,
    float("nan"),
    float("inf"),
    1 << 70,
    range(3),
    object(),
    len,
    1j,
]


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name) as tap:
        yield tap


@pytest.mark.filterwarnings("ignore::tapring.TapWarning")
@pytest.mark.parametrize("inside", [False, True], ids=["the-event", "a-field"])
@pytest.mark.parametrize("value", OFFERED, ids=lambda value: type(value).__name__)
def test_each_value_is_delivered_or_counted_with_a_reason(tap, name, value, inside) -> None:
    event = {"user": {"field": value}} if inside else value
    with tapring.capture(name) as session:
        offer(tap, "decoded", [{"before": 1}, event, {"after": 1}])
        read = session.read(9, timeout=0)
        assert read[0] == {"before": 1}
        assert read[-1] == {"after": 1}
        errors = session.stats.errors
        assert len(read) == 3 - errors
        assert closes(session.stats)
        assert session.ended_by is None
    assert (tap.last_error is not None) == bool(errors)
    if errors and inside:
        assert "user.field" in tap.last_error
    assert (tap.faults, tap.misuse) == (0, 0)


@pytest.mark.filterwarnings("ignore::tapring.TapWarning")
@pytest.mark.parametrize("value", OFFERED, ids=lambda value: type(value).__name__)
def test_with_a_hook_nearly_everything_is_delivered(name, value) -> None:
    with tapring.Tap(name, enc_hook=str) as tap, tapring.capture(name) as session:
        offer(tap, "decoded", [{"field": value}])
        assert len(session.read(2, timeout=0)) == 1 - session.stats.errors
        if session.stats.errors:
            assert value == 1 << 70 or type(value) in (str, dict, Text)
            assert tap.last_error


def test_each_type_is_warned_about_once_with_its_stage_and_field(tap) -> None:
    tap.register("decoded")
    with pytest.warns(tapring.TapWarning) as said:
        for _ in range(5):
            offer(tap, "decoded", [{"path": Path("/x")}, {"n": {"v": np.int64(1)}}])
    texts = [str(each.message) for each in said]
    assert len(texts) == 2
    assert "stage 'decoded'" in texts[0]
    assert "PosixPath" in texts[0]
    assert "(at path)" in texts[0]
    assert "numpy.int64" in texts[1]
    assert "(at n.v)" in texts[1]
    assert str(said[0].filename) != tapring.__file__


@pytest.mark.filterwarnings("ignore::tapring.TapWarning")
@pytest.mark.parametrize("stage", ["raw", "blobs"])
def test_lines_and_bytes_give_a_reason_too(name, stage) -> None:
    with tapring.Tap(name, stages={"blobs": "bytes"}) as tap, tap.register(stage) as handle:
        offer(tap, stage, [b"good", 7])
        assert handle.captured == 1
        assert tap.last_error == (
            f"stage '{stage}': an event cannot be serialized: "
            f"objects of type int are neither text nor bytes"
        )


def test_a_hook_is_called_before_anything_is_held(name) -> None:
    """It may offer, too, and what it raises costs one event."""

    def hook(value: object) -> str:
        offer(tap, "raw", [b"from the hook"])
        if type(value) is complex:
            raise RuntimeError("not this one")
        return "hooked"

    with tapring.Tap(name, enc_hook=hook) as tap:
        raw, decoded = tap.register("raw"), tap.register("decoded")
        offer(tap, "decoded", [{"a": Path()}])
        assert (raw.captured, decoded.captured) == (1, 1)
        with pytest.warns(tapring.TapWarning, match="not this one"):
            offer(tap, "decoded", [{"a": 1j}, {"a": 1}])
        assert (decoded.offered, decoded.captured) == (3, 2)
        assert (tap.faults, tap.misuse) == (0, 0)


def test_fields_that_the_engine_strips_are_stripped_of_what_a_hook_made(name) -> None:
    with (
        tapring.Tap(name, redact="a.secret", enc_hook=lambda _: {"secret": 1, "open": 2}) as tap,
        tapring.capture(name) as session,
    ):
        offer(tap, "decoded", [{"a": object()}, {"b": 2}])
        assert json.dumps(session.read(9, timeout=0)) == '[{"a": {"open": 2}}, {"b": 2}]'
