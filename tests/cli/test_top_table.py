"""The columns of ``tapring top``: how rows sort, and how they fit terminals of any width."""

import msgspec
import pytest

from tapring.cli.top_rows import rows_of
from tapring.cli.top_table import NAMES, Layout, Sort, fitted, ordered, short_address, text_of
from tests.cli.top_screens import fixed

ROWS = rows_of(fixed())


def sessions(column: str, backwards: bool = False) -> list[int]:
    rows = ordered(ROWS, Sort(column, backwards))
    return [row.key.session for row in rows if row.key.session]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("engine", [12, 7, 3]),
        ("stage", [7, 12, 3]),
        ("session", [12, 7, 3]),
        ("rate", [12, 7, 3]),
        ("captured", [12, 7, 3]),
        ("lost", [7, 12, 3]),
        ("fill", [7, 12, 3]),
        ("batch", [7, 12, 3]),
        ("cost", [12, 7, 3]),
        ("age", [12, 7, 3]),
        ("pid", [3, 12, 7]),
    ],
)
def test_numbers_sort_from_the_largest_and_text_from_a(column, expected) -> None:
    assert sessions(column) == expected


def test_backwards_is_the_other_way_round() -> None:
    assert sessions("rate", backwards=True) == [3, 7, 12]
    assert sessions("engine", backwards=True) == [3, 7, 12]


@pytest.mark.parametrize("column", NAMES)
@pytest.mark.parametrize("backwards", [False, True])
def test_no_row_is_lost_and_what_has_no_value_or_cannot_be_read_comes_last(
    column, backwards
) -> None:
    rows = ordered(ROWS, Sort(column, backwards))
    assert sorted(map(id, rows)) == sorted(map(id, ROWS))
    assert rows[-1].refused
    if column == "rate":
        assert [row.rate is None for row in rows] == [False] * 3 + [True] * 4


@pytest.mark.parametrize("width", [*range(1, 60), 79, 80, 81, 109, 110, 111, 200, 400])
def test_every_line_fits(width) -> None:
    layout = Layout(width, max(len(row.address) for row in ROWS))
    for line in (layout.heading(Sort("rate")), *map(layout.line, ROWS)):
        assert len(text_of(line)) <= max(width, 17)


def test_a_narrow_terminal_has_fewer_columns_and_a_wide_one_has_all() -> None:
    assert Layout(200).names == list(NAMES)
    assert Layout(80).names == [
        *("engine", "stage", "session", "rate", "lost", "fill", "cost", "budget", "age")
    ]
    assert Layout(40).names == ["engine", "stage", "rate"]
    assert Layout(10).names == ["engine", "stage"]


def test_a_long_name_is_shortened_before_the_lane_and_the_session() -> None:
    row = ROWS[4]
    assert short_address(row, 80) == "web-frontend-of-the-payments-team.2a1b2c3d:3"
    assert short_address(row, 20) == "web-fron….2a1b2c3d:3"
    assert len(short_address(row, 5)) == 5


def test_a_click_finds_the_column_below_it() -> None:
    layout = Layout(80)
    heading = text_of(layout.heading(Sort()))
    for name, word in (("engine", "ENGINE"), ("rate", "EVENTS/S"), ("age", " AGE")):
        assert layout.column_at(heading.index(word) + 1) == name
    assert layout.column_at(500) is None


@pytest.mark.parametrize(
    ("number", "width", "text"),
    [
        (None, 5, "-"),
        (0, 5, "0"),
        (1234567, 9, "1,234,567"),
        (1234567, 7, "1.2M"),
        (123456789, 7, "123M"),
        (12345, 5, "12.3k"),
        (9_876_543_210, 9, "9.9G"),
    ],
)
def test_a_number_that_is_too_wide_is_rounded(number, width, text) -> None:
    assert fitted(number, width) == text


def test_losses_are_red_and_a_cost_over_the_budget_is_yellow() -> None:
    styles = dict(Layout(80).line(ROWS[1]))
    assert styles[next(text for text in styles if "256" in text)] == "red"
    assert styles[next(text for text in styles if "3.4%" in text)] == "yellow"


def test_a_reason_with_escapes_is_shown_as_text() -> None:
    row = msgspec.structs.replace(ROWS[-1], refused="\x1b[31mred")
    assert "\\x1b[31mred" in text_of(Layout(120).line(row))
