"""How a figure is measured, printed and saved: alternation, medians, the table, the JSON.

Nothing here is specific to tapring or its peers.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar

T = TypeVar("T")

_COMPARED = ("msgspec", "numpy", "faster-fifo", "iceoryx2", "pyzmq")
_HEAD = f"{'figure':<12}{'':<62}{'median':>8}{'min':>8}{'max':>8}{'spread':>8}  target"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure: everything, or (``--quick``) just enough to see that it works."""

    quick: bool = False

    @property
    def repetitions(self) -> int:
        """Rounds of each comparison."""
        return 3 if self.quick else 7

    def pick(self, full: int, quick: int) -> int:
        """``full``, or ``quick`` in a quick run."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table: what was measured, a value per repetition, and the target."""

    figure: str
    what: str
    unit: str
    values: Sequence[float]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """The middle value, which is compared with the target."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median."""
        if len(self.values) < 2 or not self.median:
            return 0.0
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return (high - low) / abs(self.median)

    @property
    def target(self) -> str:
        """What the median should be; empty if there is no target."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"

    @property
    def verdict(self) -> str:
        """``ok`` or ``MISS``; empty if there is no target."""
        if self.at_most is not None:
            return "ok" if self.median <= self.at_most else "MISS"
        if self.at_least is not None:
            return "ok" if self.median >= self.at_least else "MISS"
        return ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A figure that could not be measured here, and why."""

    figure: str
    why: str


Measure = Callable[[Plan], Iterable[Result | Skipped]]


def alternate(repetitions: int, *contestants: Callable[[], T]) -> list[list[T]]:
    """What each contestant returned in each round; every other round runs in reverse order.

    The first round is a warm-up and is discarded.
    """
    taken: list[list[T]] = [[] for _ in contestants]
    for round_ in range(repetitions + 1):
        order = list(enumerate(contestants))
        for index, contestant in order if round_ % 2 else reversed(order):
            value = contestant()
            if round_:
                taken[index].append(value)
    return taken


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    """``ours / theirs``, round by round: each value divided by its neighbour in the alternation."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def run(measures: Iterable[Measure], description: str | None) -> None:
    """Run figures as a script: parse the command line, print the table, write the JSON."""
    report(measures, parser(description).parse_args())


def parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of every figure."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="fewer and shorter repetitions")
    made.add_argument("--json", type=Path, metavar="PATH", help="also write all values here")
    return made


def report(measures: Iterable[Measure], arguments: argparse.Namespace) -> None:
    """Measure, print the table, and write the JSON, even if the run is interrupted."""
    print(_caveats(), _HEAD, sep="\n\n", flush=True)
    before = _processor_time()
    results: list[Result | Skipped] = []
    try:
        for result in _measured(measures, Plan(arguments.quick)):
            results.append(result)
            print(_line(result), flush=True)
    finally:
        stolen = _stolen(before, _processor_time())
        told = f"load {os.getloadavg()[0]:.1f} at the end"
        print(f"\n{told}; other machines took {stolen:.1%} of the time")
        if arguments.json:
            _write(arguments.json, _as_json(results, stolen))


def _write(path: Path, document: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"all values: {path}")


def _measured(measures: Iterable[Measure], plan: Plan) -> Iterator[Result | Skipped]:
    for measure in measures:
        yield from measure(plan)


def _line(result: Result | Skipped) -> str:
    if isinstance(result, Skipped):
        return f"{result.figure:<13}skipped: {result.why}"
    numbers = "".join(_number(n) for n in (result.median, min(result.values), max(result.values)))
    what = f"{result.what}, {result.unit}" if result.unit else result.what
    told = f"{result.spread:>8.0%}  {result.target:<8}{result.verdict}"
    return f"{result.figure:<13}{what:<62}{numbers}{told}".rstrip()


def _number(value: float) -> str:
    return f"{value:>8.0f}" if abs(value) >= 1000 else f"{value:>8.3g}"


def _caveats() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    packages = ", ".join(f"{name} {_version(name)}" for name in _COMPARED)
    return (
        f"{python}, {packages}\n"
        f"{platform.system()} {platform.release()}, {_processor()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}\n"
        "Ratios hold across machines, nanoseconds do not. Both sides of a ratio were measured in\n"
        "turn, in this run. If other work shares the cores, the spread is large: run it again."
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _processor_time() -> list[int]:
    return [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]


def _stolen(before: list[int], after: list[int]) -> float:
    """The share of this machine's time that its host gave to others (the eighth column)."""
    ticks = [b - a for a, b in zip(before, after, strict=True)]
    return ticks[7] / max(1, sum(ticks))


def _as_json(results: list[Result | Skipped], stolen: float) -> dict[str, object]:
    return {
        "python": sys.version,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in _COMPARED},
        "stolen": stolen,
        "results": [_entry(result) for result in results],
    }


def _entry(result: Result | Skipped) -> dict[str, object]:
    if isinstance(result, Skipped):
        return asdict(result)
    derived = ("median", "spread", "target", "verdict")
    return asdict(result) | {name: getattr(result, name) for name in derived}
