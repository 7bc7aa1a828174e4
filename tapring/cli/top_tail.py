"""The session that ``tapring top`` opens to show the events of one stage of one lane.

A thread of its own reads it, because a stage may offer more than a screen can keep up with: what a
screen does not show must not fill the ring.
"""

from __future__ import annotations

from threading import Lock, Thread
from typing import Final

from ..consumer.opening import capture
from ..consumer.session import Session
from ..consumer.stats import Stats
from ..ended_by import EndedBy
from ..errors import TapError
from ..words import counted, visible
from .lane_news import ENDS
from .top_newest import Newest, Shown
from .top_table import Line

_PATIENCE_S: Final = 10.0


class Tail:
    """Reads one stage of a lane from ``start`` to ``stop``. Its methods are for one thread.

    address: the lane, ``ENGINE.LANE``.
    """

    def __init__(self, address: str, stage: str) -> None:
        self.address = address
        self.stage = stage
        self._newest = Newest()
        self._lock = Lock()
        self._session: Session | None = None
        self._failure = ""
        self._is_over = False
        self._is_stopped = False
        self._thread = Thread(target=self._read, name="tapring-top-tail", daemon=True)

    def start(self) -> None:
        """Open the session, and begin to read it. Neither is waited for."""
        self._thread.start()

    def stop(self) -> None:
        """Close the session, and wait until it is closed. Stopping twice is fine."""
        self._is_stopped = True
        session = self._session
        if session is not None:
            session.end(EndedBy.INTERRUPT)
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    @property
    def is_over(self) -> bool:
        """Whether no more events will come: the session has ended, or could not be opened."""
        return self._is_over

    @property
    def stats(self) -> Stats:
        """The account of the session so far."""
        session = self._session
        return Stats() if session is None else session.stats

    @property
    def total(self) -> int:
        """The events that have come so far."""
        return self._newest.total

    def shown(self) -> Shown:
        """The newest events as rows."""
        with self._lock:
            return self._newest.shown()

    # ---- lines -------------------------------------------------------------------------

    def account(self) -> Line:
        """What has come, and what was lost on the way."""
        stats, session = self.stats, self._session
        lost = stats.dropped + stats.oversize + stats.errors
        parts = [counted(self.total, "event"), f"{stats.unread:,} unread"]
        fill = 0.0 if session is None or self._is_over else session.fill
        parts.append(f"ring {fill:.0%} full")
        pieces = [(", ".join(parts), ""), (f", {lost:,} lost{_which(stats)}", "red" * (lost > 0))]
        if stats.shed:
            pieces.append((f", {stats.shed:,} skipped for the engine's budget", "yellow"))
        return tuple(pieces)

    def state(self) -> Line:
        """Whether it reads, or why not (any more), and what the operator can do."""
        if self._failure:
            return ((f"cannot be read: {visible(self._failure)}. Escape goes back", "red"),)
        session = self._session
        if session is None:
            return (("opening a session ...", "dim"),)
        if not self._is_over:
            return (("live", "green"),)
        reason = session.ended_by or EndedBy.ERROR
        how = ENDS.get(reason, f"session ended ({reason})")
        who = "its engine" if reason in ENDS else "the"
        return ((f"{who} {how}. Escape goes back", "red"),)

    # ---- in the thread -----------------------------------------------------------------

    def _read(self) -> None:
        try:
            with capture(self.address, stage=self.stage) as session:
                self._session = session
                if self._is_stopped:  # meanwhile
                    session.end(EndedBy.INTERRUPT)
                for frame in session.frames():
                    with self._lock:
                        self._newest.add(frame)
            with self._lock:
                for gap in session.final_gaps:
                    self._newest.add(gap)
        except (TapError, OSError, ValueError) as error:
            self._failure = str(error)
        except Exception as error:  # must not be printed across the screen
            self._failure = f"{type(error).__name__}: {error}"
        finally:
            self._is_over = True


def _which(stats: Stats) -> str:
    """Of the lost events, how many for which reason; "" if there are none."""
    reasons = {
        "ring full": stats.dropped,
        "larger than the ring": stats.oversize,
        "not serializable": stats.errors,
    }
    named = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    return f" ({named})" if named else ""
