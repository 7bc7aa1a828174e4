"""Iterating goes from frame to frame; who shares it is told if that cannot be."""

import threading

import pytest

import tapring
from tapring.consumer.iterating import Batches
from tests.helpers import offer


@pytest.fixture
def intake(name):
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw", linger=0) as session:
        for first in (0, 3):
            offer(tap, "raw", [b"%d" % (first + i) for i in range(3)])
        tap.close()
        yield session._intake


def test_each_step_gives_what_iterates_over_the_next_frame(intake) -> None:
    assert [list(events) for events in Batches(intake)] == [[b"0", b"1", b"2"], [b"3", b"4", b"5"]]


def test_what_is_left_of_a_frame_comes_before_the_next_one(intake) -> None:
    batches = Batches(intake)
    events = next(batches)
    assert next(events) == b"0"
    assert next(batches) is events


def test_a_second_thread_that_may_not_ask_ends_it_for_the_first_with_an_error(name) -> None:
    with (
        tapring.Tap(name) as tap,
        tapring.capture(name, stage="raw", delivery="at-least-once") as session,
    ):
        offer(tap, "raw", [b"one"])
        batches = Batches(session._intake)
        assert list(next(batches)) == [b"one"]
        refused: list[type] = []

        def ask() -> None:
            try:
                next(batches)
            except RuntimeError as error:
                refused.append(type(error))

        other = threading.Thread(target=ask)
        other.start()
        other.join()
        assert refused == [RuntimeError]
        assert session._merge._stop == "error"
