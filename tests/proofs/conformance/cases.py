"""A check of the kit: a lane as a reader finds it, what its engine does meanwhile, what must come.

The other modules of checks list theirs in ``CASES`` as they are imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from .image import Image

READ: Final = "is read"
REFUSED: Final = "is refused"
EITHER: Final = "is read or refused"
ONE: Final = ("lines",)


class Skipped(Exception):
    """This check cannot be made here. Says why."""


class Case(NamedTuple):
    """One check.

    prepare: makes an image what the reader finds. meanwhile: what the engine does while it is read.
    shape: of the image.
    """

    name: str
    kind: str
    prepare: Callable[[Image], None]
    meanwhile: Callable[[Image], None] | None = None
    outcome: str = READ
    shape: dict[str, Any] = {}  # noqa: RUF012


CASES: Final[list[Case]] = []


def add(name: str, prepare: Callable[[Image], None], kind: str = "lines", **options: Any) -> None:
    """List a check."""
    CASES.append(Case(name, kind, prepare, **options))


def case(kinds: Iterable[str] = ONE, meanwhile: Any = None, **options: Any):
    """List a check that its function prepares, for each of these kinds."""

    def listed(prepare: Callable[[Image], None]) -> Callable[[Image], None]:
        name = prepare.__name__.replace("_", "-")
        for kind in kinds:
            of_kind = name if kinds == ONE else f"{kind}-{name}"
            add(of_kind, prepare, kind, meanwhile=meanwhile, **options)
        return prepare

    return listed
