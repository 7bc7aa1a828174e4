"""The pace has a bounded number of points, and gives a time for each event."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tapring.files.pace import MAX_POINTS, Pace, PaceWriter
from tapring.files.reading import open_recording
from tests.files.frames import NS
from tests.files.recorded import write_meta


@given(st.integers(0, 5 * MAX_POINTS))
def test_pace_is_bounded_and_even(frames) -> None:
    pace = PaceWriter()
    for n in range(frames):
        pace.note(10 * n, NS + 100 * n)
    timing = pace.timing(10 * frames)
    points = timing.pace
    assert len(points) <= MAX_POINTS
    assert len(points) >= min(frames, MAX_POINTS // 2)
    assert all(ns == 10 * events for events, ns in points)
    assert len({b[0] - a[0] for a, b in pairwise(points)}) <= 1
    if frames:
        assert (timing.start_ns, timing.end_ns) == (NS, NS + 100 * (frames - 1))


def test_the_pace_of_a_file_that_was_cut_back_ends_at_its_last_frame() -> None:
    pace = PaceWriter()
    for n in range(3):
        pace.note(10 * n, NS + 100 * n)
    assert pace.timing(30).end_ns == NS + 200
    cut = pace.timing(20)
    assert (cut.start_ns, cut.end_ns, cut.pace) == (NS, NS + 100, [(0, 0), (10, 100)])
    nothing = pace.timing(0)
    assert (nothing.start_ns, nothing.end_ns, nothing.pace) == (NS, NS, [])


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(-100, 1_000)),
        min_size=1,
        unique_by=lambda p: p[0],
    )
)
def test_a_pace_meets_its_points_and_stays_between_them(points) -> None:
    pace, points = Pace(points), sorted(points)
    for (first, start), (last, end) in pairwise(points):
        assert pace.at(first) == start
        assert pace.next_point(first) == last
        assert all(min(start, end) <= pace.at(n) <= max(start, end) for n in range(first, last))
    assert pace.at(points[-1][0] + 7) == points[-1][1]
    assert pace.next_point(points[-1][0]) is None
    assert pace.at(-1) == points[0][1]


def test_each_point_of_the_pace_begins_a_batch_and_time_is_linear_between_them(
    tmp_path,
) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"x\n" * 100)
    write_meta(path, "lines", "raw", pace=[[0, 0], [10, 500], [90, 8_500], [95, 8_600]])
    found = [(offset, len(events)) for offset, _, events in open_recording(str(path)).batches(30)]
    assert found == [(0, 10), (500, 30), (3_500, 30), (6_500, 20), (8_500, 5), (8_600, 5)]


def test_events_that_cannot_be_read_keep_their_place_in_the_pace(tmp_path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"0\nno\nno\n3\n4\nno\n6\n")
    write_meta(path, "json", "ndjson", pace=[[n, n * 10] for n in range(7)])
    found = [(offset, bytes(event)) for offset, _, (event,) in open_recording(str(path)).batches()]
    assert found == [(0, b"0"), (30, b"3"), (40, b"4"), (60, b"6")]
