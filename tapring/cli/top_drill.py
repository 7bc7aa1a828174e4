"""The second screen of ``tapring top``: the events of one stage of a lane, as they come."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from ..words import visible
from .top_lines import Bar, Lines
from .top_newest import Shown
from .top_rows import Row
from .top_tail import Tail
from .top_view import Pause

_TICK_S: Final = 0.2
_SIDEWAYS: Final = 20  # columns
_KEYS: Final = "Escape back  space pause  up/down scroll  left/right  end newest  ? keys  q quit"


class Drill(Screen[None]):
    """Opens a session of the row's stage, and closes it when the operator goes back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "back"),
        Binding("space", "pause"),
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup", "page(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("home,g", "page(-1000000)"),
        Binding("end,G", "newest"),
        Binding("left", "sideways(-1)"),
        Binding("right", "sideways(1)"),
    ]

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.tail: Tail = Tail(f"{row.key.engine}.{row.key.lane}", row.key.stage)
        self.pause: Pause = Pause()
        self._seen = 0
        self._what = f"{visible(self.tail.address)} {visible(row.key.stage)}"
        self._title = Bar(id="title")
        self._account = Bar(id="account")
        self._events = Lines(has_cursor=False, id="events")
        self._state = Bar(id="state")
        self._keys = Bar(id="keys")

    def compose(self) -> ComposeResult:
        """The bars above the events, and those below them."""
        yield self._title
        yield self._account
        yield self._events
        yield self._state
        yield self._keys

    def on_mount(self) -> None:
        """Open the session."""
        self._keys.show(((_KEYS, "dim"),))
        self._events.focus()
        self.tail.start()
        self.set_interval(_TICK_S, self._tick)
        self._tick()

    async def on_unmount(self) -> None:
        """Close the session, whatever ends the screen."""
        await asyncio.to_thread(self.tail.stop)

    def on_resize(self) -> None:
        """Stay at the newest events."""
        if not self.pause.is_on:
            self.call_after_refresh(self._show)

    # ---- what the operator does --------------------------------------------------------

    async def action_back(self) -> None:
        """Close the session, and go back to the table."""
        await asyncio.to_thread(self.tail.stop)
        self.dismiss()

    def action_pause(self) -> None:
        """Pause, or go on with the newest events."""
        if self.pause.toggle(time.monotonic()):
            self._show()
        self._tick()

    def action_move(self, by: int) -> None:
        """Scroll. Who scrolls back wants the events to stand still."""
        if by < 0 and not self.pause.is_on and self._events.top > 0:
            self.action_pause()
        self._events.move(by)

    def action_page(self, pages: int) -> None:
        """Scroll by screenfuls."""
        self.action_move(pages * self._events.page)

    def action_newest(self) -> None:
        """Go on with the newest events."""
        if self.pause.is_on:
            self.action_pause()

    def action_sideways(self, step: int) -> None:
        """Show what stands further right in long events."""
        self._events.move_sideways(step * _SIDEWAYS)

    def on_lines_moved(self) -> None:
        """The mouse may have scrolled back, too."""
        if not self.pause.is_on and not self._events.is_at_end:
            self.action_pause()

    # ---- parts -------------------------------------------------------------------------

    def _tick(self) -> None:
        if self.pause.is_on:
            self.pause.waiting = self.tail.total - self._seen
            said = self.pause.said(time.monotonic(), "event")
            self._title.show(((f"{self._what}  ", "bold"), (said, "paused")))
        else:
            self._title.show(((self._what, "bold"),))
            if self.tail.total != self._seen or self.tail.is_over:
                self._show()
        self._account.show(self.tail.account())
        self._state.show(self.tail.state())

    def _show(self) -> None:
        self._seen = self.tail.total
        shown: Shown = self.tail.shown()
        self._events.show(shown, end=True)
