"""How fast a capture passes on, selects or redacts events, against cat, grep and jq.

Each round fills the ring, untimed, and drains it into a file, timed: this measures the consumer's
own rate. The last event of a round is the only one that a rare selection matches. The pipelines
read the same lines from a file in the page cache; their start-up time (measured with an empty file)
is subtracted.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter_ns

import msgspec

import tapring
from tapring.files.writing import open_sink

from .harness import Plan, Result, Skipped, alternate, ratios, run
from .workload import BATCH, EVENT_BYTES, EVENTS, LINES

BUFFER_BYTES = 4 << 20
ROUND = 240  # batches that fit the ring
ROUND_EVENTS = ROUND * BATCH
ROUND_BYTES = ROUND_EVENTS * (EVENT_BYTES + 1)

RARE = {**EVENTS[0][0], "user": "zebra"}
RARE_LINE = msgspec.json.encode(RARE)
_LAST_LINES = [*LINES[0][:-1], RARE_LINE]
LINE_ROUND = [LINES[i % len(LINES)] for i in range(ROUND - 1)] + [_LAST_LINES]
# Already encoded, which makes filling faster; the ring's content is the same.
JSON_ROUND = [[msgspec.Raw(line) for line in batch] for batch in LINE_ROUND]

RARE_WHERE = "kind=='process_start' && user=='zebra'"
FREQUENT_WHERE = "kind=='process_start' && host=='worker-03'"
RARE_JQ = 'select(.kind=="process_start" and .user=="zebra")'
FREQUENT_JQ = 'select(.kind=="process_start" and .host=="worker-03")'

Measured = Callable[[], float]


def measure(plan: Plan) -> Iterator[Result | Skipped]:
    rounds = plan.pick(24, 6)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines"
        with lines.open("wb") as file:
            for _ in range(rounds):
                file.writelines(b"\n".join([*batch, b""]) for batch in LINE_ROUND)
        yield from _pass_through(plan, folder, rounds)
        yield from _grep(plan, folder, rounds, lines)
        yield from _where(plan, folder, rounds, lines)
        yield from _redact(plan, folder, rounds, lines)


def _pass_through(plan: Plan, folder: str, rounds: int) -> Iterator[Result]:
    ours, theirs = alternate(
        plan.repetitions,
        lambda: _rate(_drained(folder, "raw", rounds), ROUND_BYTES * rounds),
        lambda: _rate(_written(folder, rounds), ROUND_BYTES * rounds),
    )
    yield Result("capture", "pass-through to a file", "GB/s", ours)
    yield Result("capture", "the same payloads with os.write", "GB/s", theirs)
    yield Result("capture", "pass-through / os.write", "x", ratios(ours, theirs), at_least=0.6)


def _grep(plan: Plan, folder: str, rounds: int, lines: Path) -> Iterator[Result | Skipped]:
    def ours() -> float:
        select = partial(tapring.Select, grep="zebra")
        seconds = _drained(folder, "raw", rounds, select=select, rare=True)
        return _rate(seconds, ROUND_EVENTS * rounds) * 1000

    yield from _against(
        plan, "--grep, rare", ours, ["grep", "-F", "zebra"], lines, rounds, at_least=0.7
    )


def _where(plan: Plan, folder: str, rounds: int, lines: Path) -> Iterator[Result | Skipped]:
    def ours(expression: str, rounds: int) -> float:
        select = partial(tapring.Select, where=expression)
        rare = expression == RARE_WHERE
        seconds = _drained(folder, "decoded", rounds, select=select, rare=rare)
        return _rate(seconds, ROUND_EVENTS * rounds) * 1000

    few = max(2, rounds // 8)
    yield from _against(
        plan,
        "--where, rare",
        partial(ours, RARE_WHERE, rounds),
        ["jq", "-c", RARE_JQ],
        lines,
        rounds,
        at_least=3,
    )
    yield from _against(
        plan,
        "--where, all events pass",
        partial(ours, FREQUENT_WHERE, few),
        ["jq", "-c", FREQUENT_JQ],
        lines,
        rounds,
        at_least=3,
    )


def _redact(plan: Plan, folder: str, rounds: int, lines: Path) -> Iterator[Result | Skipped]:
    few = max(2, rounds // 4)

    def ours() -> float:
        seconds = _drained(folder, "decoded", few, redact=partial(tapring.Redactor, "user,pid"))
        return _rate(seconds, ROUND_EVENTS * few) * 1000

    yield from _against(
        plan,
        "--redact, two fields",
        ours,
        ["jq", "-c", '.user="x" | .pid="x"'],
        lines,
        rounds,
        at_least=None,
    )


def _against(
    plan: Plan,
    what: str,
    ours: Measured,
    command: list[str],
    lines: Path,
    rounds: int,
    *,
    at_least: float | None,
) -> Iterator[Result | Skipped]:
    """Compare our rate with that of ``command`` on the same lines, in million events a second."""
    if shutil.which(command[0]) is None:
        yield Skipped(f"capture, {what}", f"{command[0]} is not installed")
        return
    own, theirs = alternate(
        plan.repetitions,
        ours,
        lambda: _rate(_piped(command, lines), ROUND_EVENTS * rounds) * 1000,
    )
    yield Result("capture", what, "M events/s", own)
    yield Result("capture", " ".join(command[:2]), "M events/s", theirs)
    yield Result("capture", f"{what} / {command[0]}", "x", ratios(own, theirs), at_least=at_least)


def _rate(seconds: float, amount: int) -> float:
    """``amount`` per second, in units of 1e9."""
    return amount / seconds / 1e9


def _drained(
    folder: str,
    stage: str,
    rounds: int,
    *,
    select: Callable[[], tapring.Select] | None = None,
    redact: Callable[[], tapring.Redactor] | None = None,
    rare: bool = False,
) -> float:
    """Seconds taken to read, select or redact, and write ``rounds`` rounds."""
    made = None if select is None else select()
    expected = 1 if rare else ROUND_EVENTS
    batches = LINE_ROUND if stage == "raw" else JSON_ROUND
    with (
        tapring.Tap(f"bench-{os.getpid()}", buffer_bytes=BUFFER_BYTES) as tap,
        tapring.capture(
            tap.name, stage=stage, select=made, redact=redact() if redact else None
        ) as session,
        _sink(folder, session) as write,
    ):
        frames = session.frames()
        _fill(tap, stage, batches)  # once, untimed, to map pages and warm caches
        _drain(frames, write, expected)
        taken = 0
        for _ in range(rounds):
            _fill(tap, stage, batches)
            start = perf_counter_ns()
            _drain(frames, write, expected)
            taken += perf_counter_ns() - start
        if session.stats.dropped:
            raise RuntimeError("the ring was too small for a round")
    return taken / 1e9


def _fill(
    tap: tapring.Tap, stage: str, batches: list[list[bytes]] | list[list[msgspec.Raw]]
) -> None:
    for batch in batches:
        watched = tap.snapshot()
        assert watched is not None
        watched.offer(stage, batch)


def _drain(
    frames: Iterator[tapring.Frame], write: Callable[[tapring.Frame], None], expected: int
) -> None:
    """Write frames until a round's ``expected`` events have arrived."""
    while expected > 0:
        frame = next(frames)
        write(frame)
        expected -= frame.count


