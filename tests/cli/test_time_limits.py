"""How long a capture may last: said as it starts, and as the engine's limit ends it."""

import json
import re
import threading
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import main
from tapring.cli.time_limits import after_the_limit, end_of_session, limit_of_engine
from tapring.consumer.lanes import LaneEnded, LaneJoined
from tapring.ended_by import EndedBy

DAY = 86_400.0


def joined(
    lane: str, limit: float, duration: float | None = None, *, stage: str = "", engine: str = "shop"
) -> LaneJoined:
    of = {"stage": stage, "duration_s": duration or limit, "max_duration_s": limit}
    return LaneJoined(engine, lane, 7, 1, 0, True, True, **of)


def at_start(*lanes: LaneJoined, **how: bool) -> list[str]:
    return list(limit_of_engine(SimpleNamespace(engine="shop", lanes_joined=lanes), **how))


def test_the_usual_limit_is_not_worth_a_word() -> None:
    assert at_start(joined("a", DAY), joined("b", 2 * DAY)) == []
    assert at_start(LaneJoined("shop", "a", 7, 1, 0, True, True)) == []


def test_a_shorter_one_is_said_once_for_all_lanes_and_stages() -> None:
    lanes = [joined(lane, 600, stage=stage) for lane in "ab" for stage in ("raw", "decoded")]
    assert at_start(*lanes) == ["shop ends captures after 10 min (its max_duration)"]
    assert at_start(*lanes, follow=True) == [
        "shop ends captures after 10 min (its max_duration), also with --follow"
    ]


def test_lanes_that_differ_are_told_apart() -> None:
    assert at_start(joined("a", DAY), joined("b", 600), joined("c", DAY)) == [
        (
            "shop ends captures lane by lane: lane b after 10 min, 2 lanes after 24 h "
            "(their max_duration)"
        )
    ]


@pytest.mark.parametrize(
    ("remaining", "said"),
    [
        (299.6, ["session shop.a:1 ends in 5 min at most, as was set when it was opened"]),
        (DAY, []),
        (0, []),
    ],
)
def test_of_a_session_that_exists_it_is_what_is_left(remaining, said) -> None:
    session = SimpleNamespace(addresses=("shop.a:1",), remaining_s=remaining)
    assert list(end_of_session(session)) == said


def test_when_the_limit_has_ended_lanes_it_says_how_to_raise_it() -> None:
    lanes = [joined("a", 600), joined("b", 600), joined("c", DAY, 3600), joined("d", 60)]
    ended = [
        LaneEnded("shop", lane, 7, reason, 0)
        for lane, reason in zip("abcd", [EndedBy.EXPIRED] * 3 + [EndedBy.ENGINE_EXIT], strict=True)
    ]
    assert list(after_the_limit(lanes, ended)) == [
        "the session was opened for 1 h. Open one for longer: tapring open shop --duration 1h",
        (
            "shop ends captures after 10 min (its max_duration). Start again, or raise it: "
            "Tap(max_duration=...), tapring pipe --max-duration"
        ),
    ]


def test_of_many_lanes_and_engines_it_names_a_few() -> None:
    lanes = [joined(f"{n}", 60 * n, engine=f"web-{n}") for n in range(1, 9)]
    (said,) = at_start(*lanes)
    assert said.endswith(
        "lane 2 after 2 min, lane 3 after 3 min, others later (their max_duration)"
    )
    ended = [LaneEnded(each.engine, each.lane, 7, EndedBy.EXPIRED, 0) for each in lanes]
    (said,) = after_the_limit(lanes, ended)
    assert said.startswith("web-1, web-2, web-3 and 5 more end captures after 1 min to 8 min (its")


def batches(tap: tapring.Tap, done: threading.Event) -> None:
    while not done.wait(0.001):
        tap.snapshot()


@pytest.fixture
def limited(name):
    """An engine that makes batches, and ends captures soon."""
    done = threading.Event()
    with tapring.Tap(name, max_duration=0.3) as tap:
        thread = threading.Thread(target=batches, args=(tap, done))
        thread.start()
        yield tap
        done.set()
        thread.join()


def attach(tmp_path, *arguments: str) -> str:
    """What ``tapring attach`` says on standard error."""
    result = CliRunner().invoke(main, ["attach", *arguments, "-o", str(tmp_path / "x.ndjson")])
    assert result.exit_code == 0, result.output
    return result.stderr


def test_a_capture_says_at_both_ends_that_its_engine_limits_it(limited, name, tmp_path) -> None:
    said = attach(tmp_path, name).splitlines()
    assert said[0] == f"tapring: {name} ends captures after 0.3 s (its max_duration)"
    assert said[2].startswith(f"{said[0]}. Start again, or raise it: Tap(max_duration")


def test_a_session_that_exists_says_when_it_ends_and_how_to_open_a_longer_one(
    limited, name, tmp_path
) -> None:
    handle = limited.register("raw", duration=0.1)
    first, _, end, *_ = attach(tmp_path, f"{name}:{handle.id}").splitlines()
    assert re.fullmatch(rf"tapring: session {name}\S+ ends in 0.\d+ s at most, as .*", first)
    assert "the session was opened for 0.1 s. Open one for longer" in end


@pytest.mark.parametrize("options", [["--duration", "50ms"], ["--summary", "none"]])
def test_it_says_nothing_if_that_was_not_asked_for_or_is_known(
    limited, name, tmp_path, options
) -> None:
    assert "max_duration" not in attach(tmp_path, name, *options)


def test_as_json_the_limit_stands_with_each_lane(limited, name, tmp_path) -> None:
    summary = json.loads(attach(tmp_path, name, "--summary", "json"))["tapring_summary"]
    (lane,) = summary["lanes_joined"]
    assert summary["ended_by"] == "expired"
    assert lane["duration_s"] == lane["max_duration_s"] == 0.3
