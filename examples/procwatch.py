"""Watches this machine's processes: what starts, ends, uses CPU, memory and disk.

A small real engine. Each interval it scans, writes what it saw as lines, decodes the lines in
one batch, and evaluates a handful of rules on the events. It is useful alone (it prints what the
rules found) and shows how an engine offers its stages: ``raw`` lines, ``decoded`` events and its
own ``detections``.

    python examples/procwatch.py
    python -m tapring.attach procwatch
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

import tapring

Event = dict[str, Any]

_MIB = 1 << 20
_FIELD = re.compile(rb'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ ]*)')
_SHELLS = {"sh", "bash", "dash", "zsh", "fish"}
_SERVERS = {"nginx", "apache2", "httpd", "postgres", "redis-server", "mysqld", "sshd-session"}
_BURST = 20  # processes started between two scans


@dataclass(frozen=True, slots=True)
class Limits:
    """What the rules take for much."""

    cpu_percent: float = 80.0
    memory_mib: float = 1024.0
    disk_mib_s: float = 50.0


@dataclass(slots=True)
class Seen:
    """What is remembered of a process from scan to scan."""

    name: str
    cpu_s: float
    written: int
    rss: int


@dataclass(slots=True)
class Watcher:
    """Turns what psutil sees into lines, one observation a line."""

    seen: dict[tuple[int, float], Seen] = field(default_factory=dict)
    last: float | None = None

    def scan(self) -> list[bytes]:
        """The lines of one scan: ``start``, ``end`` and ``usage`` of processes."""
        now, tick = time.time(), time.monotonic()
        elapsed = 0.0 if self.last is None else max(tick - self.last, 1e-3)
        lines: list[bytes] = []
        alive: dict[tuple[int, float], Seen] = {}
        for info in _processes():
            key = info["pid"], info["create_time"]
            fresh = _seen(info)
            before = self.seen.get(key)
            alive[key] = fresh
            if before is None and self.last is not None:
                lines.append(_start_line(now, info))
            elif before is not None:
                lines += _usage_line(now, info["pid"], before, fresh, elapsed)
        for key in self.seen.keys() - alive.keys():
            lines.append(line(now, "end", pid=key[0], name=self.seen[key].name))
        self.seen, self.last = alive, tick
        return lines


def line(now: float, what: str, **fields: Any) -> bytes:
    """``TIME WHAT key=value ...``; text is quoted as in JSON, so no line holds a newline."""
    pairs = (f"{k}={json.dumps(v) if isinstance(v, str) else v}" for k, v in fields.items())
    return f"{now:.3f} {what} {' '.join(pairs)}".encode()


def decode(raw: bytes) -> Event | None:
    """The event that a line tells of; None where it cannot be parsed."""
    head, _, rest = raw.partition(b" ")
    what, _, pairs = rest.partition(b" ")
    try:
        event: Event = {"time": float(head), "event": what.decode()}
        for key, value in _FIELD.findall(pairs):
            event[key.decode()] = json.loads(value)
    except ValueError:
        return None
    return event


def evaluate(events: list[Event], limits: Limits) -> list[Event]:
    """What the rules find in a batch of events."""
    found = [hit for event in events for rule in RULES if (hit := rule(event, limits))]
    starts = [event for event in events if event["event"] == "start"]
    if len(starts) >= _BURST:
        found.append(_hit("process-burst", "low", starts[-1], f"{len(starts)} started at once"))
    return found


def cpu_hog(event: Event, limits: Limits) -> Event | None:
    """A process that uses more of a core than allowed."""
    if event.get("cpu", 0.0) < limits.cpu_percent:
        return None
    return _hit("cpu-hog", "medium", event, f"{event['cpu']:.0f} % of a core")


def memory_hog(event: Event, limits: Limits) -> Event | None:
    """A process that holds more memory than allowed."""
    mib = event.get("rss", 0) / _MIB
    if event["event"] != "usage" or mib < limits.memory_mib:
        return None
    return _hit("memory-hog", "medium", event, f"{mib:,.0f} MiB resident")


def disk_writer(event: Event, limits: Limits) -> Event | None:
    """A process that writes more to disk than allowed."""
    rate = event.get("written_s", 0.0) / _MIB
    if rate < limits.disk_mib_s:
        return None
    return _hit("disk-writer", "low", event, f"writes {rate:,.0f} MiB a second")


def shell_of_server(event: Event, _limits: Limits) -> Event | None:
    """A shell that a server started."""
    if event["event"] != "start" or event.get("name") not in _SHELLS:
        return None
    if event.get("parent") not in _SERVERS:
        return None
    return _hit("shell-of-server", "high", event, f"started by {event['parent']}")


def deleted_program(event: Event, _limits: Limits) -> Event | None:
    """A process that started from a file which is gone."""
    if event["event"] != "start" or not str(event.get("exe", "")).endswith(" (deleted)"):
        return None
    return _hit("deleted-program", "high", event, event["exe"])


RULES: tuple[Callable[[Event, Limits], Event | None], ...] = (
    cpu_hog,
    memory_hog,
    disk_writer,
    shell_of_server,
    deleted_program,
)


def watch(args: argparse.Namespace, stop: threading.Event) -> None:
    """Scan, decode, evaluate and offer until ``stop`` is set or ``--count`` scans are done."""
    limits = Limits(args.cpu, args.memory, args.disk)
    watcher, scans, unparsed = Watcher(), 0, 0
    with tapring.Tap(args.name, stages={"detections": "json"}) as tap:
        while not stop.is_set():
            lines = watcher.scan()
            watched = tap.snapshot()
            if watched:
                watched.offer("raw", lines)
            decoded = [decode(each) for each in lines]
            events = [event for event in decoded if event is not None]
            unparsed += len(decoded) - len(events)
            found = evaluate(events, limits)
            if watched:
                watched.offer("decoded", events)
                watched.offer("detections", found)
            if not args.quiet:
                _report(found)
            scans += 1
            if args.count and scans >= args.count:
                break
            stop.wait(args.interval)
    if unparsed:
        print(f"procwatch: {unparsed} lines could not be parsed", file=sys.stderr)


def main() -> None:
    """Watch until interrupted."""
    parser = argparse.ArgumentParser(description="Watch this machine's processes.")
    parser.add_argument("--name", default="procwatch", help="name to be tapped by (%(default)s)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between scans")
    parser.add_argument("--count", type=int, default=0, help="stop after so many scans")
    parser.add_argument("--quiet", action="store_true", help="do not print detections")
    parser.add_argument("--cpu", type=float, default=80.0, help="percent of a core that is much")
    parser.add_argument("--memory", type=float, default=1024.0, help="MiB that are much")
    parser.add_argument("--disk", type=float, default=50.0, help="MiB/s written that are much")
    args = parser.parse_args()
    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    watch(args, stop)


def _processes() -> Iterator[dict[str, Any]]:
    attrs = ["pid", "ppid", "name", "username", "create_time", "cpu_times", "memory_info"]
    for process in psutil.process_iter([*attrs, "io_counters", "exe", "cmdline"]):
        yield process.info


def _seen(info: dict[str, Any]) -> Seen:
    cpu, memory, disk = info["cpu_times"], info["memory_info"], info["io_counters"]
    return Seen(
        name=info["name"] or "?",
        cpu_s=cpu.user + cpu.system if cpu else 0.0,
        written=disk.write_bytes if disk else 0,
        rss=memory.rss if memory else 0,
    )


def _start_line(now: float, info: dict[str, Any]) -> bytes:
    try:
        parent = psutil.Process(info["ppid"]).name() if info["ppid"] else ""
    except psutil.Error:
        parent = ""
    return line(
        now,
        "start",
        pid=info["pid"],
        ppid=info["ppid"],
        name=info["name"] or "?",
        parent=parent,
        user=info["username"] or "?",
        exe=info["exe"] or "",
        cmd=" ".join(info["cmdline"] or [])[:500],
    )


def _usage_line(now: float, pid: int, before: Seen, fresh: Seen, elapsed: float) -> list[bytes]:
    cpu = 100 * max(0.0, fresh.cpu_s - before.cpu_s) / elapsed
    written = max(0, fresh.written - before.written) / elapsed
    if cpu < 1 and written < _MIB and abs(fresh.rss - before.rss) < _MIB:
        return []
    return [
        line(
            now,
            "usage",
            pid=pid,
            name=fresh.name,
            cpu=round(cpu, 1),
            rss=fresh.rss,
            written_s=round(written),
        )
    ]


def _hit(rule: str, severity: str, event: Event, reason: str) -> Event:
    return {
        "time": event["time"],
        "rule": rule,
        "severity": severity,
        "pid": event.get("pid"),
        "name": event.get("name"),
        "reason": reason,
    }


def _report(found: list[Event]) -> None:
    for hit in found:
        clock = time.strftime("%H:%M:%S", time.localtime(hit["time"]))
        print(
            f"{clock} {hit['severity']:6} {hit['rule']:16} {hit['name']}[{hit['pid']}]: "
            f"{hit['reason']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
