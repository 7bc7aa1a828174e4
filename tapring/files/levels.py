"""How severe an event is, by the names and the numbers that loggers write: ``error``, 50, 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

TRACE: Final = "trace"
DEBUG: Final = "debug"
INFO: Final = "info"
WARNING: Final = "warning"
ERROR: Final = "error"
FATAL: Final = "fatal"

_WORDS: Final = {
    TRACE: ("trace", "trc", "finest", "finer", "silly", "verbose", "vrb"),
    DEBUG: ("debug", "dbg", "d", "fine"),
    INFO: ("info", "inf", "i", "information", "informational", "notice", "success", "default"),
    WARNING: ("warning", "warn", "wrn", "w"),
    ERROR: ("error", "err", "e", "severe", "failure"),
    FATAL: (
        "fatal", "ftl", "f", "critical", "crit", "alert", "emerg", "emergency", "panic", "dpanic",
    ),
}  # fmt: skip
_OF_WORD: Final = {word: level for level, words in _WORDS.items() for word in words}
_SYSLOG: Final = (FATAL, FATAL, FATAL, ERROR, WARNING, INFO, INFO, DEBUG)
_PYTHON: Final = {10: DEBUG, 20: INFO, 30: WARNING, 40: ERROR, 50: FATAL}
_PINO: Final = {10: TRACE, 20: DEBUG, 30: INFO, 40: WARNING, 50: ERROR, 60: FATAL}
_OTEL: Final = (TRACE, DEBUG, INFO, WARNING, ERROR, FATAL)  # four numbers each, from 1 on

_KEYS: Final = (
    "level", "severity", "levelname", "log.level", "loglevel", "log_level", "lvl", "severitytext",
    "severity_text", "levelno", "severitynumber", "severity_number", "priority",
)  # fmt: skip
"""The fields that tell it, in lower case, the most telling one first."""


class Level(NamedTuple):
    """How severe an event is, and the field that says so."""

    key: str
    name: str


def level_of(event: Mapping[Any, Any], keys: Mapping[str, str]) -> Level | None:
    """The level of an event; None if no field tells one.

    keys: the event's own names of its fields, by their lower case. A field called ``log`` may hold
    the level, as in the Elastic Common Schema.
    """
    for known in _KEYS:
        if known in keys:
            name = _name_of(known, event[keys[known]], of_syslog=_is_of_syslog(known, keys))
            if name is not None:
                return Level(keys[known], name)
    nested = event.get("log")
    if isinstance(nested, dict):
        name = _name_of("level", nested.get("level"), of_syslog=False)
        if name is not None:
            return Level("log", name)
    return None


def level_of_word(word: str) -> str | None:
    """The level that a word means, whatever its case; None if it means none."""
    return _OF_WORD.get(word.lower())


def _is_of_syslog(key: str, keys: Mapping[str, str]) -> bool:
    """Whether the numbers in a field are those of syslog, 0 (the worst) to 7.

    journald has PRIORITY, and GELF a level beside its short_message. Other programs have
    priorities and levels with other meanings.
    """
    if key == "priority":
        return keys[key] == "PRIORITY"
    return key == "severity" or (key == "level" and "short_message" in keys)


def _name_of(key: str, value: object, *, of_syslog: bool) -> str | None:
    """The level that ``value`` means in a field called ``key``; None if it means none.

    Numbers differ: Python's ``levelno`` 30 is a warning, the ``level`` 30 of pino and bunyan is
    not.
    """
    if isinstance(value, str):
        word = value.strip().lower()
        if not (word.isascii() and word.isdigit() and len(word) < 3):
            return _OF_WORD.get(word)
        value = int(word)
    if type(value) is not int:
        return None
    if key in ("severitynumber", "severity_number"):
        return _OTEL[(value - 1) // 4] if 1 <= value <= 24 else None
    if key == "levelno":
        return _PYTHON.get(value)
    if of_syslog:
        return _SYSLOG[value] if 0 <= value < len(_SYSLOG) else None
    return _PINO.get(value) if key != "priority" else None
