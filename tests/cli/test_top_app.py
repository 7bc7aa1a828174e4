"""The program around the screens: it looks all the time, and knows how to help and to leave."""

import threading

import pytest

from tapring.cli.top_app import Keys
from tapring.errors import SharedMemoryFull
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


@pytest.mark.parametrize("close", ["escape", "question_mark", "q", "x"])
def test_the_keys_are_listed_and_any_key_goes_back(close) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "old.3a1b2c3d")
        await pilot.press("question_mark")
        await shows(pilot, "any key closes this")
        assert isinstance(pilot.app.screen, Keys)
        check_snapshot("keys-80x24.txt", text_of(pilot.app))
        await pilot.press(close)
        await until(pilot, lambda: pilot.app.screen is pilot.app.overview)
        await pilot.pause()
        assert not pilot.app._exit
        assert pilot.app.screen is pilot.app.overview

    drive(top(looking=Fixed(fixed())), steps)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_it_is_left_by(key) -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "old.3a1b2c3d")
        await pilot.press("slash" if key == "ctrl+c" else "down")  # also out of a prompt
        await pilot.press(key)
        await until(pilot, lambda: not pilot.app.is_running or pilot.app._exit)
        assert pilot.app.return_code in (0, None)

    drive(top(looking=Fixed(fixed())), steps)


def test_another_thread_or_a_signal_handler_may_end_it() -> None:
    app = top(looking=Fixed(fixed()))

    async def steps(pilot) -> None:
        await shows(pilot, "old.3a1b2c3d")
        thread = threading.Thread(target=app.leave)
        thread.start()
        thread.join()
        await until(pilot, lambda: app._exit)

    app.leave()  # before it runs, there is nothing to end
    drive(app, steps)


class Failing(Fixed):
    """Cannot look at first."""

    fails = True

    def look(self, wait):
        if self.fails:
            raise SharedMemoryFull("too many [red]open files[/]")
        return super().look(wait)


def test_a_look_that_fails_is_told_and_tried_again() -> None:
    looking = Failing(fixed())

    async def steps(pilot) -> None:
        await shows(pilot, "cannot look: too many [red]open files[/]")
        looking.fails = False
        await shows(pilot, "old.3a1b2c3d")
        assert "cannot look" not in lines_of(pilot.app)[0]

    drive(top(looking=looking), steps)


def test_looks_go_on_while_events_or_keys_are_shown() -> None:
    async def steps(pilot) -> None:
        await shows(pilot, "old.3a1b2c3d")
        await pilot.press("question_mark")
        looking.looked = fixed().__class__(looking.looked.lanes.__class__(), {}, {})
        await until(pilot, lambda: not pilot.app.overview.view.rows)
        await pilot.press("escape")
        await shows(pilot, "no engine runs here")

    looking = Fixed(fixed())
    drive(top(looking=looking), steps)
