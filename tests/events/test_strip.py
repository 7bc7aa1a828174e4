"""Fields that an engine removes never enter shared memory, whatever its objects look like."""

import copy
import dataclasses
import enum
from pathlib import Path

import msgspec
import numpy as np
import pytest

import tapring
from tapring.events.kinds import Json, Kind, Lines
from tapring.events.paths import parse_paths
from tapring.events.strip import Removing, without

SECRET = "R4W-VALUE"


class Key(enum.Enum):
    PASSWORD = "password"


class User(msgspec.Struct, rename={"word": "password"}):
    name: str
    word: str


@dataclasses.dataclass
class Login:
    password: str
    ok: bool


def in_shared_memory(name: str) -> bytes:
    return b"".join(p.read_bytes() for p in Path("/dev/shm").glob(f"tapring.{name}.*"))


@pytest.mark.parametrize(
    "event",
    [
        {"password": SECRET, "n": 1},
        {"user": {"password": SECRET}},
        {"user": ({"password": SECRET}, [{"password": SECRET}])},
        {Key.PASSWORD: SECRET},
        User("root", SECRET),
        {"user": User("root", SECRET)},
        Login(SECRET, True),
        [Login(SECRET, True)],
        msgspec.Raw(b'{"pass\\u0077ord":"%s","x":1}' % SECRET.encode()),
        {"user": msgspec.Raw(b'{"password":1,"password":"%s"}' % SECRET.encode())},
        msgspec.Raw(b'{"password":"%s' % SECRET.encode()),
        {"ips": [SECRET, "b"]},
    ],
)
def test_the_value_is_nowhere_in_shared_memory(name, event) -> None:
    with tapring.Tap(name, redact=["password", "user.password", "ips.0"]) as tap:
        with tapring.capture(name) as session:
            tap.snapshot().offer("decoded", [event, {"n": 2}])
            assert SECRET.encode() not in in_shared_memory(name)
            assert session.read(5, timeout=5)[-1] == {"n": 2}
            assert session.stats.offered == 2


def test_fields_are_removed_from_lines_and_lines_that_are_not_json_are_withheld(name) -> None:
    lines = [f'{{"password":"{SECRET}","n":1}}', f"password {SECRET}", f'"{SECRET}"', '{"n":2}']
    for batch in (lines, "\n".join(lines).encode()):
        with tapring.Tap(name, redact="password") as tap:
            with tapring.capture(name, stage="raw") as session:
                tap.snapshot().offer("raw", batch)
                assert SECRET.encode() not in in_shared_memory(name)
                assert session.read(9, timeout=5) == [b'{"n":1}', b'{"n":2}']
                assert session.stats.errors == 2


def test_the_engines_own_objects_stay_as_they_are(name) -> None:
    event = {"password": SECRET, "user": {"password": SECRET}}
    before = copy.deepcopy(event)
    with tapring.Tap(name, redact="password,user.password") as tap:
        with tapring.capture(name) as session:
            tap.snapshot().offer("decoded", [event])
            assert session.read(1, timeout=5) == [{"user": {}}]
    assert event == before


def test_a_stage_that_is_not_named_passes_as_it_is_and_the_lane_says_which_are(name) -> None:
    with tapring.Tap(name, redact={"decoded": ["password"], "raw": []}) as tap:
        with tapring.capture(name, stage="raw") as session:
            tap.snapshot().offer("raw", ["plain text"])
            assert session.read(1, timeout=5) == [b"plain text"]
        (info,) = tapring.engines(name)
    assert info.stages["decoded"].redact == ("password",)
    assert info.stages["raw"].redact == ()


@pytest.mark.parametrize(
    ("redact", "said"),
    [
        (["a..b"], "empty name"),
        ({"decodde": ["a"]}, "unknown stage 'decodde'.*decoded"),
        (["a"], "stage 'blobs', which is of kind bytes.*redact={'decoded'"),
        ({"points": ["x"]}, "of kind array"),
    ],
)
def test_fields_that_cannot_be_removed_are_refused_when_the_tap_is_made(name, redact, said) -> None:
    stages = {"blobs": "bytes", "points": tapring.array(np.dtype([("x", "f4")]))}
    with pytest.raises(ValueError, match=said):
        tapring.Tap(name, stages=stages, redact=redact)


def test_an_event_that_is_no_json_is_withheld_and_the_others_pass(name) -> None:
    broken = msgspec.Raw(b'{"password":"%b",' % SECRET.encode())
    with tapring.Tap(name, redact="password") as tap:
        with tapring.capture(name) as session:
            tap.snapshot().offer("decoded", [{"password": SECRET, "n": 1}, broken, {"n": 2}])
            assert SECRET.encode() not in in_shared_memory(name)
            assert session.read(9, timeout=5) == [{"n": 1}, {"n": 2}]
            assert session.stats.errors == 1


def test_no_encoding_of_an_event_that_is_no_json_passes() -> None:
    packed = without({"s": Json()}, "a")["s"].pack([{"a": 1, "b": 2}, msgspec.Raw(b'{"a":1,')])
    assert packed == (b'{"b":2}\n', 1, 1)


@pytest.mark.parametrize(
    ("stage", "batch"),
    [
        ("decoded", [msgspec.Raw(b'{"x":'), {"password": SECRET}, msgspec.Raw(b"}")]),
        ("decoded", [msgspec.Raw(b'{"password":[\n"%s"\n]}' % SECRET.encode()), msgspec.Raw(b"{")]),
        ("raw", ['{"x":', f'{{"password":"{SECRET}"}}', "}"]),
        ("raw", ['{"x":', f'{{"password":"{SECRET}"}}', "}", "1 2 3"]),
    ],
)
def test_an_event_in_several_lines_hides_no_field_and_shows_none(name, stage, batch) -> None:
    with tapring.Tap(name, redact="password") as tap, tapring.capture(name, stage=stage) as session:
        tap.snapshot().offer(stage, batch)
        assert SECRET.encode() not in in_shared_memory(name)
        stats = session.stats
        assert stats.captured + stats.errors == stats.offered == len(batch)


def test_an_event_of_two_lines_is_not_counted_as_fewer_than_none_that_failed() -> None:
    kind = without({"raw": Lines()}, "password")["raw"]
    payload, count, errors = kind.pack([b'{"password":1,"a":2}\n{"b":3}'])
    assert (payload, count, errors) == (b'{"a":2}\n{"b":3}\n', 2, 0)


@pytest.mark.parametrize("kind", [Lines(), Json()])
def test_it_does_for_a_stage_all_that_its_kind_does(kind) -> None:
    removing = Removing(kind, parse_paths("secret"))
    public = [name for name in dir(Kind) if not name.startswith("_")]
    assert [name for name in [*public, *Kind.__annotations__] if not hasattr(removing, name)] == []
    assert removing.count([b"1", b"2"]) == 2
    assert removing.parts(b"1\n2\n", 2).take(99) == kind.parts(b"1\n2\n", 2).take(99)


def test_what_does_not_fit_is_dropped_or_cut_as_without_it(name) -> None:
    with tapring.Tap(name, redact=["secret"]) as tap:
        with tapring.capture(name, buffer_bytes=4096) as session:
            for _ in range(3):
                tap.snapshot().offer("decoded", [{"secret": 1, "n": "x" * 100}] * 20)
            assert session.read(99, timeout=0) == [{"n": "x" * 100}] * session.stats.captured
            assert 0 < session.stats.captured < 60
            assert session.stats.dropped == 60 - session.stats.captured
