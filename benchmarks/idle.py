"""What a tap costs without any session: ``snapshot()`` and ``emit()`` against empty calls."""

import os
from collections.abc import Iterator
from statistics import median
from time import perf_counter_ns
from timeit import Timer

import tapring

from .harness import Plan, Result, alternate, ratios, run

LOOPS = 100
CALLS_A_LOOP = 100  # so that each call carries only a hundredth of the loop's cost
EMIT = 'tap.emit("decoded", event)'


class Empty:
    def snapshot(self) -> None:
        pass

    def emit(self, stage: str, event: object) -> None:
        pass


def measure(plan: Plan) -> Iterator[Result]:
    passes = plan.pick(100, 20)
    with tapring.Tap(f"bench-{os.getpid()}") as tap:
        assert not tap.snapshot()
        calls, empty = alternate(
            plan.repetitions, lambda: _call_ns(tap, passes), lambda: _call_ns(Empty(), passes)
        )
        emits, taking = alternate(
            plan.repetitions,
            lambda: _call_ns(tap, passes, EMIT),
            lambda: _call_ns(Empty(), passes, EMIT),
        )
    yield Result("idle", "snapshot()", "ns", calls)
    yield Result("idle", "an empty method call", "ns", empty)
    yield Result("idle", "snapshot() / empty call", "x", ratios(calls, empty), at_most=2.5)
    yield Result("idle", "emit(stage, event)", "ns", emits)
    yield Result(
        "idle", "emit() / empty call with arguments", "x", ratios(emits, taking), at_most=2.5
    )


def _call_ns(tap: object, passes: int, call: str = "tap.snapshot()") -> float:
    """Nanoseconds per call in the median pass, because a shared core is preempted at times."""
    calls = "\n".join([call] * CALLS_A_LOOP)
    timer = Timer(calls, timer=perf_counter_ns, globals={"tap": tap, "event": {"n": 1}})
    return median(timer.repeat(passes, LOOPS)) / (LOOPS * CALLS_A_LOOP)


if __name__ == "__main__":
    run([measure], __doc__)
