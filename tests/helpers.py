"""Helpers for tests of several packages: offer a batch, and check that an account closes."""

from typing import Any

import tapring


def offer(tap: tapring.Tap, stage: str, batch: Any) -> None:
    """Offer a batch as an engine does, if a session is open."""
    watched = tap.snapshot()
    if watched:
        watched.offer(stage, batch)


def closes(stats: tapring.Stats) -> bool:
    """Whether every event that was offered is in exactly one place."""
    parts = stats.delivered + stats.unread + stats.dropped + stats.oversize + stats.errors
    return stats.offered == parts and stats.captured == stats.delivered + stats.unread
