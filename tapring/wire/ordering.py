"""The barrier that keeps a payload in front of the position that publishes it.

Theory of operation. A frame is published by three steps: (1) payload and header are stored,
(2) the barrier, (3) the tail is stored. The reader does the mirror image: (1) loads the tail,
(2) the barrier, (3) loads header and payload, (4) the barrier, (5) stores its head; and the
producer loads that head, takes the barrier, and only then stores over the slots it frees. The
pairs are named at both ends in ``writer.py`` and ``reader.py``: PUBLISH (tail), RELEASE (head).

On x86-64 no barrier is needed for either pair: the machine (x86-TSO, Sewell et al. 2010) never
reorders stores with older stores or older loads, nor loads with loads; only a store may move
behind a *later load*, which neither pair forbids. The interpreter's own C code is compiled, but
each access is an indirect call through a type slot, across which a compiler moves nothing.
``publish_barrier`` is therefore ``None`` there: calling an empty function would cost 20 ns.

Elsewhere it is a full barrier made of a private lock that is kept *held*: ``release(); acquire()``
lets no access cross in either direction, because what is before the release cannot sink below it,
what is after the acquire cannot rise above it, and the two operate on one word in program order.
``with lock: pass`` (acquire, then release) is not a barrier on CPython up to 3.12, whose lock is
a semaphore: both outer accesses may move into the middle and pass each other there.
"""

import platform
from collections.abc import Callable
from threading import Lock, local

_TOTAL_STORE_ORDER = frozenset({"x86_64", "amd64", "i386", "i686"})


class _HeldLock(local):
    """One lock a thread, so that two threads never wait for each other in a barrier."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.lock.acquire()


_held = _HeldLock()


def full_barrier() -> None:
    """Let no load or store of this thread move across this call, on any machine."""
    lock = _held.lock
    lock.release()
    lock.acquire()


def needs_barrier(machine: str) -> bool:
    """Whether PUBLISH and RELEASE need ``full_barrier`` on ``machine`` (``platform.machine()``)."""
    return machine.lower() not in _TOTAL_STORE_ORDER


publish_barrier: Callable[[], None] | None = (
    full_barrier if needs_barrier(platform.machine()) else None
)
"""What Writer and Reader call at PUBLISH and RELEASE; None if the machine keeps that order."""
