"""One thread at a time reads: how the others wait, and what cannot leave the turn taken."""

import os
import signal
import threading
from time import monotonic_ns

import pytest

import tapring
from tapring.consumer.turn import Turn


class Shared:
    """What is read by turns."""

    sleeper = 0
    over = False

    def goes_on(self) -> bool:
        return not self.over


@pytest.fixture
def turn():
    return Turn(Shared())


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_work_is_done_in_a_turn_which_is_then_free(turn) -> None:
    assert turn.do(lambda: len(turn.free), None) == 0
    assert turn.free


def test_an_exception_frees_the_turn(turn) -> None:
    with pytest.raises(ZeroDivisionError):
        turn.do(lambda: 1 / 0, None)
    assert turn.free


def test_another_thread_waits_for_its_turn_until_it_is_late(turn) -> None:
    found: list[object] = []

    def inside() -> None:
        until = monotonic_ns() + 1_000_000
        in_thread(lambda: found.append(turn.do(lambda: "done", until))).join()
        assert monotonic_ns() >= until

    turn.do(inside, None)
    assert found == [None]


def test_a_thread_that_waits_is_called_when_the_turn_is_free(turn, wait_for) -> None:
    found: list[object] = []
    waiting = turn.do(lambda: self_started(turn, found, wait_for), None)
    waiting.join()
    assert found == ["done"]
    assert not turn.callers


def self_started(turn, found, wait_for) -> threading.Thread:
    waiting = in_thread(lambda: found.append(turn.do(lambda: "done", None)))
    wait_for(lambda: turn.callers)
    assert found == []
    return waiting


def test_a_thread_that_waits_goes_when_the_session_ends(wait_for) -> None:
    shared = Shared()
    turn = Turn(shared)
    found: list[object] = []

    def inside() -> None:
        waiting = in_thread(lambda: found.append(turn.do(lambda: "done", None)))
        wait_for(lambda: turn.callers)
        shared.over = True
        waiting.join()

    turn.do(inside, None)
    assert found == [None]


def test_a_thread_that_has_interrupted_its_own_turn_is_told_and_does_not_wait(turn) -> None:
    def nested() -> None:
        turn.do(lambda: None, None)

    with pytest.raises(RuntimeError, match=r"reading the session already.*may call end\(\)"):
        turn.do(nested, None)
    assert turn.do(lambda: turn.do(lambda: "done", None, to_close=True), None) is None
    assert turn.free


def test_what_is_left_to_the_one_inside_is_called_once_it_is_out(turn) -> None:
    seen: list[int] = []
    turn.do(lambda: turn.callers.append(lambda: seen.append(len(turn.free))), None)
    assert seen == [1]
    turn.call_next()
    assert seen == [1]


def test_another_greenlet_of_the_thread_that_sleeps_inside_is_told(turn) -> None:
    """Its frames are not those of the one inside. Where nobody sleeps, none can come between."""
    token = turn.take()
    turn._shared.sleeper = threading.get_native_id()
    with pytest.raises(RuntimeError, match="reading the session already"):
        turn.wait(None)
    assert turn.wait(None, to_close=True) is None
    token.home.append(token)


def test_in_a_forked_child_nobody_is_inside(turn) -> None:
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            turn.forget()
            os._exit(0 if turn.do(lambda: True, 0) else 1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert turn.do(lambda: run_in_thread(fork), None) == 0


def run_in_thread(work) -> object:
    found: list[object] = []
    in_thread(lambda: found.append(work())).join()
    return found[0]


def test_no_two_threads_are_inside_and_none_is_left_waiting(turn, fast_switching) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    def many() -> None:
        for _ in range(500):
            turn.do(work, None)

    threads = [in_thread(many) for _ in range(8)]
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert max(most) == 1
    assert len(most) == 8 * 500


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("way", ["iterating", "frames", "read"])
def test_a_handler_that_raises_never_leaves_the_turn_taken(name, way) -> None:
    """Wherever CPython lets a signal handler in: timers of all lengths try to meet each place."""

    class Thrown(Exception):
        pass

    def throw(*_: object) -> None:
        raise Thrown

    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw") as session:
        before = signal.signal(signal.SIGALRM, throw)
        met = 0
        try:
            for step in range(1, 600):
                watched = tap.snapshot()
                for _ in range(20):
                    watched.offer("raw", [b"a"])
                try:
                    signal.setitimer(signal.ITIMER_REAL, step / 1e6)
                    for _ in range(20):
                        if way == "read":
                            session.read(1, timeout=0)
                        else:
                            next(iter(session) if way == "iterating" else session.frames())
                    while True:  # the handler ends it, if it has not come before
                        session.read(1, timeout=0)
                except Thrown:
                    met += 1
                assert session._turn.do(lambda: True, 0), step
                signal.setitimer(signal.ITIMER_REAL, 0)
                while session.read(1000, timeout=0):
                    pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert met == 599
