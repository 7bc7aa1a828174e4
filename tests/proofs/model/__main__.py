"""``python -m tests.proofs.model [--long]``: explore every scenario and print what was visited.

``--long`` adds larger bounds. If a property is broken, the steps that lead there are printed and
the exit code is 1.
"""

import sys
import time

from . import (
    bell_scenarios,
    gate_scenarios,
    join_scenarios,
    past_scenarios,
    ring_scenarios,
    schedules,
    table_scenarios,
)
from .explorer import explore


def main() -> int:
    """Explore and print; return the exit code."""
    modules = ring_scenarios, past_scenarios, bell_scenarios, table_scenarios
    scenarios = [scenario for module in modules for scenario in module.SHORT]
    scheduled: list[schedules.Played] = [*gate_scenarios.SHORT, *join_scenarios.SHORT]
    if "--long" in sys.argv[1:]:
        scenarios += [scenario for module in modules for scenario in module.LONG]
        scheduled += [*gate_scenarios.LONG, *join_scenarios.LONG]
    began = time.perf_counter()
    states = runs = broken = 0
    for scenario in scenarios:
        for model in scenario.models:
            result = explore(scenario, model)
            print(result, flush=True)
            states += result.states
            for trace in result.traces.values():
                broken += 1
                print(trace, flush=True)
    for each in scheduled:
        played = schedules.explore(each)
        print(played, flush=True)
        runs += played.runs
        for trace in played.traces.values():
            broken += 1
            print(trace, flush=True)
    seconds = time.perf_counter() - began
    counts = f"{states:,} states, {runs:,} schedules"
    print(f"model: {counts} in {seconds:.1f} s, {broken} properties broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
