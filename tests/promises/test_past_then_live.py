"""``tapring attach --last`` begins in the past and goes on live, without a seam."""

import json
import subprocess

import pytest

from tests.cli.running import error_of
from tests.cli.test_attach import SHOP, summary_of

RECORDED_SHOP = SHOP.replace("max_duration=100", "recorder='decoded', recorder_bytes=1 << 20")


@pytest.fixture
def shop(spawn, name):
    spawn(SHOP, name, stdout=subprocess.PIPE).stdout.readline()
    return name


@pytest.fixture
def recorded_shop(spawn, name, recordings):
    """As ``shop``; its stage decoded is recorded."""
    spawn(RECORDED_SHOP, name, stdout=subprocess.PIPE).stdout.readline()
    return name


def test_last_begins_in_the_past_and_goes_on_live(recorded_shop, run_cli) -> None:
    said = ["attach", recorded_shop, "--last", "1h", "--summary", "json", "--limit"]
    facts = {"recorded": 0}
    while not facts["recorded"]:  # until there is a past
        facts = summary_of(run_cli(*said, "64"))
    result = run_cli(*said, "2000")
    numbers = [json.loads(line)["n"] for line in result.stdout.splitlines()]
    assert numbers == list(range(numbers[0], numbers[0] + 2000))
    facts = summary_of(result)
    (past,) = facts["pasts"]
    assert past["stage"] == "decoded"
    assert facts["recorded"] + facts["delivered"] >= 2000


def test_last_says_in_words_what_was_recorded(recorded_shop, run_cli) -> None:
    said = b""
    while b"recorded before" not in said:
        said = run_cli("attach", recorded_shop, "--last", "1h", "--limit", "5").stderr
    assert b"ended by limit; nothing was lost" in said


def test_last_needs_a_recorder_and_says_how_to_turn_one_on(shop, run_cli) -> None:
    result = run_cli("attach", shop, "--last", "30s")
    assert "TAPRING_RECORDER=decoded" in error_of(result, 3)


def test_last_of_a_session_that_exists_is_wrong_usage(run_cli) -> None:
    assert "--last" in error_of(run_cli("attach", "shop:7", "--last", "30s"), 2)


def test_of_a_dead_engine_that_has_recorded_attach_says_where_to_look(
    spawn, name, run_cli, recordings
) -> None:
    engine = spawn(RECORDED_SHOP, name, stdout=subprocess.PIPE)
    engine.stdout.readline()
    engine.kill()
    engine.wait()
    result = run_cli("attach", name)
    assert f"tapring dump {name}" in error_of(result, 3)
