"""An event has the same number in every session of its stage, and no other event has it."""

import os
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapring
from tapring.frame import Frame
from tests.helpers import offer

MOST = 4
OPEN = st.tuples(st.just("open"), st.integers(1, 3), st.sampled_from((256, 512, 4096)))
OFFER = st.tuples(
    st.just("offer"),
    st.lists(st.sampled_from(("", "x" * 40, "x" * 300, "x" * 5000, None)), max_size=6),
    st.sampled_from(("now", "before", "in parts")),
)
STEP = st.one_of(OPEN, OFFER, OFFER, OFFER, st.tuples(st.sampled_from(("end", "read", "rest"))))


def frames_of(name: str, handle: tapring.Handle) -> list[Frame]:
    """All that is left in a session of the engine ``name``, which ends."""
    with tapring.attach_session(name, handle.id) as session:
        handle.close()
        return list(session.frames())


class Engine:
    """A tap, its sessions and their consumers, and the frames that each consumer got."""

    def __init__(self, tap: tapring.Tap, stack: ExitStack) -> None:
        self.tap = tap
        self.number = 0
        self.before = tap.snapshot()
        self.frames: list[Frame] = []
        self._stack = stack
        self._open: list[tuple[tapring.Handle, tapring.Session]] = []

    def open(self, sample: int, buffer_bytes: int) -> None:
        self.before = self.tap.snapshot()  # what a batch that is under way goes on with
        handle = self.tap.register("decoded", sample=sample, buffer_bytes=buffer_bytes)
        if handle is not None:
            session = tapring.attach_session(self.tap.name, handle.id)
            self._open.append((handle, self._stack.enter_context(session)))

    def offer(self, sizes: list[str | None], how: str) -> None:
        """Offer events that each have a number of their own; None: it cannot be serialized."""
        batch = [object() if pad is None else self._event(pad) for pad in sizes]
        watched = self.before if how == "before" else self.tap.snapshot()
        for part in [[each] for each in batch] if how == "in parts" else [batch]:
            if watched:
                watched.offer("decoded", part)

    def _event(self, pad: str) -> list[Any]:
        self.number += 1
        return [self.number, pad]

    def end(self) -> None:
        """End the oldest session, and read it to its end."""
        if self._open:
            handle, session = self._open.pop(0)
            handle.close()
            self._take(session, None)

    def read(self) -> None:
        """Take one event of each session out of the middle of its frame."""
        for _, session in self._open:
            session.read(1, timeout=0)

    def rest(self) -> None:
        """Take what is left of a frame, and a part of the next one."""
        for _, session in self._open:
            if session.read(1, timeout=0):
                self._take(session, 2) if session.stats.unread > 2 else None

    def _take(self, session: tapring.Session, limit: int | None) -> None:
        frames = list(session.frames(limit=limit))
        assert all(one.sequence + one.count <= other.sequence for one, other in pairwise(frames))
        self.frames += frames

    def finish(self) -> None:
        while self._open:
            self.end()


@pytest.mark.filterwarnings("ignore::tapring.TapWarning")
@settings(max_examples=150)
@given(steps=st.lists(STEP, max_size=25))
def test_every_session_of_a_stage_has_the_same_number_for_an_event(steps) -> None:
    tap = tapring.Tap(f"t-{os.getpid()}-sequence", max_sessions=MOST, slot_bytes=64)
    with tap, ExitStack() as stack:
        engine = Engine(tap, stack)
        for what, *how in [("open", 1, 4096), *steps]:
            getattr(engine, what)(*how)
        engine.finish()
    number_of: dict[int, int] = {}
    for frame in engine.frames:
        for sequence, (event, _) in enumerate(frame.events(), frame.sequence):
            assert number_of.setdefault(event, sequence) == sequence, "two numbers for one event"
    assert len(set(number_of.values())) == len(number_of), "one number for two events"


def test_a_session_that_comes_later_begins_where_the_others_are(name) -> None:
    with tapring.Tap(name) as tap:
        first = tap.register("raw")
        offer(tap, "raw", [b"a", b"b", b"c"])
        first.close()
        offer(tap, "raw", [b"not watched"])
        later = tap.register("raw", sample=2)
        other = tap.register("decoded")
        for batch in ([b"d", b"e"], [b"f"], [b"g"]):
            offer(tap, "raw", batch)
        offer(tap, "decoded", [1])
        assert [(each.sequence, each.count) for each in frames_of(name, later)] == [(3, 2), (6, 1)]
        assert [each.sequence for each in frames_of(name, other)] == [0]


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
def test_what_a_consumer_leaves_keeps_its_numbers_for_the_next_one(name, delivery) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        offer(tap, "raw", [b"a", object(), b"b", b"c", b"d"])
        with tapring.attach_session(name, handle.id, delivery=delivery) as session:
            assert session.read(2, timeout=0) == [b"a", b"b"]
        (frame,) = frames_of(name, handle)
        assert (frame.sequence, frame.events()) == (3, [b"c", b"d"])


def test_a_selection_keeps_the_number_of_the_frames_first_event(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        offer(tap, "raw", [b"a", b"b", b"c"])
        offer(tap, "raw", [b"a", b"b"])
        with tapring.attach_session(name, handle.id, select=tapring.Select(grep="b|c")) as session:
            handle.close()
            assert session.read(1) == [b"b"]
            frames = list(session.frames())
        assert [(each.sequence, each.events()) for each in frames] == [(2, [b"c"]), (3, [b"b"])]


def test_batches_that_the_budget_skips_have_numbers_too(name) -> None:
    with tapring.Tap(name, budget=0.5) as tap:
        handle = tap.register("raw")
        tap._lane.schedule.watched["raw"].tally.resting.extend([4, 2])
        other = tap.register("raw")
        offer(tap, "raw", [b"a"])
        for each in (handle, other):
            assert [frame.sequence for frame in frames_of(name, each)] == [6]
