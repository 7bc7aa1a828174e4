"""Run all figures: ``python -m benchmarks [--quick] [--json PATH]``."""

from . import anatomy, decoded, end_to_end, full, idle, imports, memory, pipe, raw
from .harness import run

FIGURES = (idle, raw, decoded, end_to_end, full, imports, memory, pipe, anatomy)

if __name__ == "__main__":
    run([figure.measure for figure in FIGURES], __doc__)
