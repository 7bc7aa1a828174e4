"""At least once: only the thread or task that has the last events may ask for the next."""

import asyncio
import sys
import threading

import pytest

from tapring.consumer.hand import Hand


def in_thread(work) -> object:
    """What ``work`` returns or raises in a thread of its own, which then has ended."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except RuntimeError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_one_thread_asks_again_and_again() -> None:
    hand = Hand()
    hand.ask()
    hand.ask()


def test_another_thread_is_told_what_to_do_instead() -> None:
    hand = Hand()
    hand.ask()
    refused = in_thread(hand.ask)
    assert isinstance(refused, RuntimeError)
    assert "MainThread" in str(refused)
    assert "read(0)" in str(refused)


def test_another_thread_may_ask_once_the_events_are_handled_or_their_owner_has_ended() -> None:
    hand = Hand()
    hand.ask()
    hand.clear()
    assert in_thread(hand.ask) is None
    hand.ask()


@pytest.mark.parametrize("cleared", [False, True])
def test_without_an_event_loop_threads_are_told_apart_all_the_same(monkeypatch, cleared) -> None:
    """An owner is then known by its number alone."""
    monkeypatch.delitem(sys.modules, "asyncio")
    hand = Hand()
    hand.ask()
    if cleared:
        hand.clear()
    hand.ask()
    assert isinstance(in_thread(hand.ask), RuntimeError)


def test_a_task_is_an_owner_and_leaves_what_it_had_when_it_is_done() -> None:
    hand = Hand()

    async def ask() -> None:
        hand.ask()

    async def both() -> None:
        first = asyncio.ensure_future(asyncio.sleep(0))
        hand.ask()
        with pytest.raises(RuntimeError, match="Task"):
            await asyncio.ensure_future(ask())
        hand.clear()
        await asyncio.ensure_future(ask())
        hand.ask()
        await first

    asyncio.run(both())
    hand.ask()
    assert isinstance(in_thread(hand.ask), RuntimeError)
