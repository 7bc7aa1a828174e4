"""``python -m tests.model [--long]``: explore every scenario and print what was visited.

``--long`` adds larger bounds. The exit code is 1 where a property is broken; then the steps that
lead there are printed, too.
"""

import sys
import time

from . import ring_scenarios, table_scenarios
from .explorer import explore


def main() -> int:
    """Explore, print, and say whether everything holds."""
    scenarios = (*ring_scenarios.SHORT, *table_scenarios.SHORT)
    if "--long" in sys.argv[1:]:
        scenarios += (*ring_scenarios.LONG, *table_scenarios.LONG)
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
