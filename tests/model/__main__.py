"""``python -m tests.model [--long]``: explore every scenario and print what was visited."""

import sys

from .explorer import explore
from .ring_scenarios import LONG, SHORT


def main() -> int:
    failed = False
    scenarios = (*SHORT, *LONG) if "--long" in sys.argv[1:] else SHORT
    for scenario in scenarios:
        for model in scenario.models:
            result = explore(scenario, model)
            print(result, flush=True)
            for trace in result.traces.values():
                print(trace, flush=True)
            failed |= bool(result.traces)
    return failed


if __name__ == "__main__":
    sys.exit(main())
