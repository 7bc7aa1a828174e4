"""Reads back what a round left behind: of each lane, each consumer and each session.

It judges nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tapring.consumer.intake import AT_MOST_ONCE

from . import events, witness
from .plan import Reading


class Lane(msgspec.Struct):
    """A process of an engine."""

    pid: int
    lane: str
    threads: int
    batch: int
    descriptors: int
    memory: int
    ups: dict[int, dict[str, int]]
    downs: dict[int, dict[str, int]]
    handles: list[int]
    end: dict[str, int] | None
    vanished: bool
    workers: dict[int, int]  # how those that it forked have ended
    words: list[int]
    unit: int = 1
    blind: bool = False  # whether it has closed its descriptors, so that it looks dead
    endured: dict[str, Any] | None = None  # how often it met each ordeal, and what went wrong

    @property
    def may_overlook(self) -> bool:
        """Whether a session can have come and gone between two batches of its main thread."""
        return self.threads > 1


class Position(msgspec.Struct, frozen=True):
    """The words of the consumer's page of a ring, at some moment."""

    released: int
    missed: int
    abandoned: int


class Part(msgspec.Struct):
    """What one consumer did with one session. ``bound``: the most events it had in flight."""

    who: str
    opened_ns: int
    start: Position
    stream: list[tuple[int | None, list[events.Run]]]
    clean: bool
    at_most_once: bool
    bound: int

    @property
    def logged(self) -> int:
        """The number of events that it was given."""
        return sum(events.size(run) for _, runs in self.stream for run in runs)


class Consumer(msgspec.Struct):
    """A consumer process: what it logged, and how it ended."""

    name: str
    reading: Reading
    killed: bool
    made: list[tuple[str, int]]
    open: dict[str, Any] | None
    got: list[tuple[int | None, list[events.Run]]]
    end: dict[str, Any] | None
    failure: dict[str, Any] | None

    def lanes(self) -> list[str]:
        """The lanes that it read or was about to read."""
        if self.open is None:
            return [lane for lane, _ in self.made]
        return [session["lane"] for session in self.open["sessions"]]


def lanes(place: Path) -> list[Lane]:
    """The lanes whose processes logged in ``place``."""
    found = []
    for path in sorted(place.glob("*.lane")):
        lane = _lane(path)
        if lane is not None:
            found.append(lane)
    return found


def _lane(path: Path) -> Lane | None:
    said: dict[str, list[dict[str, Any]]] = {}
    for record in witness.records(path):
        said.setdefault(record["what"], []).append(record)
    if "ready" not in said:
        return None
    ready = said["ready"][0]
    with memoryview(path.with_suffix(".words").read_bytes()) as raw, raw.cast("Q") as words:
        return Lane(
            pid=ready["pid"],
            lane=ready["lane"],
            threads=ready["threads"],
            batch=ready["batch"],
            descriptors=ready["descriptors"],
            memory=ready["memory"],
            ups={record["id"]: record for record in said.get("up", ())},
            downs={record["id"]: record for record in said.get("down", ())},
            handles=[record["id"] for record in said.get("handle", ())],
            end=said["end"][0] if "end" in said else None,
            vanished="vanish" in said,
            workers={record["pid"]: record["status"] for record in said.get("worker", ())},
            words=list(words),
            unit=ready["unit"],
            blind="blind" in said,
            endured=said["endured"][0] if "endured" in said else None,
        )


def consumer(name: str, reading: Reading, killed: bool, place: Path, pid: int) -> Consumer:
    """What the consumer ``name`` of a round logged."""
    found = Consumer(name, reading, killed, [], None, [], None, None)
    for record in witness.records(place / f"{pid}.log"):
        what = record["what"]
        if what == "made":
            found.made.append((record["lane"], record["id"]))
        elif what == "open":
            found.open = record
        elif what == "got":
            found.got.append((record["missed"], record["runs"]))
        elif what == "end":
            found.end = record
        else:  # "refused", "failed"
            found.failure = record
    if reading.orders.way == "command":
        _read_output(found, place / f"{pid}.out", place / f"{pid}.err")
    return found


def parts(consumer: Consumer, batch: int) -> Iterable[tuple[str, int, Part]]:
    """What ``consumer`` did, by lane and session."""
    orders = consumer.reading.orders
    if orders.way == "command":
        sessions = [(lane, number, Position(0, 0, 0), 0) for lane, number in consumer.made]
    elif consumer.open is not None:
        ns = consumer.open["ns"]
        sessions = [
            (s["lane"], s["id"], Position(s["released"], s["missed"], s["abandoned"]), ns)
            for s in consumer.open["sessions"]
        ]
    else:
        return
    at_most_once = orders.delivery == AT_MOST_ONCE or orders.way == "command"
    clean = not consumer.killed and (at_most_once or orders.handled)
    bound = batch + (orders.ask if orders.way == "read" and at_most_once else 0)
    for lane, number, start, ns in sessions:
        mine = int(lane, 16)
        stream = [(m, [run for run in runs if run[0] == mine]) for m, runs in consumer.got]
        stream = [(m, runs) for m, runs in stream if runs]
        yield lane, number, Part(consumer.name, ns, start, stream, clean, at_most_once, bound)


def _read_output(found: Consumer, output: Path, errors: Path) -> None:
    """What ``tapring attach`` wrote to its file, and its summary."""
    if not output.exists():  # it was killed
        output = output.with_name(f"{output.name}.part")
    if output.exists():
        lines = [
            line for line in output.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"
        ]
        kind, decoded = _as_events(found.reading.orders.stage, lines)
        found.got = [(None, events.runs(kind, decoded))]
    for line in errors.read_bytes().splitlines() if errors.exists() else ():
        if line.startswith(b'{"tapring_summary"'):
            summary = msgspec.json.decode(line)["tapring_summary"]
            found.end = {"by": summary["ended_by"], "stats": summary, "handled": True}
        else:
            found.failure = {"error": "", "message": line.decode()}


def _as_events(stage: str, lines: list[bytes]) -> tuple[str, list[Any]]:
    decoded = [msgspec.json.decode(line) for line in lines]
    if stage == "raw":
        return "lines", [each["line"].encode() for each in decoded]
    if stage == "blob":
        return "bytes", [base64.b64decode(each["base64"]) for each in decoded]
    return "json", decoded
