"""Plots of the results: ``python -m benchmarks.plots RESULTS.json ... --to FOLDER``.

If several files have values of the same name, the last file's are used. What was not measured is
not drawn.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .drawing import (
    COLOURS,
    Line,
    Row,
    Values,
    bars,
    beside,
    both_logarithmic,
    dots,
    embolden,
    figure,
    lines,
    marks,
    number,
)
from .peers.catalogue import PEERS

OURS = "tapring"
PER_EVENT = ", per event"
BATCHED, SINGLE = "a batch of 64 as one message", "an event at a time"
BACKGROUND = {peer.name: peer.in_background for peer in PEERS if peer.in_background}
CONSUMERS = ("fast", "slow", "stalled", "absent")
SHARES = ("p50", "p99", "p99.9")


@dataclass(frozen=True, slots=True)
class Measured:
    """The values of a run by figure, unit and name; the reasons for skipping; where it ran."""

    values: dict[tuple[str, str, str], Values]
    skipped: list[str]
    place: str

    def of(self, name: str, unit: str, prefix: str = "") -> dict[str, Values]:
        """A figure's values in ``unit`` whose names begin with ``prefix``, which is removed."""
        return {
            what.removeprefix(prefix): values
            for (figure_, unit_, what), values in self.values.items()
            if (figure_, unit_) == (name, unit) and what.startswith(prefix)
        }


Draw = Callable[[Measured, Path], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    parser.add_argument("--to", type=Path, default=Path("bench-results"), metavar="FOLDER")
    arguments = parser.parse_args()
    measured = read(arguments.results)
    for draw in (producer, end_to_end, sizes, batches, sessions, consumers, engine, latency, lanes):
        draw(measured, arguments.to)
    print(f"plots: {arguments.to}")


def read(paths: Iterable[Path]) -> Measured:
    documents = [json.loads(path.read_text()) for path in paths]
    entries = [entry for document in documents for entry in document["results"]]
    values = {
        (entry["figure"], entry["unit"], entry["what"]): entry["values"]
        for entry in entries
        if "values" in entry
    }
    skipped = [entry["why"] for entry in entries if "why" in entry]
    return Measured(values, skipped, _place(documents[-1]))


def _place(document: dict[str, Any]) -> str:
    python = document["python"].split()[0]
    where = f"CPython {python}, {document['processor']}, {document['cores']} cores"
    return f"{where}. Medians of the repetitions; whiskers: their quartiles."


# ---- what a producer pays, and what arrives --------------------------------------------------


def producer(measured: Measured, folder: Path) -> None:
    taken = measured.of("compare", "ns/event", "producer: ")
    cpu = measured.of("compare", "ns/event", "its CPU: ")
    if not taken:
        return
    title = f"What a producer pays for a 206-byte event: {_compared(taken)} ns"
    with figure("producer", folder, title, measured.place, (8, 6.4)) as made:
        above, below = made.subplots(2, 1, sharex=True, height_ratios=_heights(taken))
        for axes, (what, rows) in zip((above, below), _groups(taken, cpu).items(), strict=True):
            bars(axes, rows, "", log=True)
            marks(axes, rows, "CPU time of the whole producer process")
            axes.set_title(what)
        below.set_xlabel("ns an event in the calling thread (logarithmic)")
        below.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 1.15))


def end_to_end(measured: Measured, folder: Path) -> None:
    rates = measured.of("compare", "M events/s", "end to end: ")
    if not rates:
        return
    title = f"From lists of bytes to lists of bytes: {_compared(rates)} M events/s"
    with figure("end-to-end", folder, title, measured.place, (8, 6.4)) as made:
        both = made.subplots(2, 1, height_ratios=_heights(rates))
        for axes, (what, rows) in zip(both, _groups(rates, {}).items(), strict=True):
            bars(axes, rows[::-1], "million events a second, none lost", log=False)
            axes.set_title(what)


def _groups(taken: dict[str, Values], cpu: dict[str, Values]) -> dict[str, list[Row]]:
    """Rows for batches and for single events, the smallest first."""
    rows: dict[str, list[Row]] = {BATCHED: [], SINGLE: []}
    for name, values in taken.items():
        mark = median(cpu[name]) if name in cpu else None
        row = Row(_label(name), values, name.startswith(OURS), mark)
        rows[SINGLE if name.endswith(PER_EVENT) else BATCHED].append(row)
    return {what: sorted(each, key=lambda row: row.median) for what, each in rows.items()}


def _label(name: str) -> str:
    peer = name.removesuffix(PER_EVENT)
    return f"{peer} ({BACKGROUND[peer]})" if peer in BACKGROUND else peer


def _heights(taken: dict[str, Values]) -> list[int]:
    per_event = sum(name.endswith(PER_EVENT) for name in taken)
    return [len(taken) - per_event, per_event]


def _compared(taken: dict[str, Values]) -> str:
    """Our value and the range of the others, sending batches."""
    batched = {name: median(each) for name, each in taken.items() if PER_EVENT not in name}
    ours = [value for name, value in batched.items() if name.startswith(OURS)]
    theirs = [value for name, value in batched.items() if not name.startswith(OURS)]
    told = f"tapring {number(ours[0])}"
    return f"{told}, others {number(min(theirs))} to {number(max(theirs))}" if theirs else told


# ---- by size or count ------------------------------------------------------------------------


def sizes(measured: Measured, folder: Path) -> None:
    title = "What a producer pays, by the size of an event"
    unit = "bytes of an event, in batches of 64 (fewer above 16 KiB)"
    _paid_by("sizes", title, unit, measured, folder)


