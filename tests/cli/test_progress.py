"""The progress line: when it is shown, and that it fits and keeps its pace."""

import io
from contextlib import redirect_stderr
from types import SimpleNamespace

import pytest

from tapring.cli import progress
from tapring.cli.progress import show_progress
from tapring.consumer.lanes import LaneJoined
from tapring.consumer.stats import Stats
from tapring.shm.refusals import LaneRefused


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def session(**stats) -> SimpleNamespace:
    return SimpleNamespace(stats=Stats(**stats), fill=0.42, remaining_s=90.0)


def sink(is_terminal: bool = False) -> SimpleNamespace:
    return SimpleNamespace(events=1234, is_terminal=is_terminal)


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


@pytest.mark.parametrize(
    ("left_out", "said"), [({"filtered": 8}, "8 filtered"), ({"shed": 9}, "9 over budget")]
)
def test_it_tells_events_losses_fill_and_the_time_left_within_80_columns(
    terminal, monkeypatch, left_out, said
) -> None:
    seconds = iter(range(1, 9))
    monkeypatch.setattr(progress, "monotonic_ns", lambda: next(seconds) * 10**9)
    shown = show_progress(session(dropped=7, **left_out), sink(), 5000)
    with redirect_stderr(terminal), shown as update:
        update()
    line = next(x for x in terminal.getvalue().splitlines() if "1,234 of 5,000 events" in x)
    for part in ("1,234/s", "7 dropped", said, "ring 42%", "1:30 left"):
        assert part in line


def test_lanes_that_are_not_read_are_counted(terminal) -> None:
    refused = (LaneRefused("shop", "0a0b0c0d", "full", "full"),) * 2
    shown = show_progress(session(lanes_refused=refused), sink(), None)
    with redirect_stderr(terminal), shown as update:
        update()
    assert "2 lanes not read, ring 42%" in terminal.getvalue()


def test_it_is_drawn_at_most_five_times_a_second(terminal, monkeypatch) -> None:
    now = [10**12]
    monkeypatch.setattr(progress, "monotonic_ns", lambda: now[0])
    with redirect_stderr(terminal), show_progress(session(), sink(), None) as update:
        for _ in range(100):
            now[0] += 10_000_000
            update()
        drawn = terminal.getvalue().count("1,234 events")
    assert 4 <= drawn <= 6


@pytest.mark.parametrize(
    ("wanted", "to_terminal", "tty"),
    [(False, False, True), (False, True, True), (True, False, False)],
)
def test_it_stays_away_if_unwanted_or_without_a_terminal(
    terminal, monkeypatch, wanted, to_terminal, tty
) -> None:
    monkeypatch.setattr(Terminal, "isatty", lambda _: tty)
    shown = show_progress(session(), sink(to_terminal), None, wanted=wanted)
    with redirect_stderr(terminal), shown as update:
        assert update is None
    assert terminal.getvalue() == ""


def test_lanes_are_spoken_of_between_the_events_of_a_terminal(terminal, monkeypatch) -> None:
    now = [10**12]
    monkeypatch.setattr(progress, "monotonic_ns", lambda: now[0])
    joined = (LaneJoined("shop", "0a0b0c0d", 7, 1, 0, False, True),)
    capture = session(lanes_joined=joined)
    with redirect_stderr(terminal), show_progress(capture, sink(True), None) as update:
        for _ in range(3):
            now[0] += 10**9
            update()
    assert terminal.getvalue() == "tapring: lane 0a0b0c0d of shop (pid 7) joined\n"


def test_lanes_are_spoken_of_above_the_line(terminal) -> None:
    joined = (LaneJoined("shop", "0a0b0c0d", 7, 1, 0, False, True),)
    shown = show_progress(session(lanes_joined=joined), sink(), None)
    with redirect_stderr(terminal), shown as update:
        update()
    text = terminal.getvalue()
    assert text.index("lane 0a0b0c0d of shop (pid 7) joined") < text.rindex("1,234 events")
