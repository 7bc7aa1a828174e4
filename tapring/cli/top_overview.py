"""The first screen of ``tapring top``: the table, what it comes to, and the keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar, Final, overload

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input

from ..shm.looks import Looked
from .top_lines import Bar, Lines
from .top_rows import Row
from .top_table import Layout, Line
from .top_view import View

_TICK_S: Final = 1.0
_ABOUT_AT_MOST: Final = 3  # lines: why a lane cannot be read may take more than one
_HINT: Final = "a name or a pattern, such as web-*; empty shows all; Escape keeps what was"


class Overview(Screen[None]):
    """Shows what ``view`` holds, and passes keys on to it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup", "page(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("home,g", "page(-1000000)"),
        Binding("end,G", "page(1000000)"),
        Binding("enter", "drill"),
        Binding("slash", "filter"),
        Binding("escape", "keep_filter"),
        Binding("space", "pause"),
        Binding("less_than_sign,left", "sort(-1)"),
        Binding("greater_than_sign,right", "sort(1)"),
        Binding("r", "reverse"),
    ]

    class Drilled(Message):
        """The operator wants the events of a row."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view
        self._shown = _Rows((), Layout(80))
        self._title = Bar(id="title")
        self._account = Bar(id="account")
        self._heading = Bar(id="heading")
        self._table = Lines(has_cursor=True, id="table")
        self._about = Bar(id="about")
        self._keys = Bar(id="keys")
        self._filter = Input(id="filter", placeholder=_HINT)

    def compose(self) -> ComposeResult:
        """The bars above the table, and those below it."""
        yield self._title
        yield self._account
        yield self._heading
        yield self._table
        yield self._about
        prompt = Bar()
        prompt.show((("filter: ", "bold"),))
        yield Horizontal(prompt, self._filter, id="prompt")
        yield self._keys

    def on_mount(self) -> None:
        """Begin to show how long a pause lasts."""
        self._filter.cursor_blink = False
        self._table.focus()
        self._keys.show(self.view.keys())
        self.set_interval(_TICK_S, self._tick)
        self.update()

    def on_resize(self) -> None:
        """Choose the columns that fit now."""
        self.call_after_refresh(self.update)

    def take(self, looked: Looked) -> None:
        """Show what was seen, unless the view is paused."""
        self.view.take(looked)
        if self.view.pause.is_on:
            self._tick()
        else:
            self.update()

    def update(self) -> None:
        """Show what the view holds now. The cursor stays on its row."""
        view = self.view
        width = self.size.width
        before = self._row()
        self._shown = _Rows(view.rows, view.layout(width))
        self._heading.show(self._shown.layout.heading(view.sort))
        self._table.show(self._shown, cursor=view.place_of(None if before is None else before.key))
        self._title.show(view.title(time.strftime("%H:%M:%S"), time.monotonic()))
        self._account.show(view.account())
        self._follow()

    # ---- what the operator does --------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self._table.move(by)

    def action_page(self, pages: int) -> None:
        """Move the cursor by screenfuls."""
        self._table.move(pages * self._table.page)

    def action_drill(self) -> None:
        """Show the events of the row at the cursor."""
        row = self._row()
        if row is not None and not row.refused:
            self.post_message(self.Drilled(row))

    def action_pause(self) -> None:
        """Pause, or go on."""
        self.view.toggle_pause(time.monotonic())
        self.update()

    def action_sort(self, step: int) -> None:
        """Sort by another column."""
        self.view.sort_next(step, self._shown.layout)
        self.update()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self.view.reverse()
        self.update()

    def action_filter(self) -> None:
        """Ask which engines to show."""
        self._filter.value = self.view.pattern
        self._filter.cursor_position = len(self._filter.value)
        self._ask(True)
        self._filter.focus()

    def action_keep_filter(self) -> None:
        """Leave the prompt, and change nothing."""
        self._ask(False)
        self._table.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Show the engines that were asked for."""
        event.stop()
        self.action_keep_filter()
        self.view.filter(event.value.strip())
        self.update()

    def on_bar_clicked(self, event: Bar.Clicked) -> None:
        """Sort by the column whose name was clicked."""
        if event.bar is self._heading and (column := self._shown.layout.column_at(event.x)):
            self.view.sort_by(column)
            self.update()

    def on_lines_chosen(self) -> None:
        """A click on the cursor is Enter."""
        self.action_drill()

    def on_lines_moved(self) -> None:
        """Tell about another row."""
        self._follow()

    # ---- parts -------------------------------------------------------------------------

    def _row(self) -> Row | None:
        """The row at the cursor, as it is on the screen."""
        rows = self._shown.rows
        return rows[self._table.cursor] if self._table.cursor < len(rows) else None

    def _follow(self) -> None:
        row = self._row()
        about = self.view.about(row)
        self._about.show(about)
        length = sum(len(text) for text, _ in about) if row is not None and row.refused else 1
        self._about.styles.height = min(_ABOUT_AT_MOST, -(-length // max(1, self.size.width)))

    def _ask(self, is_asked: bool) -> None:
        self.query_one("#prompt").display = is_asked
        self._keys.display = not is_asked

    def _tick(self) -> None:
        if self.view.pause.is_on or self.view.failure:
            self._title.show(self.view.title("", time.monotonic()))


class _Rows(Sequence[Line]):
    """The rows as lines, each of which is made when it is drawn."""

    def __init__(self, rows: Sequence[Row], layout: Layout) -> None:
        self.rows = rows
        self.layout = layout

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Line: ...
    @overload
    def __getitem__(self, at: slice) -> list[Line]: ...
    def __getitem__(self, at: int | slice) -> Line | list[Line]:
        if isinstance(at, slice):
            return [self.layout.line(row) for row in self.rows[at]]
        return self.layout.line(self.rows[at])
