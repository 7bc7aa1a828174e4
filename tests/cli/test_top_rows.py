"""The rows of ``tapring top``: what there is, which of it is shown, and what it comes to."""

import msgspec

from tapring.cli.top_rows import matching, rows_of, totals
from tapring.shm.discovery import EngineList
from tapring.shm.looks import Looked
from tapring.shm.refusals import LaneRefused
from tests.cli.top_screens import fixed


def addresses(rows) -> list[str]:
    return [f"{row.address} {row.key.stage}".strip() for row in rows]


def test_there_is_a_row_for_each_session_and_for_each_stage_that_no_session_watches() -> None:
    assert addresses(rows_of(fixed())) == [
        "shop.0a1b2c3d:12 raw",
        "shop.0a1b2c3d:7 decoded",
        "shop.1a1b2c3d raw",
        "shop.1a1b2c3d decoded",
        "web-frontend-of-the-payments-team.2a1b2c3d:3 raw",
        "web-frontend-of-the-payments-team.2a1b2c3d decoded",
        "old.3a1b2c3d",
    ]


def test_a_session_has_its_own_figures_and_those_of_its_lane() -> None:
    row = rows_of(fixed())[1]
    assert (row.rate, row.lost, row.fill, row.age_s) == (1234.5, 256, 1.0, 5.0)
    assert (row.share, row.budget, row.pid) == (0.034, 0.02, 4711)
    assert "2 forked without a lane yet" in row.about


def test_a_stage_without_a_session_has_no_rate_and_the_age_of_its_lane() -> None:
    row = rows_of(fixed())[3]
    assert (row.rate, row.lost, row.fill, row.age_s) == (None, None, None, 7200.0)
    assert "records decoded" in row.about


def test_a_lane_that_cannot_be_read_has_the_reason_and_lanes_alike_have_one_row() -> None:
    refused = [
        LaneRefused("old", each, "version", f"{each} uses version 99") for each in ("0a", "0b")
    ]
    (row,) = rows = rows_of(Looked(EngineList([], refused), {}, {}))
    assert totals(rows).refused == 2
    assert (row.address, row.refused) == ("old.(2 lanes)", "0a uses version 99; likewise 0b")


def test_rows_are_chosen_by_a_pattern_of_engines_a_name_a_lane_or_a_pid() -> None:
    rows = rows_of(fixed())
    assert len(matching(rows, "")) == 7
    assert {row.key.engine for row in matching(rows, "web-*")} == {
        "web-frontend-of-the-payments-team"
    }
    assert len(matching(rows, "shop")) == 4
    assert addresses(matching(rows, "shop.1a1b2c3d")) == [
        "shop.1a1b2c3d raw",
        "shop.1a1b2c3d decoded",
    ]
    assert len(matching(rows, "99999")) == 2
    assert matching(rows, "sho") == []


def test_totals_count_each_lane_once_and_lanes_that_cannot_be_read_apart() -> None:
    of = totals(rows_of(fixed()))
    assert (of.engines, of.lanes, of.sessions, of.refused) == (3, 3, 3, 1)
    assert (of.rate, of.lost) == (1234.5 + 2_345_678.0, 256)
    none = totals([])
    assert msgspec.to_builtins(none) == (0, 0, 0, 0, 0.0, 0)
