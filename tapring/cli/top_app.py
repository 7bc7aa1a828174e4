"""The full-screen program behind ``tapring top``: it looks, and moves between its screens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ClassVar, Final

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen

from ..errors import TapError
from ..shm.looks import Looking
from .top_drill import Drill
from .top_lines import Lines
from .top_overview import Overview
from .top_view import View

_FIRST_S: Final = 0.3  # the first rates are measured over this long
_HELP: Final = """\
tapring top                                          any key closes this

  up down, j k, page up/down, home end   move
  Enter, a click on the cursor           the events of that stage, live
  Escape                                 back to the table
  /                                      show only some engines (web-*)
  < >, left right, a click on a column   sort by another column
  r                                      sort the other way round
  space                                  pause, and go on
  Ctrl-Z                                 to the shell; fg comes back
  q, Ctrl-C                              leave

A row is a session, or (dim) a stage that no session watches, which has no
rate. LOST counts events that were dropped, larger than the ring, or not
serializable. COST is the share of the engine's time that all sessions of
the lane take; BUDGET is what it may be at most. AGE is the session's, or
else the lane's.

The table opens no session. Enter opens one of that lane's stage, and
Escape closes it. Dead lanes have left recordings: tapring ls --dead.
"""


class Top(App[None]):
    """Looks every ``every_s`` seconds, whatever is on the screen."""

    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    CSS: ClassVar[str] = """
    Screen { background: ansi_default; color: ansi_default; overflow: hidden; }
    #prompt { height: 1; display: none; }
    #prompt Bar { width: 9; }
    #filter, #filter:focus { height: 1; border: none; padding: 0; background: ansi_default; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit"),
        Binding("ctrl+c", "quit", priority=True),
        Binding("ctrl+z", "suspend_process", priority=True),
        Binding("question_mark", "keys"),
    ]

    def __init__(self, looking: Looking, view: View, every_s: float) -> None:
        super().__init__(ansi_color=True)
        self._looking = looking
        self._every_s = every_s
        self.overview: Overview = Overview(view)
        self._drilled: Drill | None = None

    def get_default_screen(self) -> Screen[None]:
        """The table."""
        return self.overview

    def on_mount(self) -> None:
        """Begin to look."""
        self.run_worker(self._look(), exit_on_error=True)

    def on_overview_drilled(self, event: Overview.Drilled) -> None:
        """Show the events of a row."""
        self._drilled = Drill(event.row)
        self.push_screen(self._drilled)

    def action_keys(self) -> None:
        """Show the keys."""
        self.push_screen(Keys())

    def leave(self) -> None:
        """End the program soon. A signal handler may call it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.exit)

    def close_session(self) -> None:
        """Close the session of the events that were shown last, if it is still open."""
        if self._drilled is not None:
            self._drilled.tail.stop()

    async def _look(self) -> None:
        """Look again and again, in a thread, so that many lanes do not hold up the keys."""
        wait: Callable[[], None] = lambda: time.sleep(min(self._every_s, _FIRST_S))  # noqa: E731
        while True:
            try:
                looked = await asyncio.to_thread(self._looking.look, wait)
            except TapError as error:
                self.overview.view.failure = f"cannot look: {error}"
                self.overview.update()
            else:
                self.overview.take(looked)
            await asyncio.sleep(self._every_s)


class Keys(ModalScreen[None]):
    """Says which keys there are. Any key closes it."""

    CSS: ClassVar[str] = "Keys { background: ansi_default; }"

    def compose(self) -> ComposeResult:
        """The text, which fits 80 columns and 24 lines."""
        text = Lines(has_cursor=False)
        text.show([((line, ""),) for line in _HELP.splitlines()])
        yield text

    def on_key(self, event: events.Key) -> None:
        """Go back; the key means nothing else here."""
        event.stop()
        event.prevent_default()
        self.dismiss()

    def on_click(self) -> None:
        """Go back."""
        self.dismiss()
