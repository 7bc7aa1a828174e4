"""The table on the screen: snapshots, sorting, filtering, pausing, by keys and by the mouse."""

import pytest

import tapring
from tapring.shm.discovery import EngineList
from tapring.shm.looks import Looked
from tests.cli.top_screens import (
    Fixed,
    check_snapshot,
    drive,
    fixed,
    lines_of,
    shows,
    text_of,
    top,
    until,
)
from tests.helpers import offer


def rows_of(app) -> list[str]:
    """The first word of each row."""
    return [line.split()[0] for line in lines_of(app)[3:-2] if line]


def heading_of(app) -> str:
    return lines_of(app)[2]


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (44, 10)])
def test_it_looks_like_its_snapshot(size) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "shop.1a1b2c3d")
        check_snapshot(f"overview-{size[0]}x{size[1]}.txt", text_of(pilot.app))

    drive(top(looking=Fixed(fixed())), steps, size)


def test_without_any_engine_it_says_so() -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "no engine runs here")
        check_snapshot("overview-empty-80x24.txt", text_of(pilot.app))

    drive(top(looking=Fixed(Looked(EngineList(), {}, {}))), steps)


def test_it_opens_no_session_and_shows_what_is_offered(engine, name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, f"{engine.pid}")
        await until(pilot, lambda: pilot.app.overview.view.rows[0].rate)
        (lane,) = tapring.engines(name, sweep=False)
        assert [each.owner for each in lane.sessions] == ["engine"]

    drive(top(name), steps, (120, 24))
    (lane,) = tapring.engines(name, sweep=False)
    assert len(lane.sessions) == 1


def test_engines_come_and_go(name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "no engine runs here as")
        with tapring.Tap(name) as tap:
            await shows(pilot, tap.lane)
        await shows(pilot, "no engine runs here as")

    drive(top(name), steps)


def test_keys_sort_by_each_column_and_turn_it_round() -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "old.3a1b2c3d")
        for _ in range(4):  # stage, session, rate, lost
            await pilot.press("greater_than_sign")
        assert "LOST▼" in heading_of(pilot.app)
        assert rows_of(pilot.app)[0] == "shop.0a1b2c3d:7"
        await pilot.press("less_than_sign")
        assert "EVENTS/S▼" in heading_of(pilot.app)
        assert rows_of(pilot.app)[0] == "shop.0a1b2c3d:12"
        await pilot.press("r")
        assert "EVENTS/S▲" in heading_of(pilot.app)
        assert rows_of(pilot.app)[0].endswith("2a1b2c3d:3")
        assert rows_of(pilot.app)[-1] == "old.3a1b2c3d"

    drive(top(looking=Fixed(fixed())), steps)


def test_a_click_on_the_header_sorts() -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "old.3a1b2c3d")
        x = heading_of(pilot.app).index("LOST")
        await pilot.click("#heading", offset=(x, 0))
        await until(pilot, lambda: "LOST▼" in heading_of(pilot.app))
        assert rows_of(pilot.app)[0] == "shop.0a1b2c3d:7"
        await pilot.click("#heading", offset=(x, 0))
        await until(pilot, lambda: "LOST▲" in heading_of(pilot.app))

    drive(top(looking=Fixed(fixed())), steps)


def test_the_cursor_follows_its_row_when_the_order_changes() -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "old.3a1b2c3d")
        await pilot.press("down", *["greater_than_sign"] * 4)
        assert lines_of(pilot.app)[-2].startswith("shop.0a1b2c3d:7 decoded (json): pid 4711")
        assert rows_of(pilot.app)[0] == "shop.0a1b2c3d:7"

    drive(top(looking=Fixed(fixed())), steps)


def test_a_pattern_that_is_typed_filters_and_escape_keeps_what_was() -> None:
    async def steps(pilot) -> None:
        app = pilot.app
        await shows(pilot, "old.3a1b2c3d")
        await pilot.press("slash", *"web-*")
        await shows(pilot, "filter:  web-*")
        await pilot.press("enter")
        await shows(pilot, "web-* hides 5 rows")
        assert len(rows_of(app)) == 2
        await pilot.press("slash", *"q ", "escape")
        assert "filter:" not in text_of(app)
        assert len(rows_of(app)) == 2
        await pilot.press("slash", *["backspace"] * 5, "enter")
        await shows(pilot, "shop.1a1b2c3d")
        assert len(rows_of(app)) == 7

    drive(top(looking=Fixed(fixed())), steps)


def test_a_pause_freezes_the_screen_while_the_numbers_go_on(name) -> None:
    async def steps(pilot) -> None:
        app = pilot.app
        offer(tap, "raw", ["x"] * 10)
        await shows(pilot, f"{tap.lane}:{handle.id}")
        await until(pilot, lambda: app.overview.view.rows[0].captured == 10)
        await pilot.press("space")
        frozen = lines_of(app)[1:]
        offer(tap, "raw", ["x"] * 3)
        offer(tap, "raw", ["x" * 10_000_000] * 2)
        await shows(pilot, "updates wait; space goes on")
        assert "PAUSED for " in lines_of(app)[0]
        assert lines_of(app)[1:] == frozen
        waiting = app.overview.view.pause.waiting
        await until(pilot, lambda: app.overview.view.pause.waiting > waiting)
        assert app.overview.view.rows[0].captured == 10
        await pilot.press("space")
        assert app.overview.view.rows[0].captured == 13
        assert ", 2 lost" in lines_of(app)[1]
        assert "PAUSED" not in text_of(app)

    with tapring.Tap(name) as tap, tap.register("raw") as handle:
        drive(top(name), steps)


def test_why_a_lane_cannot_be_read_is_shown_whole_at_the_cursor() -> None:
    looked = fixed()
    (refused,) = looked.lanes.refused
    looked.lanes.refused = (type(refused)("old", "3a1b2c3d", "version", "x" * 100 + " so it is"),)

    async def steps(pilot) -> None:
        await shows(pilot, "cannot be read")
        await pilot.press("end")
        await shows(pilot, "so it is")
        await pilot.press("enter")  # there is nothing to show of it
        assert pilot.app.screen is pilot.app.overview

    drive(top(looking=Fixed(looked)), steps)


def test_it_fits_again_after_the_terminal_was_resized() -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "old.3a1b2c3d")
        await pilot.resize_terminal(200, 50)
        await shows(pilot, "US/BATCH")
        await pilot.resize_terminal(44, 10)
        await until(pilot, lambda: "BUDGET" not in text_of(pilot.app))
        await pilot.press("end")
        assert max(map(len, lines_of(pilot.app))) <= 44
        assert "old.3a1b2c3d" in text_of(pilot.app)

    drive(top(looking=Fixed(fixed())), steps)
