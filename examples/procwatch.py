"""Watches this machine's processes: their starts and ends, and their use of CPU, memory and disk.

A small real engine. At each interval it scans the processes, writes its observations as lines,
decodes the lines in one batch, and evaluates a handful of rules on the events. It is useful alone
(it prints what the rules found) and shows how an engine offers its stages: ``raw`` lines,
``decoded`` events and its own ``detections``. The first scan only records what is already running.
Processes that live shorter than the interval are missed.

    python examples/procwatch.py
    python -m tapring.attach procwatch
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

import tapring

Event = dict[str, Any]

_MIB = 1 << 20
_FIELD = re.compile(rb'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ ]*)')
_SHELLS = {"sh", "bash", "dash", "zsh", "fish"}
_SERVERS = {
    "nginx",
    "apache2",
    "httpd",
    "php-fpm",
    "postgres",
    "mysqld",
    "mariadbd",
    "redis-server",
}
_BURST = 20  # processes started between two scans
_CHEAP = ["ppid", "name", "create_time", "cpu_times", "memory_info", "io_counters"]
_STOP = {signal.SIGINT, signal.SIGTERM}


@dataclass(frozen=True, slots=True)
class Limits:
    """The values at which the rules report a process."""

    cpu_percent: float = 80.0
    memory_mib: float = 1024.0
    disk_mib_s: float = 50.0


@dataclass(slots=True)
class Seen:
    """What is remembered about a process from scan to scan."""

    name: str
    cpu_s: float
    written: int
    rss: int
    gone: str  # the path of its program, if that file was deleted


@dataclass(slots=True)
class Watcher:
    """Turns what psutil sees into lines, one observation per line."""

    seen: dict[tuple[int, float], Seen] = field(default_factory=dict)
    last: float | None = None

    def scan(self) -> list[bytes]:
        """The lines of one scan: ``start``, ``end``, ``usage`` and ``deleted`` of processes."""
        now, tick = time.time(), time.monotonic()
        elapsed = 0.0 if self.last is None else max(tick - self.last, 1e-3)
        lines: list[bytes] = []
        alive: dict[tuple[int, float], Seen] = {}
        for process in psutil.process_iter(_CHEAP):
            key = process.pid, process.info["create_time"]
            before, fresh = self.seen.get(key), _seen(process)
            alive[key] = fresh
            if self.last is None:
                continue
            if before is None:
                lines.append(_start_line(now, process, fresh))
            else:
                lines += _usage_line(now, process.pid, before, fresh, elapsed)
            if fresh.gone and not (before and before.gone):
                lines.append(line(now, "deleted", pid=key[0], name=fresh.name, exe=fresh.gone))
        for key in self.seen.keys() - alive.keys():
            lines.append(line(now, "end", pid=key[0], name=self.seen[key].name))
        self.seen, self.last = alive, tick
        return lines


def line(now: float, what: str, **fields: Any) -> bytes:
    """``TIME WHAT key=value ...``; text is quoted as in JSON, so no line holds a newline."""
    pairs = (f"{k}={json.dumps(v) if isinstance(v, str) else v}" for k, v in fields.items())
    return f"{now:.3f} {what} {' '.join(pairs)}".encode()


def decode(raw: bytes) -> Event | None:
    """The event that a line describes; None if it cannot be parsed.

    A line holds bytes that are not valid UTF-8 as surrogates, which JSON does not allow: the event
    has them as ``\\udcff``.
    """
    head, _, rest = raw.partition(b" ")
    what, _, pairs = rest.partition(b" ")
    try:
        event: Event = {"time": float(head), "event": what.decode()}
        for key, value in _FIELD.findall(pairs):
            text = json.loads(value)
            if isinstance(text, str):
                text = text.encode("utf-8", "backslashreplace").decode()
            event[key.decode()] = text
    except ValueError:
        return None
    return event


def evaluate(events: list[Event], limits: Limits) -> list[Event]:
    """The rules' detections in a batch of events."""
    found = [hit for event in events for rule in RULES if (hit := rule(event, limits))]
    starts = [event for event in events if event["event"] == "start"]
    if len(starts) >= _BURST:
        found.append(_hit("process-burst", "low", starts[-1], f"{len(starts)} started at once"))
    return found


def cpu_hog(event: Event, limits: Limits) -> Event | None:
    """A process that uses more of a core than allowed."""
    if event["event"] != "usage" or event["cpu"] < limits.cpu_percent:
        return None
    return _hit("cpu-hog", "medium", event, f"{event['cpu']:.0f} % of a core")


def memory_hog(event: Event, limits: Limits) -> Event | None:
    """A process that holds more memory than allowed."""
    if event["event"] != "usage" or event["rss"] < limits.memory_mib * _MIB:
        return None
    return _hit("memory-hog", "medium", event, f"{event['rss'] / _MIB:,.0f} MiB resident")


def disk_writer(event: Event, limits: Limits) -> Event | None:
    """A process that writes more to disk than allowed."""
    if event["event"] != "usage" or event["written_s"] < limits.disk_mib_s * _MIB:
        return None
    return _hit("disk-writer", "low", event, f"{event['written_s'] / _MIB:,.0f} MiB a second")


