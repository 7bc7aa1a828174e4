"""Which machines need a barrier, and that one can be interrupted anywhere."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from tapring.wire.ordering import full_barrier, needs_barrier
from tests.proofs.bytecodes import ALL, watcher


def test_machines_that_reorder_stores_get_a_barrier() -> None:
    assert not needs_barrier("x86_64")
    assert needs_barrier("aarch64")
    assert needs_barrier("riscv64")


class Limit(Exception):
    """A signal handler's own."""


def interrupted_at(step: int, handler: Callable[[], None]) -> bool:
    """Call ``handler`` before a bytecode of a barrier; False if it has fewer."""
    steps, met = count(), []

    def meet(*_: object) -> None:
        if next(steps) == step:
            met.append(step)
            handler()

    watching = watcher(meet, lambda code: ALL if code is full_barrier.__code__ else None)
    try:
        watching.run(full_barrier)
    except Limit:
        pass
    finally:
        watching.close()
    return bool(met)


def raising() -> None:
    raise Limit


@pytest.mark.parametrize("handler", [raising, full_barrier])
@pytest.mark.usefixtures("untraced")
def test_a_barrier_that_is_interrupted_anywhere_leaves_the_next_one_whole(handler) -> None:
    for step in count():
        if not interrupted_at(step, handler):
            break
        full_barrier()
    assert step > 10
