"""The gate: one thread of an engine at a time changes its rings and sessions; the others go on.

Theory of operation. Who finds the token of the gate taken leaves its work in ``late`` and goes on.
Who holds the token does that work after its own (flat combining: Hendler, Incze, Shavit, Tzafrir,
SPAA 2010). So it does not matter who the holder is: another thread, or an offer that a signal
handler, a finalizer or another greenlet of the very same thread has interrupted.

No work stays behind: its holder looks at ``late`` once more after it has returned the token, and
who leaves work there tries for the token once more.

A thread that loses the interpreter while it is inside gets it back after 5 ms for each thread that
wants it. In that time another one may offer a thousand batches. So who finds much work left sleeps
for a moment each time, which lets the one inside go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

from ..thrown_in import was_thrown_in
from ..token import Exclusion

Work = Callable[[], object]
"""Something to do inside. If an exception comes from outside, it is called again later: it then
must finish what was begun, and repeat nothing."""

# How long to wait for the thread that is inside. It may have to get the interpreter lock from each
# of the engine's other threads first, which have it for 5 ms at a time.
_PATIENCE_S: Final = 0.25
_POLL_S: Final = 50e-6
_MANY: Final = 64
# Of what is left. Batches beyond are counted as dropped: a debugger has stopped the one inside.
_MOST: Final = 1024


class Gate(Exclusion):
    """Lets one thread at a time offer a batch or change the sessions.

    ``late``: what other threads have left for the one that is inside.
    """

    __slots__ = ("late",)

    def __init__(self) -> None:
        super().__init__()
        self.late: deque[Work] = deque()

    def attempt(self, work: Work) -> bool:
        """Do ``work`` now, or return False: a thread is inside."""
        done = self._inside(work)
        self.settle()
        return done

    def post(self, work: Work) -> None:
        """Do ``work`` inside: at once, or as soon as the thread that is inside is done."""
        self.late.append(work)
        self.settle()

    def has_room(self) -> bool:
        """Whether one more may leave much work: not if the one inside cannot go on."""
        if len(self.late) >= _MANY:
            sleep(_POLL_S)
            self.settle()
        return len(self.late) < _MOST

    def do(self, work: Work) -> bool:
        """Do ``work`` inside, and return whether it is done by now.

        It is not if the caller itself has interrupted what is inside. It then is done afterwards.
        """
        job = _Job(work)
        self.post(job)
        deadline = monotonic() + _PATIENCE_S
        while not job.done and monotonic() < deadline:
            sleep(_POLL_S)
            self.settle()
        return job.done

    def settle(self) -> None:
        """Do the work that is left. If a thread is inside, it will."""
        while self.late and self._inside(self.work_off):
            pass

    def _inside(self, work: Work) -> bool:
        token = self.take()
        if token is None:
            return False
        try:
            work()
        finally:
            token.home.append(token)
            token = None  # a traceback may keep this frame
        return True

    def work_off(self) -> None:
        """Do the work that is left. Only inside."""
        late = self.late
        while late:
            try:
                late[0]()
            except Exception as error:
                if not was_thrown_in(error):  # it would fail again
                    late.popleft()
                raise
            late.popleft()


class _Job:
    __slots__ = ("_work", "done")

    def __init__(self, work: Work) -> None:
        self._work = work
        self.done = False

    def __call__(self) -> None:
        self._work()
        self.done = True
