"""What a terminal shows during a capture: figures beside a file, a line while no events come."""

import io
import os
from contextlib import redirect_stderr
from types import SimpleNamespace

import pytest
from rich.cells import cell_len

from tapring.cli import progress
from tapring.cli.progress import Progress, place_of
from tapring.consumer.lanes import LaneJoined
from tapring.consumer.stats import Stats
from tapring.events.sieve import KeptAway
from tapring.shm.refusals import LaneRefused


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += round(seconds * 10**9)


def session(**changed) -> SimpleNamespace:
    facts = {
        "fill": 0.42,
        "remaining_s": 90.0,
        "engine": "shop",
        "stage": "decoded",
        "away": KeptAway(),
        "seen_keys": (),
    }
    stats = {key: changed.pop(key) for key in tuple(changed) if key not in facts}
    return SimpleNamespace(**{**facts, **changed, "stats": Stats(**stats)})


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic_ns", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def on_screen(terminal: Terminal) -> list[str]:
    """The lines that are on the screen now."""
    lines = [line.rpartition("\r\x1b[K")[2] for line in terminal.getvalue().split("\n")]
    return [line for line in lines if line]


def begin(terminal, session, place: str = "stored", limit: int | None = None, **more) -> Progress:
    with redirect_stderr(terminal):
        shown = Progress(session, place, limit, **more)
    shown.written = lambda: 1234
    return shown


@pytest.mark.parametrize(
    ("left_out", "said"), [({"filtered": 8}, "8 filtered"), ({"shed": 9}, "9 over budget")]
)
def test_beside_a_file_it_tells_events_losses_fill_and_the_time_left_within_80_columns(
    terminal, clock, left_out, said
) -> None:
    shown = begin(terminal, session(dropped=7, **left_out), limit=5000)
    clock.move(1)
    shown.update()
    (line,) = on_screen(terminal)
    assert len(line) < 80
    for part in ("1,234 of 5,000 events", "1,234/s", "7 dropped", said, "ring 42%", "1:30 left"):
        assert part in line


def test_lanes_that_are_not_read_are_counted(terminal, clock) -> None:
    refused = (LaneRefused("shop", "0a0b0c0d", "full", "full"),) * 2
    shown = begin(terminal, session(lanes_refused=refused))
    clock.move(1)
    shown.update()
    assert "2 lanes not read, ring 42%" in on_screen(terminal)[-1]


def test_it_is_drawn_at_most_five_times_a_second(terminal, clock) -> None:
    shown = begin(terminal, session())
    for _ in range(100):
        clock.move(0.01)
        shown.update()
    assert 4 <= terminal.getvalue().count("1,234 events") <= 6


@pytest.mark.parametrize("place", ["pipe", "terminal", "stored"])
@pytest.mark.parametrize("tty", [True, False])
def test_nothing_is_shown_if_unwanted_or_without_a_terminal_or_beside_a_pipe(
    terminal, monkeypatch, clock, place, tty
) -> None:
    monkeypatch.setattr(Terminal, "isatty", lambda _: tty)
    joined = (LaneJoined("shop", "0a0b0c0d", 7, 1, 0, False, True),)
    shown = begin(terminal, session(lanes_joined=joined), place, wanted=not tty or place == "pipe")
    for _ in range(9):
        clock.move(1)
        shown.update()
        shown.make_way()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("place", ["terminal", "stored"])
def test_a_lane_that_joins_is_told_once_and_stays_on_the_screen(terminal, clock, place) -> None:
    joined = (LaneJoined("shop", "0a0b0c0d", 7, 1, 0, False, True),)
    shown = begin(terminal, session(lanes_joined=joined), place)
    for _ in range(3):
        clock.move(1)
        shown.update()
    shown.close()
    assert on_screen(terminal) == ["tapring: lane 0a0b0c0d of shop (pid 7) joined"]


def test_among_events_a_line_appears_after_two_seconds_and_is_gone_before_the_next_event(
    terminal, clock
) -> None:
    capture = session(
        offered=1256,
        delivered=1256,
        away=KeptAway(where=1256),
        seen_keys=("level", "msg", "user.id"),
    )
    shown = begin(terminal, capture, "terminal")
    shown.written = int
    clock.move(1.9)
    shown.update()
    assert on_screen(terminal) == []
    clock.move(0.3)
    shown.update()
    assert on_screen(terminal) == [
        "tapring: shop/decoded: 1,256 events seen, 0 match --where; fields seen: level,…"
    ]
    shown.make_way()
    assert on_screen(terminal) == []
    clock.move(1.9)
    shown.update()
    assert on_screen(terminal) == []


def test_a_wide_character_takes_its_two_columns(terminal, monkeypatch, clock) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = begin(
        terminal,
        session(offered=1, delivered=1, away=KeptAway(where=1), seen_keys=["名前", "\x1b[2J" * 9]),
        "terminal",
    )
    shown.written = int
    clock.move(3)
    shown.update()
    (line,) = on_screen(terminal)
    assert cell_len(line) < 40
    assert "\x1b" not in line


def test_what_other_stages_get_is_said(terminal, clock) -> None:
    shown = begin(
        terminal, session(), "terminal", look=lambda: "; stage raw gets events: try --stage raw"
    )
    clock.move(3)
    shown.update()
    assert on_screen(terminal) == [
        "tapring: shop/decoded: no events so far; stage raw gets events: try --stage raw"
    ]


def test_other_stages_are_looked_at_although_nothing_is_shown(terminal, clock) -> None:
    looks: list[int] = []
    shown = begin(terminal, session(), "pipe", look=lambda: looks.append(1) or "")
    for _ in range(3):
        clock.move(1)
        shown.update()
    assert len(looks) == 3


def test_the_place_of_events(tmp_path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ours, theirs = os.openpty()
    try:
        assert place_of(os.ttyname(theirs)) == "terminal"
    finally:
        os.close(ours)
        os.close(theirs)
    assert place_of(str(fifo)) == "pipe"
    assert place_of(os.devnull) == "stored"
    assert place_of(str(tmp_path / "new.ndjson")) == "stored"
