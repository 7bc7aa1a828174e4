"""Doing each of several things, whatever one of them raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def do_all(calls: Iterable[Callable[[], object]]) -> None:
    """Call each of ``calls``; then raise the first exception that one has raised.

    An ``ExitStack`` does so, too. But what it raises is then in a cycle, which keeps the frames,
    and so the locks that they hold, until the next collection.
    """
    first: BaseException | None = None
    try:
        for call in calls:
            try:
                call()
            except BaseException as error:  # such as a signal handler's
                first = first or error
        if first is not None:
            raise first
    finally:
        del first  # else this frame would be in such a cycle
