"""Names in /dev/shm and addresses: each is read as it was written, and nothing else is read."""

import pytest

from tapring.shm.names import (
    bell_file,
    lane_id,
    lane_number,
    parse_name,
    segment_name,
    split_address,
)


@pytest.mark.parametrize("session", [None, 7])
def test_a_name_is_parsed_as_it_was_assembled(session) -> None:
    name = segment_name("web-1", "0a1b2c3d", session)
    assert parse_name(name) == parse_name(bell_file(name)) == ("web-1", "0a1b2c3d")


@pytest.mark.parametrize(
    "name",
    ["", "tapring", "tapring.web", "tapring.web.1", "a.web.0a1b2c3d", "tapring.W.0a1b2c3d"],
)
def test_other_files_have_no_lane(name) -> None:
    assert parse_name(name) is None


def test_a_lanes_id_is_a_number_of_8_hex_digits() -> None:
    assert lane_id(lane_number("00ab12cd")) == "00ab12cd"


def test_an_address_names_an_engine_a_lane_or_a_session() -> None:
    assert split_address("detector") == ("detector", None, None)
    assert split_address("detector.0a1b2c3d") == ("detector", "0a1b2c3d", None)
    assert split_address("detector.0a1b2c3d:7") == ("detector", "0a1b2c3d", 7)


@pytest.mark.parametrize("address", ["", "A", "a.b", "a:0", "a:", "a:1x", "a.0a1b2c3d:", "a\n"])
def test_another_address_is_refused_with_an_example(address) -> None:
    with pytest.raises(ValueError, match="Invalid address .*detector:7"):
        split_address(address)
