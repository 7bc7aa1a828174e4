"""The line that is redrawn in place: it fits, it leaves nothing behind, it obeys no event."""

import io
from contextlib import redirect_stderr

import pytest
from rich.cells import cell_len

from tapring.cli.status_line import StatusLine


class Terminal(io.StringIO):
    def __init__(self, *, tty: bool = True) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "30")
    return Terminal()


def line_on(terminal: Terminal | None) -> StatusLine:
    with redirect_stderr(terminal):
        return StatusLine()


def test_it_is_drawn_over_itself_and_erased(terminal) -> None:
    line = line_on(terminal)
    line.show("one")
    line.show("two")
    line.clear()
    line.clear()
    assert terminal.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K"


def test_a_remark_takes_its_place(terminal) -> None:
    line = line_on(terminal)
    line.show("one")
    line.note("stays")
    line.clear()
    assert terminal.getvalue() == "\r\x1b[Kone\r\x1b[Ktapring: stays\n"


@pytest.mark.parametrize("text", ["x" * 99, "名前" * 30, "x\n\x1b[2J\u202e" * 9])
def test_it_is_one_line_that_fits_and_holds_no_control_characters(terminal, text) -> None:
    line_on(terminal).show(text)
    shown = terminal.getvalue().removeprefix("\r\x1b[K")
    assert cell_len(shown) < 30
    assert shown.isprintable()
    assert shown.endswith("…")


def test_without_a_terminal_only_remarks_are_printed() -> None:
    shown = Terminal(tty=False)
    line = line_on(shown)
    line.show("one")
    line.note("stays")
    line.clear()
    assert shown.getvalue() == "tapring: stays\n"


def test_a_terminal_that_hung_up_ends_nothing(terminal) -> None:
    line = line_on(terminal)
    terminal.close()
    line.show("one")
    line.clear()


def test_a_closed_standard_error_ends_nothing() -> None:
    line = line_on(None)
    line.show("one")
    line.clear()
