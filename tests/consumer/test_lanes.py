"""A lane that ended is named with its process, the reason and the time."""

import os
import time

import msgspec

import tapring
from tapring.consumer.lanes import LaneEnded, ending
from tapring.ended_by import EndedBy


def test_it_says_which_lane_of_which_process_ended_why_and_when(name) -> None:
    with tapring.Tap(name) as tap, tapring.capture(name) as session:
        before = time.time_ns()
        ended = ending(session.lanes_joined[0], EndedBy.EVICTED)
        assert (ended.engine, ended.lane, ended.pid) == (name, tap.lane, os.getpid())
        assert ended.stage == "decoded"
        assert before <= ended.time_ns <= time.time_ns()
        assert (ended.reason, str(ended.reason)) == (EndedBy.EVICTED, "evicted")


def test_json_shows_the_reason_as_its_word() -> None:
    ended = LaneEnded("shop", "0a1b2c3d", 7, EndedBy.ENGINE_DEATH, 9)
    assert msgspec.to_builtins(ended)["reason"] == "engine-death"
