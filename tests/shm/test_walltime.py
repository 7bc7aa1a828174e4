"""Each time keeps the wall-clock time that it had, however the wall clock is set afterwards."""

from __future__ import annotations

import sys
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.shm import walltime
from tapring.shm.walltime import WallNotes, WallTimes, read_clocks
from tapring.wire import layout

MS = 1_000_000
HOUR = 3600 * 1000 * MS
START = (7 * HOUR, 480_000 * HOUR)  # of the two clocks

# How far CLOCK_MONOTONIC goes on until the next look, and how far the wall clock is set.
STEPS = st.lists(st.tuples(st.integers(1, HOUR), st.integers(-(1 << 61), 1 << 61)), max_size=30)


class Page:
    """A page of words that keeps what it held after each store."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray(layout.PAGE)).cast("Q")
        self.was: list[bytes] = []

    def __getitem__(self, index: int) -> int:
        return self.words[index]

    def __setitem__(self, index: int, value: int) -> None:
        self.words[index] = value
        self.was.append(bytes(self.words))


class Clocks:
    """An engine that looks at its two clocks; what it has noted, and what is true."""

    def __init__(self) -> None:
        self.page = Page()
        self.monotonic, self.wall = START
        self.notes = WallNotes(self.page, START)
        self.true = [(0, self.wall - self.monotonic)]

    def go_on(self, ns: int, set_by: int = 0) -> int:
        """Let time pass, set the wall clock, and look."""
        self.monotonic += ns
        self.wall += ns + set_by
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(walltime, "read_pair", lambda: (self.monotonic, self.wall))
            wall = self.notes.look()
        if abs(self.wall - self.monotonic - self.true[-1][1]) > MS:
            self.true.append((self.monotonic, self.wall - self.monotonic))
        return wall

    def times(self) -> WallTimes:
        return WallTimes(self.page.words)


def at(true: list[tuple[int, int]], monotonic: int) -> int:
    """The wall-clock time of a time, by the notes that are left."""
    index = bisect_right([since for since, _ in true], monotonic) - 1
    return monotonic + true[max(0, index)][1]


def test_while_the_clocks_go_on_together_one_note_is_enough() -> None:
    clocks = Clocks()
    for _ in range(10):
        assert clocks.go_on(HOUR, MS // 20) == clocks.wall
    assert clocks.page[layout.CLOCKS] == 1
    assert clocks.times().at(0) == START[1] - START[0]
    assert clocks.times().at(START[0]) == START[1]


@pytest.mark.parametrize("set_by", [HOUR, -HOUR, -START[1] // 2, -START[1] - HOUR])
def test_what_came_before_the_wall_clock_was_set_keeps_its_time(set_by) -> None:
    clocks = Clocks()
    clocks.go_on(10 * MS)
    before = clocks.monotonic, clocks.wall
    clocks.go_on(10 * MS, set_by)
    after = clocks.monotonic, clocks.wall
    times = clocks.times()
    assert [times.at(monotonic) for monotonic, _ in (before, after)] == [before[1], after[1]]


@given(STEPS)
def test_however_often_it_is_set_forth_and_back_each_time_keeps_its_own(steps) -> None:
    clocks = Clocks()
    clocks.wall = clocks.monotonic  # far from the ends of what a word can hold
    looks = []
    for ns, set_by in steps:
        clocks.wall = clocks.monotonic
        clocks.go_on(ns, set_by)
        looks.append((clocks.monotonic, clocks.wall))
    times = clocks.times()
    for monotonic, wall in looks:
        assert abs(times.at(monotonic) - wall) <= MS
        assert times.at(monotonic) == at(clocks.true, monotonic)


def test_of_more_notes_than_have_room_the_newest_stay() -> None:
    clocks = Clocks()
    for i in range(3 * layout.MAX_CLOCKS):
        clocks.go_on(HOUR, HOUR if i % 3 else -HOUR)
    newest = clocks.true[-layout.MAX_CLOCKS + 1 :]
    times = clocks.times()
    for monotonic in range(0, clocks.monotonic, HOUR // 2):
        assert times.at(monotonic) == at(newest, monotonic)


@pytest.mark.parametrize("notes", [3, layout.MAX_CLOCKS - 1, layout.MAX_CLOCKS, 600])
def test_a_reader_never_sees_half_a_note(notes) -> None:
    """It may copy the page between any two stores."""
    clocks = Clocks()
    for _ in range(notes):
        clocks.go_on(HOUR, HOUR)
    for page in clocks.page.was:
        words = memoryview(page).cast("Q")
        complete = clocks.true[: words[layout.CLOCKS]]
        if complete:
            left = complete[-layout.MAX_CLOCKS + 1 :]
            times = WallTimes(words)
            for monotonic, _ in (complete[0], left[0], left[-1], clocks.true[-1]):
                assert times.at(monotonic) == at(left, monotonic)


def test_a_page_that_changes_while_it_is_copied_is_copied_again() -> None:
    clocks = Clocks()
    segment = bytearray(layout.PAGE)
    for _ in range(400):
        clocks.go_on(HOUR, HOUR)
    notes = iter(range(5))
    reads = []

    def read(offset: int, length: int) -> bytes:
        reads.append(length)
        found = bytes(segment + clocks.page.words.tobytes())[offset : offset + length]
        for _ in zip(range(2), notes):  # noqa: B905
            clocks.go_on(HOUR, HOUR)
        return found

    times = WallTimes(memoryview(read_clocks(read)).cast("Q"))
    newest = clocks.true[-layout.MAX_CLOCKS + 1 :]
    for monotonic in range(0, clocks.monotonic, HOUR):
        assert times.at(monotonic) == at(newest, monotonic)
    assert len(reads) == 6
    assert sum(reads) == 2 * (layout.PAGE + layout.WORD)


def test_a_page_that_never_stands_still_is_read_all_the_same() -> None:
    reads = []

    def read(offset: int, length: int) -> bytes:
        reads.append(offset)
        return len(reads).to_bytes(8, sys.byteorder).ljust(length, b"x")[:length]

    assert len(read_clocks(read)) == layout.PAGE
    assert len(reads) < 100


@given(
    count=st.integers(0, 600) | st.integers(0, layout.MAX_WORD),
    words=st.lists(st.integers(0, layout.MAX_WORD), max_size=30),
    times=st.lists(st.integers(0, layout.MAX_WORD), min_size=1, max_size=5),
)
def test_a_page_of_nonsense_gives_times_of_nonsense_and_no_error(count, words, times) -> None:
    page = memoryview(bytearray(layout.PAGE)).cast("Q")
    page[layout.CLOCKS] = count
    for i, word in enumerate(words):
        page[layout.CLOCK_ENTRY + i] = word
    found = WallTimes(page)
    for each in times:
        assert isinstance(found.at(each), int)
    assert WallTimes(memoryview(bytes(layout.PAGE)).cast("Q")).at(7) == 7


def test_the_page_can_be_unmapped_once_the_notes_are_closed() -> None:
    data = bytearray(layout.PAGE)
    notes = WallNotes(memoryview(data).cast("Q"), START)
    notes.close()
    notes.close()
    data.clear()  # a BufferError while there are views
