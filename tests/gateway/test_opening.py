"""Opening: a session that no filter can look around, or a problem and no session."""

from __future__ import annotations

import json

import pytest

import tapring
from tapring.gateway import query
from tapring.gateway.access import Role
from tapring.gateway.opening import open_live, open_past
from tapring.gateway.positions import Positions
from tapring.gateway.problem import Problem
from tapring.gateway.sent import Sent
from tapring.gateway.settings import Hidden, Settings

from .conftest import sessions

HIDING = Settings(hidden=Hidden(paths=("user",)), ring_bytes=1 << 16)


def opened(name: str, role: Role, settings: Settings = HIDING, **asked: str):
    live = query.live([("stage", "decoded"), *asked.items()])
    return open_live(settings, name, live, role, Sent("ndjson"), Positions())


def test_a_filter_sees_what_its_reader_sees(name) -> None:
    with tapring.Tap(name) as tap:
        session, _ = opened(name, Role.READ, where="user=='ann'")
        raw, report = opened(name, Role.READ_RAW, where="user=='ann'")
        with session, raw:
            tap.snapshot().offer("decoded", [{"user": "ann"}, {"user": "bob"}])
            assert session.next_frame(0) is None
            frame = raw.next_frame(5)
            assert frame is not None
            assert frame.events() == [{"user": "ann"}]
        assert report.facts().filtered == 1
        assert session.stats.filtered == 2


@pytest.mark.parametrize("kind", ["bytes", "lines"])
def test_what_cannot_be_redacted_is_not_handed_out(name, kind) -> None:
    with tapring.Tap(name, stages={"decoded": kind}) as tap:
        if kind == "bytes":
            with pytest.raises(Problem, match="bytes"):
                opened(name, Role.READ)
            assert sessions(name) == 0
            return
        session, report = opened(name, Role.READ)
        with session:
            tap.snapshot().offer("decoded", [b"user=ann", b'{"user":"ann"}'])
            frame = session.next_frame(5)
        assert frame is not None
        assert frame.count == 1
        assert "tapring:redacted" in json.loads(frame.lines()[0])["user"]
        assert report.facts().redaction_dropped == 1


@pytest.mark.parametrize(
    ("options", "asked", "status"),
    [
        ({}, {"stage": "none"}, 404),
        ({"max_duration": 5}, {"duration": "10s"}, 400),
        ({"max_buffer_bytes": 8192, "buffer_bytes": 8192}, {}, 400),
        ({"remote": False}, {}, 503),
        ({}, {"last": "10s"}, 404),
    ],
)
def test_what_cannot_be_opened_is_a_problem_and_leaves_nothing(
    name, options, asked, status
) -> None:
    with tapring.Tap(name, **options):
        live = query.live([*({"stage": "decoded"} | asked).items()])
        with pytest.raises(Problem) as caught:
            open_live(HIDING, name, live, Role.READ, Sent("ndjson"), Positions())
        assert caught.value.status == status
        assert sessions(name) == 0


@pytest.mark.usefixtures("recordings")
def test_the_past_is_hidden_as_the_present_is(name) -> None:
    with tapring.Tap(name, recorder="decoded") as tap:
        tap.snapshot().offer("decoded", [{"user": "ann"}, {"user": "bob"}])
    for role, found in ((Role.READ, 0), (Role.READ_RAW, 1)):
        asked = query.dump([("where", "user=='ann'")])
        past, report = open_past(HIDING, name, asked, role, Sent("ndjson"))
        assert sum(frame.count for frame in past.frames()) == found
        assert report.facts().filtered == 2 - found
    with pytest.raises(Problem) as caught:
        open_past(HIDING, name + "x", query.dump([]), Role.READ, Sent("ndjson"))
    assert caught.value.status == 404


def test_an_engine_that_is_not_there_is_not_told_to_record(name) -> None:
    def said() -> str:
        with pytest.raises(Problem) as caught:
            open_past(HIDING, name, query.dump([]), Role.READ, Sent("ndjson"))
        assert caught.value.status == 404
        return str(caught.value)

    assert "no engine that can be read here" in said()
    with tapring.Tap(name):
        assert "nothing that was asked for is recorded" in said()
