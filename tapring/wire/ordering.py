"""The barrier that keeps a payload in front of the position that publishes it.

Theory of operation. Publishing a frame takes three steps: (1) store payload and header, (2) the
barrier, (3) store the tail. The reader does the mirror image: (1) load the tail, (2) the barrier,
(3) load header and payload, (4) the barrier, (5) store the head. The producer loads that head,
passes the barrier, and only then stores over the slots that the head gives back. The
pairs are named at both ends in ``writer.py`` and ``reader.py``: PUBLISH (tail), RELEASE (head).

On x86-64 neither pair needs a barrier. The machine (x86-TSO, Sewell et al. 2010) never reorders
stores with older stores or older loads, nor loads with loads. Only a store may move behind a
*later load*, which both pairs allow. A compiler cannot reorder the accesses either: each one is an
indirect call through a type slot of the interpreter. So ``publish_barrier`` is ``None`` there;
calling an empty function would cost 20 ns.

On other machines it is a full barrier, made of a lock that is *held*. No access crosses
``release(); acquire()`` in either direction: accesses before the release cannot sink below it,
accesses after the acquire cannot rise above it, and the two operate on one word in program order.
``with lock: pass`` (acquire, then release) is not a barrier on CPython up to 3.12, whose lock is a
semaphore: both outer accesses may move into the middle and pass each other there.

Each barrier has a lock of its own. A signal handler may come between the two calls, and raise, or
pass a barrier itself: one that is kept would then be found released. A new one takes 1.8 times the
instructions (CPython 3.11 to 3.13).
"""

import platform
from collections.abc import Callable
from threading import Lock

_TOTAL_STORE_ORDER = frozenset({"x86_64", "amd64", "i386", "i686"})


def full_barrier() -> None:
    """Stop every load and store of this thread from moving across this call, on any machine."""
    lock = Lock()
    lock.acquire()
    lock.release()
    lock.acquire()


def needs_barrier(machine: str) -> bool:
    """Return whether PUBLISH and RELEASE need ``full_barrier`` on this ``platform.machine()``."""
    return machine.lower() not in _TOTAL_STORE_ORDER


publish_barrier: Callable[[], None] | None = (
    full_barrier if needs_barrier(platform.machine()) else None
)
"""What Writer and Reader call at PUBLISH and RELEASE; None if the machine keeps that order."""
