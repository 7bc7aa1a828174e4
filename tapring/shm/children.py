"""The forked children of engines that are no lanes yet, as /proc shows them.

A forked child becomes a lane at its first batch, and costs nothing before that. So nothing of it is
in shared memory, and the kernel has to be asked: a process that has the command line of its parent,
and started when that was a lane already, was forked from it and has not replaced itself since.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

_PROC: Final = "/proc"
_PARENT, _STARTED = 1, 19  # fields of /proc/PID/stat behind the name, which may hold anything
_TICK_S: Final = 1 / 50  # as coarse as an age may be


class _Process(NamedTuple):
    parent: int
    age_s: float


def forked_children(lanes: Mapping[int, float]) -> dict[int, int]:
    """Return, for each pid of ``lanes``, how many forked children have no lane.

    lanes: the age in seconds of the lane of each process. Grandchildren count for the nearest
    process that is a lane. Without a /proc, nothing is known: 0.
    """
    found = dict.fromkeys(lanes, 0)
    there = _processes()
    for pid, process in there.items():
        if pid not in lanes:
            lane = _forked_from(pid, process, there, lanes)
            if lane is not None:
                found[lane] += 1
    return found


def _forked_from(
    pid: int, process: _Process, there: Mapping[int, _Process], lanes: Mapping[int, float]
) -> int | None:
    """The lane that a process was forked from; None if there is none."""
    ancestor = process.parent
    while ancestor in there and ancestor not in lanes:
        ancestor = there[ancestor].parent
    if ancestor not in there or process.age_s > lanes[ancestor] + _TICK_S:
        return None
    command = _command(pid)
    return ancestor if command and command == _command(ancestor) else None


def _processes() -> dict[int, _Process]:
    found: dict[int, _Process] = {}
    with suppress(OSError, ValueError):
        up_s = float(_read("uptime").split()[0])
        ticks_a_s = os.sysconf("SC_CLK_TCK")
        for name in os.listdir(_PROC):
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    fields = _read(f"{name}/stat").rpartition(b")")[2].split()
                    age_s = up_s - int(fields[_STARTED]) / ticks_a_s
                    found[int(name)] = _Process(int(fields[_PARENT]), age_s)
    return found


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return _read(f"{pid}/cmdline")
    return b""


def _read(name: str) -> bytes:
    with open(f"{_PROC}/{name}", "rb") as file:
        return file.read()
