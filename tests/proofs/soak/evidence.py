"""Reads back what a round left behind: of each lane, each consumer and each session.

It judges nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tapring.consumer.intake import AT_MOST_ONCE

from . import events, witness
from .plan import Reading

Got = tuple[int | None, list[events.Run]]
"""What a consumer was given at once: the events missed before, if it was told of them; the runs."""


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
    began_ns: int = 0  # from before a worker had a lane
    ready_ns: int = 0  # when it had one
    looked_ns: int = 0  # when a worker had looked for sessions for its first batch
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
    stream: list[Got]
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
    asked: dict[int, int]  # when each of its requests began to stand, by epoch
    open: dict[str, Any] | None
    got: list[Got]
    closing_ns: int | None  # when it was about to close its session
    end: dict[str, Any] | None
    failure: dict[str, Any] | None


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
            began_ns=said["began"][0]["at_ns"] if "began" in said else 0,
            ready_ns=ready["ns"],
            looked_ns=said["looked"][0]["ns"] if "looked" in said else 0,
            unit=ready["unit"],
            blind="blind" in said,
            endured=said["endured"][0] if "endured" in said else None,
        )


def consumer(name: str, reading: Reading, killed: bool, place: Path, pid: int) -> Consumer:
    """What the consumer ``name`` of a round logged."""
    found = Consumer(name, reading, killed, [], {}, None, [], None, None, None)
    for record in witness.records(place / f"{pid}.log"):
        what = record["what"]
        if what == "made":
            found.made.append((record["lane"], record["id"]))
        elif what == "asked":
            found.asked[record["request"]] = record["ns"]
        elif what == "open":
            found.open = record
        elif what == "got":
            found.got.append((record["missed"], record["runs"]))
        elif what == "closing":
            found.closing_ns = record["ns"]
        elif what == "end":
            found.end = record
        else:  # "refused", "failed"
            found.failure = record
    if reading.orders.way == "command":
        _read_output(found, place / f"{pid}.out", place / f"{pid}.err")
    return found


def parts(
    consumer: Consumer, batch: int, requested: Mapping[int, list[tuple[str, int]]]
) -> Iterable[tuple[str, int, Part]]:
    """What ``consumer`` did, by lane and session.

    requested: the lanes and sessions that were opened for each request.
    """
    orders = consumer.reading.orders
    at_most_once = orders.delivery == AT_MOST_ONCE or orders.way == "command"
    clean = not consumer.killed and (at_most_once or orders.handled)
    bound = batch + (orders.ask if orders.way == "read" and at_most_once else 0)
    streams = _by_lane(consumer.got)
    for (lane, number), (start, ns) in _sessions(consumer, requested).items():
        stream = streams.get(int(lane, 16), [])
        yield lane, number, Part(consumer.name, ns, start, stream, clean, at_most_once, bound)


def counts(stats: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a consumer's account, without its lanes."""
    return {name: each for name, each in stats.items() if not name.startswith("lanes")}


def _by_lane(got: list[Got]) -> dict[int, list[Got]]:
    found: dict[int, list[Got]] = {}
    for missed, runs in got:
        mine: dict[int, list[events.Run]] = {}
        for run in runs:
            mine.setdefault(run[0], []).append(run)
        for lane, each in mine.items():
            found.setdefault(lane, []).append((missed, each))
    return found


def _sessions(
    consumer: Consumer, requested: Mapping[int, list[tuple[str, int]]]
) -> dict[tuple[str, int], tuple[Position, int]]:
    """The sessions that ``consumer`` read or was about to read: where and when it began to."""
    mine = [session for request in consumer.asked for session in requested.get(request, ())]
    if not consumer.reading.orders.keep:  # a kept one may be another consumer's by now
        mine += consumer.made
    found = {session: (Position(0, 0, 0), 0) for session in mine}
    if consumer.open is not None:
        for each in consumer.open["sessions"]:
            start = Position(each["released"], each["missed"], each["abandoned"])
            found[each["lane"], each["id"]] = start, consumer.open["ns"]
    return found


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
