"""From a row into its events and back: the session, its end, and what events may not do."""

import subprocess

import tapring
from tests.cli.running import ENGINE
from tests.cli.top_screens import (
    HOSTILE,
    HOSTILE_SHOWN,
    check_snapshot,
    drive,
    lines_of,
    shows,
    text_of,
    top,
    until,
)
from tests.helpers import offer

HOSTILE_ENGINE = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1])
print("ready", flush=True)
while True:
    tap.emit("raw", sys.argv[2])
    tap.emit("decoded", {"msg": sys.argv[2], sys.argv[2]: [sys.argv[2]]})
    time.sleep(0.01)
"""


def consumers_of(name: str) -> list[str]:
    """The stages that consumers read."""
    lanes = tapring.engines(name, sweep=False)
    return [each.stage for lane in lanes for each in lane.sessions if each.owner == "consumer"]


def test_enter_shows_the_events_of_a_stage_and_escape_goes_back(engine, name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "decoded")
        assert consumers_of(name) == []
        await pilot.press("down", "enter")
        await shows(pilot, "user={")
        assert consumers_of(name) == ["decoded"]
        assert lines_of(pilot.app)[-2] == "live"
        await pilot.press("escape")
        await shows(pilot, "ENGINE.LANE")
        assert consumers_of(name) == []
        await pilot.press("up", "enter")  # another time, into another stage
        await shows(pilot, "line ")
        assert consumers_of(name) == ["raw"]
        await pilot.press("escape")
        await until(pilot, lambda: not consumers_of(name))

    drive(top(name), steps)


def test_leaving_the_program_closes_the_session_too(engine, name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "decoded")
        await pilot.press("enter")
        await until(pilot, lambda: consumers_of(name))
        await pilot.press("q")

    drive(top(name), steps)
    assert consumers_of(name) == []


def test_an_engine_that_dies_is_told_and_escape_goes_back(spawn, name) -> None:
    engine = spawn(ENGINE, name, stdout=subprocess.PIPE)
    engine.stdout.readline()

    async def steps(pilot) -> None:
        await shows(pilot, "decoded")
        await pilot.press("enter")
        await shows(pilot, "line ")
        engine.kill()
        engine.wait()
        await shows(pilot, "its engine died (killed or crashed). Escape goes back")
        assert "line " in text_of(pilot.app)  # what it saw last can still be read
        await pilot.press("escape")
        await shows(pilot, "no engine runs here")

    drive(top(name), steps)


def test_a_stage_that_cannot_be_read_any_more_is_told_and_escape_goes_back(name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "decoded")
        with tap.register("raw"):
            await pilot.press("enter")
            await shows(pilot, "cannot be read: ")
            await pilot.press("escape")
            await shows(pilot, "ENGINE.LANE")

    with tapring.Tap(name, max_sessions=1) as tap:
        drive(top(name), steps)


def test_events_command_neither_the_terminal_nor_the_program(spawn, name) -> None:
    engine = spawn(HOSTILE_ENGINE, name, HOSTILE, stdout=subprocess.PIPE)
    engine.stdout.readline()

    async def steps(pilot) -> None:
        for keys in (["enter"], ["down", "enter"]):
            await shows(pilot, "ENGINE.LANE")
            await pilot.press(*keys)
            await shows(pilot, HOSTILE_SHOWN[:30])
            for line in lines_of(pilot.app):
                assert line.isprintable()
            await pilot.click("#events", offset=(70, 5))  # where a link might be
            assert pilot.app.is_running
            styles = {
                str(segment.style)
                for strip in pilot.app.screen._compositor.render_strips()[2:-2]
                for segment in strip
                if "[red]" in segment.text
            }
            assert not any("red" in style for style in styles)
            await pilot.press("escape")

    drive(top(name), steps, (200, 24))


def test_losses_are_shown_where_they_are_and_in_the_account(name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "decoded")
        await pilot.press("enter")
        await until(pilot, lambda: consumers_of(name))
        await until(pilot, lambda: offer(tap, "raw", ["a"]) or "1 event" in text_of(pilot.app))
        offer(tap, "raw", ["x" * 10_000_000])
        offer(tap, "raw", ["b"])
        await shows(pilot, "... 1 event missed here ...")
        assert ", 1 lost (1 larger than the ring)" in lines_of(pilot.app)[1]

    with tapring.Tap(name) as tap:
        drive(top(name), steps)


def test_a_pause_holds_the_events_and_scrolling_back_pauses(name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "decoded")
        await pilot.press("enter")
        await until(pilot, lambda: consumers_of(name))
        offer(tap, "raw", [f"event {n}" for n in range(100)])
        await shows(pilot, "event 99")
        await pilot.press("space")
        offer(tap, "raw", [f"event {n}" for n in range(100, 107)])
        await shows(pilot, "7 events wait; space goes on")
        assert "event 106" not in text_of(pilot.app)
        assert lines_of(pilot.app)[1].startswith("107 events")
        await pilot.press("space")
        await shows(pilot, "event 106")
        await pilot.press("pageup")
        await shows(pilot, "PAUSED for 0 s: 0 events wait")
        assert "event 106" not in text_of(pilot.app)
        await pilot.press("end")
        await shows(pilot, "event 106")
        assert "PAUSED" not in text_of(pilot.app)

    with tapring.Tap(name) as tap:
        drive(top(name), steps)


def test_a_bounded_number_of_events_can_be_scrolled(name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "decoded")
        await pilot.press("enter")
        await until(pilot, lambda: consumers_of(name))
        for start in range(0, 5000, 500):
            offer(tap, "raw", [f"event {n}" for n in range(start, start + 500)])
        await shows(pilot, "event 4999")
        assert lines_of(pilot.app)[1].startswith("5,000 events, ")
        await pilot.press("home")
        await shows(pilot, "event 4000")
        assert "event 3999" not in text_of(pilot.app)

    with tapring.Tap(name) as tap:
        drive(top(name), steps)


def test_while_nothing_comes_it_looks_like_its_snapshot(name) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "decoded")
        await pilot.press("enter")
        await shows(pilot, "live")
        await shows(pilot, "0 events")
        shown = text_of(pilot.app).replace(f"{name}.{tap.lane}", "shop.0a1b2c3d")
        check_snapshot("events-80x24.txt", shown)

    with tapring.Tap(name) as tap:
        drive(top(name), steps)
