"""Run all figures: ``python -m benchmarks [--quick] [--json PATH]``."""

from . import (
    anatomy,
    capture,
    decoded,
    end_to_end,
    engine,
    full,
    idle,
    imports,
    memory,
    pipe,
    raw,
    sampled,
)
from .harness import run

FIGURES = (
    idle,
    raw,
    decoded,
    sampled,
    engine,
    end_to_end,
    full,
    imports,
    memory,
    pipe,
    capture,
    anatomy,
)

if __name__ == "__main__":
    run([figure.measure for figure in FIGURES], __doc__)
