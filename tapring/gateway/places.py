"""How many streams there may be: of each token, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .problem import Problem


class Places:
    """Counts the streams. total, each: how many there may be in all, and of one token.

    what: what is counted instead, of which one token may have all.
    """

    def __init__(self, total: int, each: int | None = None, what: str = "streams") -> None:
        self._total = total
        self._each = total if each is None else each
        self._what = what
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many streams there are."""
        return self._taken.total()

    @contextmanager
    def one(self, who: str) -> Iterator[None]:
        """Hold a place while the block lasts. Raises Problem, status 409."""
        if self.taken >= self._total:
            option = " (--max-streams)" if self._what == "streams" else ""
            raise Problem(
                409,
                f"this server has {self._total} {self._what}, which is its limit{option}",
                "Try again when another reader has left.",
            )
        if self._taken[who] >= self._each:
            raise Problem(
                409,
                f"{who} has {self._each} streams, which is the limit of a token "
                f"(--max-streams-per-token)",
                "Close one of them first.",
            )
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]
