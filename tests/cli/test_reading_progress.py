"""How far recorded files were read is shown on a terminal, and never amidst events."""

import pytest

from tapring.cli import reading_progress
from tapring.cli.reading_progress import ReadingProgress
from tapring.delivery.recorded import Recorded
from tapring.events.selection import Select
from tapring.files.reading import open_recording
from tests.files.recorded import write_meta


class Line:
    """Stands for the terminal, and remembers what it was shown."""

    on_terminal = True
    shown = ""

    def show(self, text: str) -> None:
        self.shown = text

    def clear(self) -> None:
        self.shown = ""


@pytest.fixture
def progress(tmp_path, monkeypatch):
    """Makes the progress of a file of 4 events, 2 of which were read and 1 of which was kept."""
    path = tmp_path / "x.ndjson"
    path.write_bytes(b"1\n2\n")

    def make(place: str, *, events: int | None = 4, on_terminal: bool = True):
        clock = [0]
        line = Line()
        line.on_terminal = on_terminal
        monkeypatch.setattr(reading_progress, "StatusLine", lambda: line)
        monkeypatch.setattr(reading_progress, "monotonic_ns", lambda: clock[0])
        if events is not None:
            write_meta(path, "json", "ndjson", events=events)
        recorded = Recorded([open_recording(str(path))], Select(where="@ == `1`"))
        made = ReadingProgress(recorded, place, lambda: 1)
        list(recorded.frames())
        return made, line, clock

    return make


def test_beside_a_file_the_line_says_how_far_it_is(progress) -> None:
    shown, line, clock = progress("stored")
    shown.update()
    assert line.shown == ""
    clock[0] = 10**9
    shown.update()
    assert line.shown == "2 of 4 (50%) events read, 1 kept, 2.0/s"
    shown.make_way()
    assert line.shown
    shown.close()
    assert line.shown == ""


def test_without_a_meta_there_is_no_total(progress) -> None:
    shown, line, clock = progress("stored", events=None)
    clock[0] = 10**9
    shown.update()
    assert line.shown == "2 events read, 1 kept, 2.0/s"


def test_amidst_events_it_is_shown_only_while_none_come(progress) -> None:
    shown, line, clock = progress("terminal")
    clock[0] = 10**9
    shown.update()
    assert line.shown == ""
    clock[0] = 3 * 10**9
    shown.update()
    assert line.shown
    shown.make_way()
    assert line.shown == ""


@pytest.mark.parametrize(("place", "on_terminal"), [("pipe", True), ("stored", False)])
def test_nothing_is_shown_where_it_could_mix(place, on_terminal, progress) -> None:
    shown, line, clock = progress(place, on_terminal=on_terminal)
    clock[0] = 9 * 10**9
    shown.update()
    assert line.shown == ""
