"""``python -m tests.proofs.model [--long]``: explore every scenario and print what was visited.

``--long`` adds larger bounds. The exit code is 1 where a property is broken; then the steps that
lead there are printed, too.
"""

import sys
import time

from . import bell_scenarios, ring_scenarios, table_scenarios
from .explorer import explore


def main() -> int:
    """Explore, print, and say whether everything holds."""
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
