"""One line on a terminal that is redrawn in place, and erased before anything else is printed."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from typing import Final

from ..words import visible

_ERASE: Final = "\r\x1b[K"


class StatusLine:
    """The line, on standard error. It is cut at the width of the terminal.

    on_terminal: whether standard error is a terminal; otherwise nothing is shown.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr
        self.on_terminal: bool = self._stream is not None and self._stream.isatty()
        self._is_shown = False

    def show(self, text: str) -> None:
        """Draw it anew."""
        if self.on_terminal:
            self._is_shown = True
            width = shutil.get_terminal_size().columns
            self._put(_ERASE + _cut(visible(text), width))

    def clear(self) -> None:
        """Erase it. It costs nothing if it is not shown."""
        if self._is_shown:
            self._is_shown = False
            self._put(_ERASE)

    def note(self, text: str) -> None:
        """Print a remark that stays, above the line."""
        self.clear()
        self._put(visible(f"tapring: {text}") + "\n")

    def _put(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):  # hung up, or closed
            self._stream.write(text)
            self._stream.flush()


def _cut(text: str, columns: int) -> str:
    """``text`` within one line less a column, in which some terminals wrap."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) < columns:
        return text
    return set_cell_size(text, max(0, columns - 2)).rstrip() + "…"
