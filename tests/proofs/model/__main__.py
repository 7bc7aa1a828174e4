"""``python -m tests.proofs.model [--long]``: explore every scenario and print what was visited.

``--long`` adds larger bounds. If a property is broken, the steps that lead there are printed and
the exit code is 1.
"""

import sys
import time

from . import bell_scenarios, ring_scenarios, table_scenarios
from .explorer import explore


def main() -> int:
    """Explore and print; return the exit code."""
    modules = ring_scenarios, bell_scenarios, table_scenarios
    scenarios = [scenario for module in modules for scenario in module.SHORT]
    if "--long" in sys.argv[1:]:
        scenarios += [scenario for module in modules for scenario in module.LONG]
    began = time.perf_counter()
    states = broken = 0
    for scenario in scenarios:
        for model in scenario.models:
            result = explore(scenario, model)
            print(result, flush=True)
            states += result.states
            for trace in result.traces.values():
                broken += 1
                print(trace, flush=True)
    seconds = time.perf_counter() - began
    print(f"model: {states:,} states in {seconds:.1f} s, {broken} properties broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
