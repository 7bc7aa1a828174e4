"""The table of tapring ls: readable at 80 columns, and with 64 lanes."""

import io

import pytest
from msgspec.structs import replace
from rich.console import Console

import tapring
from tapring.cli.ls_table import as_table
from tapring.shm.discovery import EngineInfo, EngineList
from tapring.shm.evidence import DeadLane, DeadLanes
from tapring.shm.looks import Looked
from tapring.shm.refusals import LaneRefused


@pytest.fixture
def lane(name) -> EngineInfo:
    """A lane of an engine called shop, as ls sees it, with a session."""
    with tapring.Tap(name) as tap, tap.register("decoded"):
        (seen,) = tapring.engines(name)
    session = replace(seen.sessions[0], owner="consumer", read=True, captured=1_234_567)
    return replace(seen, name="shop", lane="0a1b2c3d", pid=4711, sessions=(session,))


def shown(
    lanes, columns: int = 80, each_lane: bool = False, refused=(), children=None, **more
) -> str:
    there = {each.pid: 0 for each in lanes} | (children or {})
    rates = {(each.lane, session.id): 1200.4 for each in lanes for session in each.sessions}
    file = io.StringIO()
    console = Console(file=file, width=columns, highlight=False, markup=False)
    looked = Looked(EngineList(lanes, refused), rates, there, **more)
    for part in as_table(looked, columns, each_lane=each_lane):
        console.print(part)
    return file.getvalue()


def lines_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def lanes_like(lane: EngineInfo, count: int) -> list[EngineInfo]:
    return [replace(lane, lane=f"{number:08x}", pid=5000 + number) for number in range(count)]


def test_sessions_stand_below_their_lane_with_addresses_to_copy(lane) -> None:
    text = shown([lane])
    assert max(map(len, text.splitlines())) <= 80
    assert [line.split()[0] for line in lines_of(text)] == [
        "ENGINE", "shop.0a1b2c3d", "raw", "decoded", "shop.0a1b2c3d:1",
    ]  # fmt: skip
    assert "pid 4711, 1/8 sessions, cost 0.0%" in " ".join(lines_of(text)).replace(" 0s", "")
    assert "decoded, by a consumer 0s 1,200 1,234,567 0" in lines_of(text)[-1]


@pytest.mark.parametrize("columns", [80, 200])
def test_lanes_of_one_engine_stand_together_each_with_its_sessions(lane, columns) -> None:
    other = replace(lane, name="web", sessions=())
    text = shown([*lanes_like(lane, 2), other], columns)
    first = [line.split()[0] for line in lines_of(text)]
    assert [each for each in first if each not in ("cost", "0.0%")] == [
        "ENGINE", "shop", "raw", "decoded", "shop.00000000", "shop.00000000:1", "shop.00000001",
        "shop.00000001:1", "web.0a1b2c3d", "raw", "decoded",
    ]  # fmt: skip
    assert "  shop.00000000" in text
    assert "    shop.00000000:1" in text
    assert any(line.startswith("decoded stage, json 2,401") for line in lines_of(text))
    assert ("US/BATCH" in text) == (columns == 200)


def test_many_lanes_are_summed_up_unless_each_is_asked_for(lane) -> None:
    lanes = lanes_like(lane, 64)
    lanes[7] = replace(lanes[7], sessions=(replace(lane.sessions[0], dropped=10, oversize=2),))
    text = shown(lanes)
    assert len(text.splitlines()) < 10
    assert "64 lanes" in text
    assert "64 sessions decoded, by a consumer" in " ".join(text.split())
    assert "79,012,288 12" in " ".join(text.split())
    assert "1 of them losing" in " ".join(shown(lanes, 200).split())
    assert "--lanes shows each lane" in text
    every = shown(lanes, each_lane=True)
    assert all(f"shop.{each.lane}:1" in every for each in lanes)


def test_a_long_name_is_folded_and_not_cut(lane) -> None:
    long = "n" * 63
    text = shown([replace(lane, name=long)], 80)
    name = "".join(line[:26].strip() for line in text.splitlines())
    assert f"{long}.0a1b2c3d:1" in name


def test_what_is_unusual_is_said_where_there_is_no_column_for_it(lane) -> None:
    session = replace(lane.sessions[0], fill=0.97, served=0.5, sample=10, owner="kept", read=False)
    said = " ".join(shown([replace(lane, sessions=(session,))], 109).split())
    assert "decoded, kept, not read," in said
    for part in ("1 batch in 10", "ring 97% full", "50% of"):
        assert part in said
    wide = lines_of(shown([replace(lane, sessions=(session,))], 200))[-1]
    assert "97% 50%" in wide
    assert "ring" not in wide


def test_remarks_come_last_and_few_of_a_kind(lane) -> None:
    lanes = [replace(each, misuse=1) for each in lanes_like(lane, 9)]
    refused = [LaneRefused("shop", "f" * 8, "version", "it uses \x1b[2J another version")]
    text = shown(lanes, 200, refused=refused, children={5000: 1, 5001: 2})
    *_, last = lines_of(text)
    assert last == "shop.ffffffff cannot be read: it uses \\x1b[2J another version"
    assert text.count("1 wrong offer;") == 5
    assert "... and 4 more lanes" in text
    assert "shop.00000000: 1 forked child has no lane yet, until the first batch" in text
    assert "shop.00000001: 2 forked children have no lane yet, until" in text


def test_nothing_is_no_table() -> None:
    assert shown([]) == ""


def test_a_stage_says_how_much_of_it_is_recorded(lane) -> None:
    recorded = replace(lane, recorders={"decoded": 16 << 20}, sessions=())
    text = shown([recorded])
    assert max(map(len, text.splitlines())) <= 80
    assert "decoded stage, json, recorder: 16 MiB -" in lines_of(text)
    assert "raw stage, lines -" in lines_of(text)
    several = [*lanes_like(recorded, 3), replace(lane, lane="f" * 8)]
    assert "decoded stage, json, 3 recorders: 48 MiB" in " ".join(lines_of(shown(several)))


def test_dead_lanes_are_a_remark_below_the_living_ones(lane) -> None:
    dead = DeadLanes([DeadLane("shop", "0a0b0c0d", 7, ("raw",), 17 << 20, 1.5, closed=False)])
    text = shown([lane], dead=dead, address="sh\x1bop")
    *_, last = lines_of(text)
    assert last == "1 dead lane has left a recording (17 MiB): tapring ls --dead 'sh\\x1bop'"
    assert "tapring ls --dead 'web-*'" in shown([lane], dead=dead, address="web-*")
    assert shown([], dead=dead).endswith("tapring ls --dead\n")
    assert shown([], dead=dead, only_dead=True).startswith("LANE")