def batches(measured: Measured, folder: Path) -> None:
    title = "What a producer pays, by the size of a batch"
    _paid_by("batches", title, "events of 206 bytes in a batch", measured, folder)


def _paid_by(name: str, title: str, unit: str, measured: Measured, folder: Path) -> None:
    """Draw the figure ``name`` against a number in ``unit``."""
    drawn = _lines(measured.of(name, "ns/event"))
    if not drawn:
        return
    with figure(name, folder, title, measured.place, (7, 4)) as made:
        axes = made.subplots()
        lines(axes, drawn)
        _by_number(axes, drawn, unit)


def _lines(taken: dict[str, Values]) -> list[Line]:
    """One line per way, from names such as ``faster-fifo, 64 B``."""
    points: dict[str, dict[float, Values]] = {}
    for name, values in taken.items():
        way, _, at = name.rpartition(", ")
        points.setdefault(way, {})[int(at.split()[0])] = values
    return [
        Line(_label(way), found, colour, way.startswith(OURS))
        for (way, found), colour in zip(points.items(), COLOURS, strict=False)
    ]


def _by_number(axes: Any, drawn: list[Line], what: str) -> None:
    both_logarithmic(axes, list(drawn[0].points))
    axes.set_xlabel(what)
    axes.set_ylabel("ns an event")


def sessions(measured: Measured, folder: Path) -> None:
    taken = measured.of("sessions", "ns/batch")
    drawn = [
        line
        for stage, colour in zip(("raw", "decoded"), COLOURS, strict=False)
        for line in _of_stage(taken, stage, colour)
    ]
    if not drawn:
        return
    title = "What sessions cost: a batch is serialized once and copied once a session"
    with figure("sessions", folder, title, measured.place, (7, 4)) as made:
        axes = made.subplots()
        lines(axes, drawn)
        axes.set_xticks(list(drawn[0].points))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("sessions of one stage, each read")
        axes.set_ylabel("ns a batch of 64 events of 206 bytes")


def _of_stage(taken: dict[str, Values], stage: str, colour: str) -> list[Line]:
    """The measured line, and one as if each further session cost only its copy."""
    points = {
        int(name.rpartition(" ")[2]): values
        for name, values in taken.items()
        if re.fullmatch(rf"{stage}, \d+", name)
    }
    if not points:
        return []
    first, copy = median(points[1]), median(taken[f"{stage}, the copy alone"])
    copied = {float(at): [first + (at - 1) * copy] for at in points}
    measured = {float(at): values for at, values in points.items()}
    return [
        Line(stage, measured, colour, ours=True),
        Line(f"{stage}, were it the copies alone", copied, colour, dashed=True),
    ]


# ---- by what the consumer does ---------------------------------------------------------------


def consumers(measured: Measured, folder: Path) -> None:
    taken = measured.of("consumers", "ns/batch")
    if not taken:
        return
    rows: list[str] = []
    series: dict[str, dict[str, Values]] = {consumer: {} for consumer in CONSUMERS}
    for name, values in taken.items():
        way, _, consumer = name.rpartition(", ")
        rows.extend([way] if way not in rows else [])
        series[consumer.split()[0]][way] = values
    title = "What a producer pays for a batch, by what its consumer does"
    blocked = [row for row in rows if any(why.startswith(row) for why in measured.skipped)]
    below = f"{measured.place} Stalled: with a put that gives up, where there is one."
    with figure("consumers", folder, title, below, (8, 4.6)) as made:
        axes = made.subplots()
        dots(axes, rows, series, "ns a batch of 64 events of 206 bytes (logarithmic)")
        for way in blocked:
            at = (median(series["fast"][way]), rows.index(way))
            beside(axes, at, "blocks while its consumer is stalled")
        embolden(axes, [row for row in rows if row.startswith(OURS)])


def engine(measured: Measured, folder: Path) -> None:
    slower = "slower with "
    rows = [
        Row(name.removeprefix(slower), values, ours=_is_a_tap(name))
        for name, values in measured.of("engine", "%").items()
        if name.startswith(slower)
    ]
    if not rows:
        return
    title = "How much slower an engine that works becomes"
    size = (8, 1.4 + 0.32 * len(rows))
    with figure("engine", folder, title, measured.place, size) as made:
        bars(made.subplots(), rows, "% slower than the same engine without", log=False)


def lanes(measured: Measured, folder: Path) -> None:
    points = {
        float(name.partition(" ")[0]): values
        for name, values in measured.of("lanes", "% CPU", "reading ").items()
    }
    if not points:
        return
    title = "What reading many lanes at once costs their reader"
    with figure("lanes", folder, title, measured.place, (6, 3.4)) as made:
        axes = made.subplots()
        lines(axes, [Line("50 batches/s each", points, COLOURS[0], ours=True)])
        axes.set_xlabel("lanes")
        axes.set_ylabel("% of a core")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)


def _is_a_tap(name: str) -> bool:
    return "no tap" not in name and not any(peer.name in name for peer in PEERS)


def latency(measured: Measured, folder: Path) -> None:
    taken = measured.of("latency", "us")
    series: dict[str, dict[str, Values]] = {share: {} for share in SHARES}
    for name, values in taken.items():
        way, _, share = name.rpartition(": ")
        if share in series:
            series[share][way] = values
    rows = list(series[SHARES[0]])
    if not rows:
        return
    title = "How long an event is on its way, by how its consumer waits"
    with figure("latency", folder, title, measured.place, (8, 1.6 + 0.4 * len(rows))) as made:
        axes = made.subplots()
        dots(axes, rows, series, "microseconds from the offer to the consumer's hand (logarithmic)")
        embolden(axes, [row for row in rows if _is_a_tap(row)])


if __name__ == "__main__":
    main()
