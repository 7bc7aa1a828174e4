"""What ``import tapring`` costs a fresh interpreter, against ``import numpy, msgspec``."""

import subprocess
import sys
from collections.abc import Iterator

from .harness import Plan, Result, alternate, ratios, run
from .peers import ENVIRONMENT

TIMED = """
from time import perf_counter_ns
start = perf_counter_ns()
import {modules}
print(perf_counter_ns() - start)
"""


def measure(plan: Plan) -> Iterator[Result]:
    ours, theirs = alternate(
        plan.pick(21, 5), lambda: _import_ms("tapring"), lambda: _import_ms("numpy, msgspec")
    )
    yield Result("import", "import tapring", "ms", ours)
    yield Result("import", "import numpy, msgspec", "ms", theirs)
    yield Result("import", "tapring / numpy, msgspec", "x", ratios(ours, theirs), at_most=1.5)


def _import_ms(modules: str) -> float:
    told = subprocess.run(
        [sys.executable, "-c", TIMED.format(modules=modules)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(told.stdout) / 1e6


if __name__ == "__main__":
    run([measure], __doc__)
