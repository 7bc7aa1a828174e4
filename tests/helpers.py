"""Helpers for tests of several packages: offer a batch, check an account, damage a segment."""

import os
import sys
from typing import Any

import pytest

import tapring
from tapring.wire import layout
from tests.conftest import SHM


def offer(tap: tapring.Tap, stage: str, batch: Any) -> None:
    """Offer a batch as an engine does, if a session is open."""
    watched = tap.snapshot()
    if watched:
        watched.offer(stage, batch)


def closes(stats: tapring.Stats) -> bool:
    """Whether every event that was offered is in exactly one place."""
    parts = stats.delivered + stats.unread + stats.dropped + stats.oversize + stats.errors
    return stats.offered == parts and stats.captured == stats.delivered + stats.unread


def put_word(segment: str, word: int, value: int) -> None:
    """Store a word in a segment of shared memory, as other code would."""
    with open(SHM / segment, "r+b") as file:
        os.pwrite(file.fileno(), value.to_bytes(layout.WORD, sys.byteorder), word * layout.WORD)


def interrupt_once(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    error: type[BaseException] = KeyboardInterrupt,
) -> None:
    """Raise at the next call of ``owner.name``, as a signal handler does, and at no other."""
    function = getattr(owner, name)
    raised: list[bool] = []

    def interrupted(*args: Any, **named: Any) -> Any:
        if not raised:
            raised.append(True)
            raise error
        return function(*args, **named)

    monkeypatch.setattr(owner, name, interrupted)