@contextmanager
def _sink(folder: str, session: tapring.Session) -> Iterator[Callable[[tapring.Frame], None]]:
    path = os.path.join(folder, "events.ndjson")
    sink = open_sink(
        path, "raw" if session.kind == "lines" else "ndjson", kind=session.kind, force=True
    )
    try:
        yield sink.write
    finally:
        sink.close()
        os.unlink(path)


def _written(folder: str, rounds: int) -> float:
    """Seconds taken by os.write for the payloads of ``rounds`` rounds."""
    payloads = [b"\n".join([*batch, b""]) for batch in LINE_ROUND]
    path = os.path.join(folder, "written")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        start = perf_counter_ns()
        for _ in range(rounds):
            for payload in payloads:
                os.write(fd, payload)
        return (perf_counter_ns() - start) / 1e9
    finally:
        os.close(fd)
        os.unlink(path)


def _piped(command: list[str], lines: Path) -> float:
    """Seconds that ``command`` takes for the file ``lines``, without its start-up."""
    return max(1e-6, _run(command, lines) - _run(command, Path(os.devnull)))


def _run(command: list[str], source: Path) -> float:
    environment = os.environ | {"LC_ALL": "C"}  # grep's fastest
    with source.open("rb") as stdin, open(os.devnull, "wb") as stdout:
        start = perf_counter_ns()
        # Into a pipe: grep stops at the first match if its output is /dev/null.
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        shutil.copyfileobj(process.stdout, stdout, 1 << 20)
        process.stdout.close()
        process.wait()
        return (perf_counter_ns() - start) / 1e9


if __name__ == "__main__":
    run([measure], __doc__)
