"""Dumps from within an engine: ``Tap.dump``, and one for each exception that nobody has caught."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from .engine.facts import Facts
from .engine.tap import Tap

_NAMES: Final = 100
_one_at_a_time: Final = threading.Lock()


def dump_on_exception(
    tap: Tap, path: str | os.PathLike[str], *, last: float | None = None
) -> Callable[[], None]:
    """Write what ``tap`` has recorded into a file when an exception ends the program or a thread.

    The exception is reported as it would be without this: the hooks that were there before are
    called next. If the dump fails, standard error says why, in one line.

    path: ``{engine}``, ``{lane}``, ``{pid}`` and ``{time}`` in it are filled in, as in
    ``crash-{engine}-{time}.ndjson``. An older file is never replaced: the next one is called
    ``crash-2.ndjson``. Its meta has the exception's type, not its text, which may hold values of
    events.
    last: only the last so many seconds.

    Returns a function that takes the hooks out again, unless others have been set since.
    """
    template = os.fspath(path)
    before, threads_before = sys.excepthook, threading.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        if issubclass(kind, Exception):
            _dump(tap, template, last, kind.__qualname__)
        return before(kind, error, trace)

    def threads_hook(args: threading.ExceptHookArgs) -> Any:
        if issubclass(args.exc_type, Exception):
            _dump(tap, template, last, args.exc_type.__qualname__)
        return threads_before(args)

    def restore() -> None:
        if sys.excepthook is hook:
            sys.excepthook = before
        if threading.excepthook is threads_hook:
            threading.excepthook = threads_before

    sys.excepthook, threading.excepthook = hook, threads_hook
    return restore


def dump(address: str, path: str, **asked: Any) -> None:
    """Write a dump. Only what it takes to write one loads the formats."""
    from .delivery.dumping import dump as write

    write(address, path, **asked)


def _dump(tap: Tap, template: str, last: float | None, what: str) -> None:
    try:
        from .files.meta import IncidentMeta

        now = time.time()
        time_utc = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        lane = tap.lane or ""
        address = f"{tap.name}.{lane}"
        for name, value in (
            ("engine", tap.name),
            ("lane", lane),
            ("pid", str(os.getpid())),
            ("time", time_utc),
        ):
            template = template.replace(f"{{{name}}}", value)
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
        incident = IncidentMeta("exception", what, at, address, os.getpid())
        with _one_at_a_time:
            dump(address, _free(template), last=last, incident=incident)
    except Exception as error:  # the exception that is being reported comes first
        print(f"tapring: no dump was written: {error}", file=sys.stderr)


def _free(path: str) -> str:
    """The path, with a number before its suffixes if there is such a file."""
    folder, name = os.path.split(path)
    stem, dot, suffixes = name.partition(".")
    for number in range(1, _NAMES):
        again = f"-{number}" if number > 1 else ""
        free = os.path.join(folder, f"{stem}{again}{dot}{suffixes}")
        if not os.path.lexists(free) and not os.path.lexists(f"{free}.part"):
            return free
    raise FileExistsError(f"there are {_NAMES} files like {path}")


Facts.dump_with = dump
