"""The table of ``tapring ls --dead``: readable at 80 columns."""

import io

import pytest
from rich.console import Console

from tapring.cli.dead_table import as_table, ended, left
from tapring.shm.evidence import DeadLane, DeadLanes
from tapring.shm.refusals import LaneRefused

KILLED = DeadLane("shop", "0a1b2c3d", 31391, ("raw", "decoded"), 33 << 20, 300.0, closed=False)
EXITED = DeadLane("web", "1a1b2c3d", 12, ("decoded",), 17 << 20, 7200.0, closed=True)


def shown(dead: DeadLanes, columns: int = 80) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=columns, highlight=False, markup=False)
    for part in as_table(dead):
        console.print(part)
    assert max(map(len, file.getvalue().splitlines()), default=0) <= columns
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_each_lane_has_a_line_that_says_how_it_ended_and_what_it_left() -> None:
    assert shown(DeadLanes([KILLED, EXITED])) == [
        "LANE PID ENDED LAST ACTIVE RECORDED SIZE",
        "shop.0a1b2c3d 31391 died 5m ago raw, decoded 33 MiB",
        "web.1a1b2c3d 12 exited 2h ago decoded 17 MiB",
    ]


def test_a_lane_that_left_only_triggers_has_a_line_too() -> None:
    bare = DeadLane("shop", "0a1b2c3d", 1, (), 77824, 1.0, closed=False)
    assert shown(DeadLanes([bare]))[1] == "shop.0a1b2c3d 1 died 1s ago - 76 KiB"


def test_a_long_name_is_folded_and_not_cut() -> None:
    long = DeadLane("n" * 63, "0a1b2c3d", 1, tuple("abcdefgh"), 1, 1.0, closed=False)
    name = "".join(line.split()[0] for line in shown(DeadLanes([long])) if line[0] in "n0.abcd")
    assert f"{'n' * 63}.0a1b2c3d" in name


@pytest.mark.parametrize("dead", [(), (KILLED,)])
def test_lanes_that_cannot_be_read_come_last_with_the_reason(dead) -> None:
    lanes = ["a" * 8, "b" * 8]
    refused = [LaneRefused("shop", lane, "version", "it uses \x1b[2J version 9") for lane in lanes]
    said = shown(DeadLanes(dead, refused), 200)
    assert said[-1] == (
        "what 2 lanes of shop recorded cannot be read: it uses \\x1b[2J version 9; "
        "likewise bbbbbbbb"
    )
    (one,) = shown(DeadLanes((), refused[:1]), 200)
    assert one == "what shop.aaaaaaaa recorded cannot be read: it uses \\x1b[2J version 9"


def test_it_is_said_in_words_what_is_left() -> None:
    assert (ended(KILLED), ended(EXITED)) == ("died", "exited")
    assert left(DeadLanes([KILLED])) == "1 dead lane has left a recording (33 MiB)"
    assert left(DeadLanes([KILLED, EXITED])) == "2 dead lanes have left recordings (50 MiB)"
