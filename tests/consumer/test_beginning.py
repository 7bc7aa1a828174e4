"""The sessions that a capture begins with: all of them, or none and a reason."""

from contextlib import ExitStack
from typing import Any

import pytest

import tapring
from tapring.shm.registry import Registry
from tapring.shm.requests import request_names
from tapring.shm.row import Row
from tests.helpers import offer

STAGES = {"raw": "lines", "decoded": "json", "flow": "json"}


def test_a_stage_that_no_lane_has_is_an_error_and_nothing_stays_open(name) -> None:
    with tapring.Tap(name) as tap:
        with pytest.raises(tapring.StageNotFound, match="did you mean 'decoded'"):
            tapring.capture(name, stages=["raw", "decodd"])
        assert tapring.engines(name)[0].sessions == ()
        assert tap.snapshot() is None
    assert request_names() == []


def test_a_lane_that_lacks_one_of_the_stages_is_named_with_it(name) -> None:
    with tapring.Tap(name, stages=STAGES) as rich, tapring.Tap(name) as poor:
        with tapring.capture(name, stages=["raw", "flow"]) as session:
            (refused,) = session.lanes_refused
            assert (refused.lane, refused.stage, refused.reason) == (poor.lane, "flow", "stage")
            assert set(session.lanes) == {rich.lane, poor.lane}
        with tapring.capture(name, stages=["*"]) as session:
            assert session.lanes_refused == ()
            assert len(session.addresses) == 5


def test_a_lane_with_room_for_one_session_is_read_in_one_stage_and_named_with_the_other(
    name,
) -> None:
    with tapring.Tap(name, max_sessions=1) as tap:
        with tapring.capture(name, stage="*") as session:
            offer(tap, "raw", [b"a"])
            assert session.read(1, timeout=10) == [b"a"]
            (refused,) = session.lanes_refused
            assert (refused.stage, refused.reason) == ("decoded", "full")
        with pytest.raises(tapring.SessionLimit):
            tapring.capture(name, stages=["raw", "decoded"])
        assert tapring.engines(name)[0].sessions == ()


def test_a_filter_that_a_stage_does_not_allow_is_an_error_and_nothing_stays_open(name) -> None:
    with tapring.Tap(name, stages={"raw": "lines", "blobs": "bytes"}) as tap:
        with pytest.raises(ValueError, match="holds bytes"):
            tapring.capture(name, stage="*", redact=tapring.Redactor("a"))
        assert tapring.engines(name)[0].sessions == ()
        assert tap.snapshot() is None


def test_one_lane_may_be_read_in_several_stages(name) -> None:
    with tapring.Tap(name) as tap, tapring.Tap(name) as other:
        with tapring.capture(f"{name}.{tap.lane}", stage="*") as session:
            for each in (other, tap):
                offer(each, "raw", [each.lane.encode()])
            assert session.lanes == (tap.lane,)
            tap.close()
            assert list(session) == [session.lanes[0].encode()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stages": "raw"}, "a list of names"),
        ({"stages": []}, "a list of names"),
        ({"stages": ["raw", "decoded"], "keep": True}, "of one stage"),
        ({"stage": "*", "keep": True}, "of one stage"),
    ],
)
def test_stages_that_make_no_sense_are_an_error(name, given, message) -> None:
    with tapring.Tap(name), pytest.raises(ValueError, match=message):
        tapring.capture(name, **given)


def test_rings_of_all_stages_together_fit_into_shared_memory(name) -> None:
    with tapring.Tap(name), tapring.capture(name, stage="*", buffer_bytes=1 << 16) as session:
        assert [each.buffer_bytes for each in session.lanes_joined] == [1 << 16] * 2


def test_a_table_that_is_held_is_waited_for_once_and_not_for_each_stage(name, monkeypatch) -> None:
    waited: list[float] = []
    register = Registry.register

    def busy(registry: Registry, **asked: Any) -> Row:
        if registry.info.lane == held.lane:
            waited.append(asked["timeout_s"])
            raise tapring.SessionBusy("another process holds the session table")
        return register(registry, **asked)

    monkeypatch.setattr(Registry, "register", busy)
    with tapring.Tap(name) as held, tapring.Tap(name) as free:
        with tapring.capture(name, stage="*") as session:
            assert session.lanes == (free.lane,)
            assert {(each.stage, each.reason) for each in session.lanes_refused} == {
                ("raw", "busy"), ("decoded", "busy"),
            }  # fmt: skip
    assert len(waited) == 1


def test_a_lane_whose_stage_is_of_another_kind_costs_no_other_lane_whatever_is_asked(name) -> None:
    with tapring.Tap(name, stages={"own": "json"}) as like, ExitStack() as stack:
        unlike = stack.enter_context(tapring.Tap(name, stages={"own": "bytes"}))
        while str(unlike.lane) < str(like.lane):  # lanes are opened in the order of their ids
            unlike.close()
            unlike = stack.enter_context(tapring.Tap(name, stages={"own": "bytes"}))
        with tapring.capture(name, stage="own", redact=tapring.Redactor("a")) as session:
            assert session.lanes == (like.lane,)
            (refused,) = session.lanes_refused
            assert (refused.lane, refused.reason) == (unlike.lane, "stage")


def test_if_no_lane_can_be_opened_once_more_the_stages_left_are_an_error(name, monkeypatch) -> None:
    """Each session has its own descriptors, and this process may open no more."""
    attach = Registry.attach
    times: list[int] = []

    def once(*args: Any, **named: Any) -> Registry:
        times.append(1)
        if len(times) > 1:
            raise tapring.SharedMemoryFull("too many open files")
        return attach(*args, **named)

    with tapring.Tap(name) as tap:
        monkeypatch.setattr(Registry, "attach", once)
        with pytest.raises(tapring.SharedMemoryFull, match="too many open files"):
            tapring.capture(f"{name}.{tap.lane}", stages=["raw", "decoded"])
        monkeypatch.undo()
        assert tapring.engines(name)[0].sessions == ()