def shell_of_server(event: Event, _limits: Limits) -> Event | None:
    """A shell started by a server."""
    if event["event"] != "start" or event.get("name") not in _SHELLS:
        return None
    if event.get("parent") not in _SERVERS:
        return None
    return _hit("shell-of-server", "high", event, f"started by {event['parent']}")


def deleted_program(event: Event, _limits: Limits) -> Event | None:
    """A process whose program file is gone, or never existed (memfd)."""
    if event["event"] != "deleted":
        return None
    return _hit("deleted-program", "high", event, event["exe"])


Rule = Callable[[Event, Limits], Event | None]
RULES: tuple[Rule, ...] = (cpu_hog, memory_hog, disk_writer, shell_of_server, deleted_program)


def watch(tap: tapring.Tap, args: argparse.Namespace) -> None:
    """Scan, decode, evaluate and offer until a signal arrives or ``--count`` scans are done."""
    limits = Limits(args.cpu, args.memory, args.disk)
    watcher, scans, unparsed = Watcher(), 0, 0
    while True:
        lines = watcher.scan()
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", lines)
        events = [event for each in lines if (event := decode(each)) is not None]
        unparsed += len(lines) - len(events)
        found = evaluate(events, limits)
        if watched:
            watched.offer("decoded", events)
            watched.offer("detections", found)
        if not args.quiet:
            _report(found)
        scans += 1
        # The signals are blocked and only received here, so none interrupts a scan or an offer.
        if scans == args.count or signal.sigtimedwait(_STOP, args.interval):
            break
    if unparsed:
        print(f"procwatch: {unparsed} lines could not be parsed", file=sys.stderr)


def main() -> None:
    """Watch until interrupted."""
    parser = argparse.ArgumentParser(description="Watch this machine's processes.")
    parser.add_argument("--name", default="procwatch", help="engine name for the tap (%(default)s)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between scans")
    parser.add_argument("--count", type=int, default=0, help="stop after this many scans")
    parser.add_argument("--quiet", action="store_true", help="do not print detections")
    parser.add_argument("--cpu", type=float, default=80.0, help="report at this percent of a core")
    parser.add_argument("--memory", type=float, default=1024.0, help="report at this many MiB")
    parser.add_argument("--disk", type=float, default=50.0, help="report at this many MiB/s")
    args = parser.parse_args()
    if not 0 <= args.interval <= 86_400:
        parser.error("--interval is not between 0 and 86400 seconds")
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        tap = tapring.Tap(args.name, stages={"detections": "json"})
    except ValueError as error:
        parser.error(str(error))
    try:
        with tap:
            watch(tap, args)
    except BrokenPipeError:  # the reader of our output has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _seen(process: psutil.Process) -> Seen:
    info = process.info
    cpu, memory, disk = info["cpu_times"], info["memory_info"], info["io_counters"]
    return Seen(
        name=info["name"] or "?",
        cpu_s=cpu.user + cpu.system if cpu else 0.0,
        written=disk.write_bytes if disk else 0,
        rss=memory.rss if memory else 0,
        gone=_gone(process.pid),
    )


def _gone(pid: int) -> str:
    try:
        path = os.readlink(f"/proc/{pid}/exe")  # psutil's exe() does not say so
    except OSError:
        return ""
    return path if path.endswith(" (deleted)") and not os.path.lexists(path) else ""


def _start_line(now: float, process: psutil.Process, fresh: Seen) -> bytes:
    more: dict[str, Any] = {}
    parent, ppid = "", process.info["ppid"] or 0
    with suppress(psutil.Error):
        more = process.as_dict(["username", "exe", "cmdline"])
    with suppress(psutil.Error):
        parent = psutil.Process(ppid).name() if ppid else ""
    user, exe = more.get("username") or "?", more.get("exe") or ""
    cmd = " ".join(more.get("cmdline") or [])[:500]
    about = {"name": fresh.name, "parent": parent, "user": user, "exe": exe, "cmd": cmd}
    return line(now, "start", pid=process.pid, ppid=ppid, **about)


def _usage_line(now: float, pid: int, before: Seen, fresh: Seen, elapsed: float) -> list[bytes]:
    cpu = 100 * max(0.0, fresh.cpu_s - before.cpu_s) / elapsed
    written = max(0, fresh.written - before.written) / elapsed
    if cpu < 1 and written < _MIB and abs(fresh.rss - before.rss) < _MIB:
        return []
    used = {"cpu": round(cpu, 1), "rss": fresh.rss, "written_s": round(written)}
    return [line(now, "usage", pid=pid, name=fresh.name, **used)]


def _hit(rule: str, severity: str, event: Event, reason: str) -> Event:
    who = {"pid": event.get("pid"), "name": event.get("name")}
    return {"time": event["time"], "rule": rule, "severity": severity, **who, "reason": reason}


def _report(found: list[Event]) -> None:
    for hit in found:
        clock = time.strftime("%H:%M:%S", time.localtime(hit["time"]))
        text = f"{hit['severity']:6} {hit['rule']:16} {hit['name']}[{hit['pid']}]: {hit['reason']}"
        # A process chooses its own name; it must not send control characters to the terminal.
        print(clock, text if text.isprintable() else json.dumps(text), flush=True)


if __name__ == "__main__":
    main()
