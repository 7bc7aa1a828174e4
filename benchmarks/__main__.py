"""Run figures: ``python -m benchmarks [NAME ...] [--quick] [--json PATH]``.

Without names, it runs all but the last five, as ``make bench`` does: those are for tuning a tap or
its captures.
"""

from . import (
    anatomy,
    batches,
    capture,
    compare,
    consumers,
    cutting,
    decoded,
    end_to_end,
    engine,
    full,
    gateway,
    idle,
    imports,
    instructions,
    lanes,
    latency,
    memory,
    pipe,
    raw,
    recorder,
    sampled,
    sessions,
    sizes,
    stall,
    top,
)
from .harness import Measure, parser, report

USUAL: dict[str, Measure] = {
    "idle": idle.measure,
    "raw": raw.measure,
    "decoded": decoded.measure,
    "full": full.measure,
    "compare": compare.measure,
    "sizes": sizes.measure,
    "batches": batches.measure,
    "sessions": sessions.measure,
    "consumers": consumers.measure,
    "end_to_end": end_to_end.measure,
    "engine": engine.measure,
    "latency": latency.measure,
    "lanes": lanes.measure,
    "top": top.measure,
    "stall": stall.measure,
    "imports": imports.measure,
    "pipe": pipe.measure,
    "memory": memory.measure,
    "recorder": recorder.measure,
    "gateway": gateway.measure,
}
OTHERS: dict[str, Measure] = {
    "sampled": sampled.measure,
    "capture": capture.measure,
    "cutting": cutting.measure,
    "anatomy": anatomy.measure,
    "instructions": instructions.measure,
}


def main() -> None:
    figures = USUAL | OTHERS
    command_line = parser(__doc__)
    command_line.prog = "python -m benchmarks"
    command_line.add_argument("name", nargs="*", metavar="NAME", help=", ".join(figures))
    parsed = command_line.parse_args()
    unknown = sorted(set(parsed.name) - set(figures))
    if unknown:
        command_line.error(f"no figure {', '.join(unknown)}; choose from {', '.join(figures)}")
    report([figures[name] for name in parsed.name or USUAL], parsed)


if __name__ == "__main__":
    main()
