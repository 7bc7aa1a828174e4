"""A process has one shared Tap of a name, however often its code asks for it."""

import os
import threading

import numpy as np
import pytest

import tapring
from tapring.events.kinds import Lines
from tapring.shm.segment import names
from tests.helpers import offer

POINT = np.dtype([("t", "<f8")])


@pytest.fixture
def get_tap(name):
    yield tapring.get_tap
    tapring.get_tap(name).close()


def test_who_asks_again_gets_the_same_tap(get_tap, name) -> None:
    tap = get_tap(name, max_sessions=3)
    assert get_tap(name) is tap
    assert get_tap(name, max_sessions=3) is tap
    assert (tap.name, tap.max_sessions) == (name, 3)
    assert [each.lane for each in tapring.engines(name)] == [tap.lane]


def test_threads_that_ask_at_once_make_one_lane(get_tap, name, fast_switching) -> None:
    start = threading.Barrier(8)
    found: list[tapring.Tap] = []

    def ask() -> None:
        start.wait()
        found.append(get_tap(name))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert names(f"tapring.{name}.") == [f"tapring.{name}.{found[0].lane}"]


def test_a_closed_one_is_made_anew(get_tap, name) -> None:
    first = get_tap(name, max_sessions=3)
    first.close()
    assert first.closed
    second = get_tap(name, max_sessions=4)
    assert second is not first
    assert (second.closed, second.max_sessions) == (False, 4)


def test_a_tap_of_ones_own_is_not_the_shared_one(get_tap, name) -> None:
    with tapring.Tap(name) as own:
        shared = get_tap(name)
        assert shared is not own
        assert {each.lane for each in tapring.engines(name)} == {own.lane, shared.lane}


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"redact": ["a.b", "c"]}, {"redact": "a.b,c"}),
        ({"redact": iter(["a"])}, {"redact": ("a",)}),
        ({"redact": "a"}, {"redact": {"raw": "a", "decoded": ["a"]}}),
        ({"stages": {"x": "lines"}}, {"stages": {"x": Lines()}}),
        ({"stages": {"x": tapring.array(POINT)}}, {"stages": {"x": tapring.array([("t", "f8")])}}),
        ({"stages": {"x": "bytes"}, "redact": {"raw": "a"}}, {"redact": {"raw": ["a"]}}),
        ({}, {"budget": None, "redact": ()}),
    ],
    ids=range(7),
)
def test_an_option_may_be_repeated_in_other_words(get_tap, name, first, later) -> None:
    tap = get_tap(name, **first)
    assert get_tap(name, **later) is tap


@pytest.mark.parametrize(
    ("first", "later", "said"),
    [
        ({}, {"redact": "password"}, "another redact;"),
        ({"redact": "a"}, {"redact": "a,b"}, "another redact;"),
        ({"redact": "a"}, {"redact": ()}, "another redact;"),
        ({}, {"stages": {"audit": "json"}}, "another stages;"),
        ({"max_sessions": 3}, {"max_sessions": 4, "budget": 0.1}, "max_sessions and budget;"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(get_tap, name, first, later, said) -> None:
    tap = get_tap(name, **first)
    with pytest.raises(ValueError, match=said):
        get_tap(name, **later)
    assert get_tap(name) is tap


def test_an_option_that_a_tap_does_not_have_is_refused(get_tap, name) -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="sesions"):
            get_tap(name, sesions=3)
        assert get_tap(name) is get_tap(name)


def test_where_taps_are_disabled_it_is_inert(get_tap, name, monkeypatch) -> None:
    monkeypatch.setenv("TAPRING_DISABLE", "1")
    tap = get_tap(name)
    assert tap.snapshot() is None
    assert "TAPRING_DISABLE" in (tap.reason or "")
    assert get_tap(name) is tap
    tap.close()


def test_a_forked_child_shares_it_as_a_lane_of_its_own(get_tap, name) -> None:
    tap = get_tap(name)
    pid = os.fork()
    if pid == 0:
        offer(tap, "raw", [b"its first batch opens its lane"])
        right = get_tap(name) is tap and tap.lane is not None
        tap.close()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [each.lane for each in tapring.engines(name)] == [tap.lane]
