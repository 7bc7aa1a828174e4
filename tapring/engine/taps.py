"""The Taps that a process shares: one for each name, for every library that asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import RLock
from typing import Any, Final, TypedDict, Unpack

from ..events.one_by_one import EncHook
from ..events.strip import Redact, without
from ..shm.platform import after_fork_in_child
from .recorder import Recorded, sizes_of
from .stages import Stages, describe, make_stages
from .tap import Tap

_DEFAULTS: Final[dict[str, Any]] = dict(Tap.__init__.__kwdefaults__ or {})
_taps: Final[dict[str, tuple[Tap, dict[str, Any]]]] = {}
_making = RLock()  # a signal handler may ask for a Tap, too


class TapOptions(TypedDict, total=False):
    """The options of ``Tap``, for a type checker."""

    stages: Stages | None
    max_sessions: int
    max_duration: float
    buffer_bytes: int
    max_buffer_bytes: int
    slot_bytes: int
    redact: Redact
    enc_hook: EncHook | None
    budget: float | None
    recorder: Recorded
    recorder_bytes: int | None
    recorder_keep: int
    recorder_keep_bytes: int | None
    remote: bool
    strict: bool


def get_tap(name: str, **options: Unpack[TapOptions]) -> Tap:
    """Return this process's shared Tap of that name; make it if there is none, or it is closed.

    options: those of ``Tap``. The first call's options count. A later call may leave them out, or
    repeat some. An option that differs is an error, since it would have no effect: fields that one
    library wants redacted would be offered in clear.

    A forked child shares the Tap of its parent, as a lane of its own.

    Raises ValueError for an option that differs, and what ``Tap`` raises.
    """
    kept = {key: _kept(value) for key, value in options.items()}
    with _making:
        tap, made_with = _taps.get(name, (None, _DEFAULTS))
        if tap is None or tap.closed:
            tap = Tap(name, **kept)
            _taps[name] = tap, {**_DEFAULTS, **kept}
            return tap
    differing = _differing(made_with, kept)
    if differing:
        raise ValueError(
            f"the Tap {name!r} of this process was made with another {' and '.join(differing)}; "
            f"leave that out, or call get_tap before the code that made it"
        )
    return tap


def _kept(value: Any) -> Any:
    """An option's value that can be read more than once."""
    if isinstance(value, Mapping):
        return {key: _kept(each) for key, each in value.items()}
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _differing(made_with: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """The options in ``asked`` that differ from those that a Tap was made with."""
    unknown = asked.keys() - _DEFAULTS.keys()
    if unknown:
        raise TypeError(f"Tap has no option {', '.join(sorted(unknown))}")
    meant = {key: _meaning({**made_with, key: value}, key) for key, value in asked.items()}
    return [key for key, value in meant.items() if value != _meaning(made_with, key)]


def _meaning(options: dict[str, Any], key: str) -> object:
    """What an option comes to: kinds, what is redacted and what is recorded have many spellings."""
    if key == "recorder":
        return sizes_of(options["recorder"], options["recorder_bytes"])
    if key not in ("stages", "redact"):
        return options[key]
    return describe(without(make_stages(options["stages"] or {}), options["redact"]))


def _forget_the_lock() -> None:
    global _making
    _making = RLock()  # a thread that is not here may hold it


after_fork_in_child(_forget_the_lock)
