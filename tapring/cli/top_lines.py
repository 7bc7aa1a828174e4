"""Lines on the screen of ``tapring top``: plain text with styles, drawn again only if it changed.

No markup is read and no escape is passed on: a line is made of text that was made visible before,
and of the names of styles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from .top_table import Line

_STYLES: Final = {
    "": Style(),
    "bold": Style(bold=True),
    "dim": Style(dim=True),
    "red": Style(color="red", bold=True),
    "yellow": Style(color="yellow"),
    "green": Style(color="green"),
    "heading": Style(bold=True, underline=True),
    "paused": Style(bold=True, reverse=True),
}
_CURSOR: Final = Style(reverse=True)
_BLANK: Final[Line] = (("", ""),)
_WHEEL: Final = 3  # lines


class Bar(Widget):
    """One line, or a few that a long one is folded into."""

    DEFAULT_CSS: ClassVar[str] = "Bar { height: 1; }"

    class Clicked(Message):
        """The operator clicked on it. x: the column, from 0."""

        def __init__(self, bar: Bar, x: int) -> None:
            super().__init__()
            self.bar = bar
            self.x = x

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._line: Line = _BLANK

    @property
    def line(self) -> Line:
        """What it shows."""
        return self._line

    def show(self, line: Line) -> None:
        """Show another line."""
        if line != self._line:
            self._line = line
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line as textual draws it."""
        width = self.size.width
        strip = _strip(self._line).crop(y * width, (y + 1) * width)
        return strip.extend_cell_length(width)

    def on_click(self, event: events.Click) -> None:
        """Say where the operator clicked."""
        self.post_message(self.Clicked(self, event.x))


class Lines(Widget, can_focus=True):
    """Lines that can be scrolled, with a cursor or without.

    It draws only what has changed since it was drawn last. A sequence may make its lines on demand:
    no others are asked for than those that are seen.
    """

    DEFAULT_CSS: ClassVar[str] = "Lines { height: 1fr; }"

    class Chosen(Message):
        """The operator clicked on the line with the cursor."""

    class Moved(Message):
        """The cursor, or what is seen of the lines, has moved."""

    def __init__(self, *, has_cursor: bool, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.top: int = 0
        self.cursor: int = 0
        self.shift: int = 0
        self._has_cursor = has_cursor
        self._lines: Sequence[Line] = ()
        self._drawn: list[tuple[Line, bool]] = []

    def show(self, lines: Sequence[Line], *, cursor: int | None = None, end: bool = False) -> None:
        """Show other lines. cursor: where it stands now. end: show the last ones."""
        self._lines = lines
        if cursor is not None:
            self.cursor = cursor
        if end:
            self.top = len(lines)
        self._draw()

    def move(self, by: int) -> None:
        """Move the cursor, or the lines if there is none, so many lines down."""
        if self._has_cursor:
            self.cursor += by
        else:
            self.top += by
        self._draw()
        self.post_message(self.Moved())

    def move_sideways(self, by: int) -> None:
        """Show what stands so many columns further right."""
        self.shift = max(0, self.shift + by)
        self._draw()

    @property
    def page(self) -> int:
        """How many lines are seen at a time."""
        return max(1, self.size.height)

    @property
    def count(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    @property
    def is_at_end(self) -> bool:
        """Whether the last line is seen."""
        return self.top >= self.count - self.page

    @property
    def seen(self) -> list[Line]:
        """The lines that are on the screen."""
        return list(self._lines[self.top : self.top + self.page])

    def render_line(self, y: int) -> Strip:
        """A line as textual draws it."""
        width = self.size.width
        line, is_chosen = self._drawn[y] if y < len(self._drawn) else (_BLANK, False)
        strip = _strip(line).crop(self.shift, self.shift + width).extend_cell_length(width)
        return strip.apply_style(_CURSOR) if is_chosen else strip

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self._draw()

    def on_mouse_scroll_down(self) -> None:
        """Scroll with the wheel."""
        self.move(_WHEEL)

    def on_mouse_scroll_up(self) -> None:
        """Scroll with the wheel."""
        self.move(-_WHEEL)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the operator clicked; a click on the cursor chooses its line."""
        at = self.top + event.y
        if not self._has_cursor or at >= self.count:
            return
        if at == self.cursor:
            self.post_message(self.Chosen())
        else:
            self.move(at - self.cursor)

    def _draw(self) -> None:
        """Have those lines drawn that are not what was drawn last."""
        last = max(0, self.count - 1)
        self.cursor = min(max(0, self.cursor), last)
        if self._has_cursor:
            self.top = min(max(self.top, self.cursor - self.page + 1), self.cursor)
        self.top = min(max(0, self.top), max(0, self.count - self.page))
        cursor = self.cursor - self.top if self._has_cursor and self.count else -1
        drawn = [(line, at == cursor) for at, line in enumerate(self.seen)]
        drawn += [(_BLANK, False)] * (self.page - len(drawn))
        changed = [
            Region(0, at, self.size.width, 1)
            for at, line in enumerate(drawn)
            if at >= len(self._drawn) or line != self._drawn[at]
        ]
        self._drawn = drawn
        if changed:
            self.refresh(*changed)


def _strip(line: Line) -> Strip:
    return Strip([Segment(text, _STYLES[style]) for text, style in line if text])
