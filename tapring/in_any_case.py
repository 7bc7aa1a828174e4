"""Doing what has to be done, whatever is raised meanwhile: by the work, or by a signal handler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress


def do_all(calls: Iterable[Callable[[], object]]) -> None:
    """Call each of ``calls``; then raise the first exception that one has raised.

    An ``ExitStack`` does so, too. But what it raises is then in a cycle, which keeps the frames,
    and so the locks that they hold, until the next collection.
    """
    first: BaseException | None = None
    left = iter(calls)
    try:
        while True:
            try:  # around the loop: a signal handler may also raise between two turns of it
                for call in left:
                    call()
                break
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first
    finally:
        del first  # else this frame would be in such a cycle


def finish(work: Callable[[], object]) -> None:
    """Call ``work``, and if an exception comes out of it, once more before that goes on.

    For what an exception must not leave half done, because its frames may be kept for long. Doing
    ``work`` twice must be fine.
    """
    try:
        work()
    except BaseException:
        with suppress(Exception):
            work()
        raise
