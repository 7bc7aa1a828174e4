"""The stages of an engine that are not read, watched while the one that is read gets no events.

An engine does not count what it offers to a stage that nobody reads. So a session of each other
stage is opened, and closed as soon as it is known where the events go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic_ns
from typing import Final, NamedTuple

from ..consumer.session import Session
from ..ended_by import EndedBy
from ..errors import TapError
from ..events.redaction import Redactor
from ..events.selection import Select
from ..shm.offered import stages_of

_NS: Final = 1_000_000_000
_PATIENCE_NS: Final = 500_000_000
# An engine may offer the lines of a batch long before it offers what it decodes of them.
_GRACE_S: Final = 1.0
_GRACE_SHARE: Final = 4
_WITHOUT_A_SUCCESSOR: Final = (EndedBy.INTERRUPT, EndedBy.ERROR, EndedBy.OUTPUT_CLOSED)


class Opened(NamedTuple):
    """A session, and what it keeps and hides."""

    session: Session
    select: Select
    redact: Redactor | None


class Elsewhere:
    """Sessions of the stages that ``session`` does not read. A context manager that closes them.

    open_: opens a session of a stage. switches: if events go to another stage and none to this one,
    end ``session``: ``instead`` is then the stage to read. Otherwise nobody is disturbed, and
    ``others`` says which other stages get events, ``unseen`` which of them could not be watched.
    """

    def __init__(
        self, address: str, session: Session, open_: Callable[[str], Opened], *, switches: bool
    ) -> None:
        self.busy: tuple[str, ...] = ()
        self._unseen: tuple[str, ...] = ()
        self._address = address
        self._session = session
        self._open = open_
        self.switches = switches
        self._opened: dict[str, Opened] = {}
        self._due_ns = 0 if switches else monotonic_ns() + _PATIENCE_NS  # when to open them
        self._begun = False
        self._ends_ns: int | None = None
        self._settled = False

    @property
    def others(self) -> tuple[str, ...]:
        """The stages that get events; () if the session has got some, too."""
        return () if not self.busy or _has_events(self._session) else self.busy

    @property
    def unseen(self) -> tuple[str, ...]:
        """The stages that could not be watched; () if the session has got events."""
        return () if not self._unseen or _has_events(self._session) else self._unseen

    @property
    def instead(self) -> str | None:
        """The stage to read in place of the session's; None if it is not known to be better."""
        if not (self.switches and self.others):
            return None
        return None if self._session.ended_by in _WITHOUT_A_SUCCESSOR else self.busy[0]

    def look(self) -> None:
        """See where events go. Call it some times a second, until the session has ended."""
        now = monotonic_ns()
        if self._settled or now < self._due_ns:
            return
        if _has_events(self._session):
            self._settle()
            return
        if not self._begun:
            self._begin()
        self._see()
        if not self.busy:
            return
        if not self.switches:
            self._settle()
        elif self._ends_ns is None:
            grace_s = min(_GRACE_S, self._session.remaining_s / _GRACE_SHARE)
            self._ends_ns = now + round(grace_s * _NS)
        elif now >= self._ends_ns:
            self._settled = True
            self._session.end(EndedBy.CLOSED)

    def take(self, stage: str) -> Opened:
        """Hand over the session of a stage; the caller closes it."""
        return self._opened.pop(stage)

    def close(self) -> None:
        """Close the sessions that were not taken."""
        for stage in tuple(self._opened):
            self._opened.pop(stage).session.close()

    def _begin(self) -> None:
        self._begun = True
        for stage in stages_of(self._address):
            if stage not in self._session.stages:
                try:
                    self._opened[stage] = self._open(stage)
                except (TapError, OSError, MemoryError, ValueError):  # full, perhaps
                    self._unseen += (stage,)

    def _see(self) -> None:
        new: Iterable[str] = (
            stage
            for stage, opened in self._opened.items()
            if stage not in self.busy and _has_events(opened.session)
        )
        self.busy += tuple(new)

    def _settle(self) -> None:
        self._settled = True
        self.close()

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _has_events(session: Session) -> bool:
    """Whether the engine has had events for ``session``, read or not."""
    stats = session.stats
    return bool(stats.offered or stats.sampled_out or stats.shed or stats.recorded)
