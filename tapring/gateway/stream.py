"""Live events: the frames of a session to one client.

Theory of operation. Frames are taken as fast as the client takes what is sent: while it does not,
they wait in the session's ring, and the engine drops and counts what does not fit. So a client that
stalls costs the server one chunk, and the engine nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import time_ns
from typing import Any, Final

from ..consumer.session import Session
from ..consumer.stats import Totals
from ..delivery.report import Report
from ..ended_by import EndedBy
from ..errors import TapError
from ..events.kinds import Lines
from ..frame import Frame
from .encoding import Encoding
from .positions import Positions
from .problem import problem_of
from .response import CHUNK, Response, Send
from .sent import Sent

BEAT_S: Final = 15.0
_LOOK_S: Final = 1.0
_FRAMES: Final = 256
_FILTERING_S: Final = 0.01  # others have their turn then
# 50 quiet streams take 72 % of a core if each looks 200 times a second, as other sessions do; 27 %
# at 50 looks, and 20 % at 20.
_QUIET_S: Final = 0.5
_QUIET_PAUSE_S: Final = 0.05


class Stream(Response):
    """Sends a session's frames, and closes it.

    limit: how many events to send. still_allowed: raises Problem once the reader may not read any
    more; called about once a second. positions: where the reader is.
    """

    def __init__(
        self,
        session: Session[Any],
        encoding: Encoding,
        sent: Sent,
        report: Report,
        *,
        deadline_s: float,
        still_allowed: Callable[[], object],
        limit: int | None = None,
        positions: Positions | None = None,
    ) -> None:
        super().__init__(session, report, encoding, sent, deadline_s)
        self._session = session
        self._left = limit
        self._still_allowed = still_allowed
        self._told: dict[str, Any] = {}
        self._again = 0  # events that passed, and that the reader had already
        self._positions = positions or Positions()

    @property
    def lost(self) -> int:
        """As of a Response."""
        stats = self._session.stats
        return stats.dropped + stats.oversize + stats.errors + stats.redaction_dropped

    @property
    def position(self) -> str:
        """As of a Response."""
        return str(self._positions)

    async def close(self) -> None:
        """As a Response does."""
        await self._session.aclose()

    async def carry(self, send: Send) -> None:
        """As a Response does."""
        try:
            await self._carry(send)
        except TapError as error:
            self.fail(problem_of(error, self._session.engine))

    async def _carry(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        sent_at = looked_at = began = loop.time()
        stats = self._session.stats
        for origin in self._positions.uncounted(stats.pasts, stats.lanes_joined):
            await self.send(send, self.encoding.uncounted(origin))
        self._positions.begin()
        await self.send(send, self._account())  # its id resumes a stream without any event
        while True:
            now = loop.time()
            if now - looked_at >= _LOOK_S:
                looked_at = now
                self._look()
                await self.send(send, self._missed_before())
                if now - began >= self.deadline_s:
                    self.stop(EndedBy.DURATION)
                await self.send(send, self._account())
            chunk = self._gather()
            if chunk:
                await self.send(send, chunk)
                sent_at = loop.time()
                await asyncio.sleep(0)
            elif self._left == 0 or self._session.ended_by is not None:
                await self.send(send, self._missed_before())
                return
            elif now - sent_at >= BEAT_S:
                await self.send(send, self.encoding.beat())
                sent_at = now
            elif now - sent_at >= _QUIET_S and not self._session.fill:
                await asyncio.sleep(_QUIET_PAUSE_S)
            else:
                await self._session.ready(_QUIET_S)

    def _look(self) -> None:
        self._still_allowed()
        self._positions.leave(frozenset(each.lane for each in self._session.lanes_ended))

    def _missed_before(self) -> bytes:
        """What a reader that resumes has missed in lanes of which a filter has looked at events.

        Without a filter, the first frame tells of it.
        """
        if not (self.encoding.resumes and self._positions.is_behind):
            return b""
        gaps = []
        for origin, first, _, _ in self._session.sifted():
            missed = self._positions.missed_before(origin.lane, origin.stage, first)
            if missed:
                gap = Frame(b"", 0, time_ns(), missed, origin, Lines())
                gaps.append(self.encoding.frame(gap, self.position))
        return b"".join(gaps)

    def _account(self) -> bytes:
        """What was counted so far, if something was since the last time."""
        if not self.encoding.resumes:
            return b""
        stats = self._session.stats
        account = {name: getattr(stats, name) for name in Totals.__struct_fields__}
        account |= {"written": self.sent.events, "lanes": len(stats.lanes_joined)}
        again = 0
        for sifting in self._session.sifted():
            again += self._positions.again(sifting)
            self._positions.look_past(sifting)
        # Those that have come out of a recording for the second time are no news.
        account["filtered"] -= max(0, again - self._again)
        account["recorded"] -= max(again, self._again)
        if account == self._told:
            return b""
        self._told = account
        return self.encoding.account(account, self.position)

    def _gather(self) -> bytes:
        """The records of the frames that are there, up to a chunk."""
        parts: list[bytes] = []
        size = 0
        for _ in range(_FRAMES):
            if size >= CHUNK or self._left == 0:
                break
            # A frame that the reader has already must not use up what is left.
            left = None if self._positions.has_resumed else self._left
            frame = self._session.next_frame(0, left, enough=_FILTERING_S)
            if frame is None:
                break
            record = self._record(frame)
            parts.append(record)
            size += len(record)
        if self._left == 0:
            self.stop(EndedBy.LIMIT)
        return b"".join(parts)

    def _record(self, frame: Frame) -> bytes:
        """The record of what is new to the reader in a frame."""
        position, gaps = "", b""
        if self.encoding.resumes:
            gaps = self._missed_before()
            up_to = self._session.sifted_up_to(frame)
            if self._positions.has_resumed:
                rest, up_to = self._rest_of(frame, up_to)
                if rest is None:
                    return gaps
                frame = rest
            self._positions.pass_on(frame, up_to)
            position = self.position
        self.sent.write(frame)
        if self._left is not None:
            self._left -= frame.count
        return gaps + self.encoding.frame(frame, position)

    def _rest_of(self, frame: Frame, up_to: int) -> tuple[Frame | None, int]:
        """What a reader that has resumed does not have yet of a frame, and the number behind it."""
        places = self._session.places_of(frame)
        rest = self._positions.rest_of(frame, places)
        self._again += frame.count - (0 if rest is None else rest.count)
        if rest is not None and self._left is not None and rest.count > self._left:
            up_to = frame.sequence + places[frame.count - rest.count + self._left]
            rest = rest.take(self._left)
        return rest, up_to
