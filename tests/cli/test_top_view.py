"""What ``tapring top`` shows now: sorted, filtered, paused, without any terminal."""

from tapring.cli.top_table import Layout, Sort, text_of
from tapring.cli.top_view import Pause, View
from tapring.shm.discovery import EngineList
from tapring.shm.looks import Looked
from tests.cli.top_screens import fixed, lane, session


def view(pattern: str = "", sort: Sort | None = None) -> View:
    made = View(pattern, sort or Sort(), 1.0)
    made.take(fixed())
    return made


def watched(offered: int, rate: float) -> Looked:
    one = lane("shop", "0a1b2c3d", session(7, "raw", offered=offered, dropped=offered))
    return Looked(EngineList([one]), {("0a1b2c3d", 7): rate}, {4711: 0})


def test_a_pause_freezes_the_rows_and_the_account_and_counts_what_waits() -> None:
    shown = View("", Sort(), 1.0)
    shown.take(watched(10, 1.0))
    before = shown.rows, text_of(shown.account())
    shown.toggle_pause(100.0)
    for offered in (20, 30, 40):
        shown.take(watched(offered, 5.0))
    assert (shown.rows, text_of(shown.account())) == before
    title = text_of(shown.title("12:00:00", 112.0))
    assert "PAUSED for 12 s: 3 updates wait; space goes on" in title


def test_after_a_pause_the_true_totals_are_shown_at_once() -> None:
    shown = View("", Sort(), 1.0)
    shown.take(watched(10, 1.0))
    shown.toggle_pause(100.0)
    shown.take(watched(20, 5.0))
    shown.take(watched(40, 7.0))
    shown.toggle_pause(130.0)
    assert shown.rows[0].lost == 40
    assert "7 events/s, 40 lost" in text_of(shown.account())
    assert "PAUSED" not in text_of(shown.title("12:00:00", 131.0))


def test_rows_can_be_sorted_and_filtered_while_paused() -> None:
    shown = view()
    shown.toggle_pause(1.0)
    shown.filter("shop")
    shown.sort_by("lost")
    assert [row.key.session for row in shown.rows] == [7, 12, 0, 0]


def test_sorting_by_the_same_column_again_turns_it_round() -> None:
    shown = view()
    shown.sort_by("rate")
    assert shown.rows[0].key.session == 12
    shown.sort_by("rate")
    assert shown.sort == Sort("rate", backwards=True)
    shown.reverse()
    assert shown.sort == Sort("rate")


def test_the_next_column_is_one_that_is_shown_and_after_the_last_comes_the_first() -> None:
    shown, layout = view(sort=Sort("age")), Layout(80)
    shown.sort_next(1, layout)
    assert shown.sort.column == "engine"
    shown.sort_next(-1, layout)
    assert shown.sort.column == "age"
    shown.sort = Sort("pid")  # asked for on the command line, and not shown
    shown.sort_next(1, layout)
    assert shown.sort.column == "stage"


def test_the_account_says_what_a_filter_hides() -> None:
    assert "; shop hides 3 rows" in text_of(view("shop").account())
    assert "hides" not in text_of(view().account())


def test_the_account_tells_of_dead_lanes_and_of_what_was_lost() -> None:
    said = text_of(view().account())
    assert said.startswith("3 engines, 3 lanes, 3 sessions, ")
    assert "256 lost, 1 unreadable" in said
    assert said.endswith(", 1 dead")


def test_a_row_is_followed_by_its_key() -> None:
    shown = view()
    key = shown.rows[1].key
    shown.sort_by("lost")
    assert shown.place_of(key) == 0
    shown.filter("web-*")
    assert shown.place_of(key) is None
    assert shown.place_of(None) is None


def test_a_line_tells_about_the_row_at_the_cursor() -> None:
    shown = view()
    said = text_of(shown.about(shown.rows[4]))
    assert said.startswith("web-frontend-of-the-payments-team.2a1b2c3d:3 raw (lines): pid 99999")
    assert said.endswith("; 5 events skipped for the budget")
    assert "uses version 99" in text_of(shown.about(shown.rows[-1]))


def test_without_any_row_it_says_that_nothing_runs() -> None:
    shown = view("nobody-*")
    assert text_of(shown.about(None)) == "no engine runs here as nobody-*"
    assert text_of(View("", Sort(), 1.0).account()) == "looking ..."


def test_a_failed_look_is_told_until_one_succeeds() -> None:
    shown = view()
    shown.failure = "cannot look: \x1b[31m"
    assert "cannot look: \\x1b[31m" in text_of(shown.title("12:00:00", 1.0))
    shown.take(fixed())
    assert text_of(shown.title("12:00:00", 1.0)) == "tapring top  12:00:00  every 1 s"


def test_one_update_waits_and_two_wait() -> None:
    pause = Pause()
    assert not pause.toggle(5.0)
    pause.waiting = 1
    assert pause.said(6.0, "update") == "PAUSED for 1 s: 1 update waits; space goes on"
    assert pause.toggle(7.0)


def test_a_pattern_with_escapes_is_shown_as_text() -> None:
    shown = view("\x1b[31m*")
    assert "\\x1b[31m*" in text_of(shown.account())
    assert "\\x1b[31m*" in text_of(shown.about(None))
