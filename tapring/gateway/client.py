"""The client of a server on another machine: its events as frames, its account, its errors.

It reads server-sent events with the envelope, each of which holds a batch. If the connection
breaks, it asks again with the id of the last one, so that no event comes twice, and what is
missing is told. A server that is stopped ends its streams in good order; to a reader, who has not
asked for that, it is a connection that breaks, since the server may be starting again.

A server should end a stream by itself. One that does not is left a few seconds later.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from math import inf
from queue import Empty, Queue
from time import monotonic, sleep
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from ..ended_by import EndedBy
from ..errors import TapError
from ..events.kinds import Blobs, Json, Kind, Lines
from ..files import ndjson
from ..files.decoding import Unreadable
from ..files.envelope import Record, record_of_text
from ..frame import UNKNOWN_NS, Frame, Origin
from .asking import Answer, Client, ServerError, sentences

_LOOK_S: Final = 0.2
_GRACE_S: Final = 5.0  # for a summary: a server ends a stream within a second or so
_TRIES: Final = 6
_UNREADABLE: Final = (Unreadable, RecursionError)
_ID: Final = re.compile(r"[0-9a-z;,.=_-]{0,65536}", re.ASCII)
_AHEAD: Final = 64  # messages that are read ahead of what is written
_STOP: Final = "stopped"  # how the summary of a server that is stopped is passed on
_STOPPED: Final = (
    "the server was stopped before all had been read. Try again when tapring serve runs there again"
)
_LONGEST_LINE: Final = 64 << 20
_KINDS: Final[dict[str, type[Lines | Json | Blobs]]] = {
    "lines": Lines,
    "json": Json,
    "bytes": Blobs,
    "array": Json,  # its records are objects here
}


class Message(NamedTuple):
    """A server-sent event."""

    name: str
    lines: list[bytes]
    identity: str


class _Overdue(NamedTuple):
    """When a stream has gone on for too long, and what it has ended by then."""

    at_s: float
    reason: EndedBy


class Remote:
    """The events of an engine on another machine, as ``delivery.Transfer`` takes them.

    ``kinds``: the kind of each stage, as far as is known. ``account``: the last one that the server
    has told of; ``summary`` is the final one, None before. Both are of the last connection.
    ``resumed``: how often it broke and was resumed. ``missed``: the events that gaps told of.
    ``uncounted``: whether more are missing, which nobody has counted.
    ``ended_by``, ``on_idle``, ``final_gaps``: as those of a Session.

    parameters: of the request. past: what recorders hold is read, and not live events. Opening
    raises ServerError and the errors that a server tells of.
    """

    def __init__(
        self, client: Client, parameters: Mapping[str, str], *, past: bool = False
    ) -> None:
        self.ended_by: str | None = None
        self.on_idle: Callable[[], object] | None = None
        self.final_gaps: tuple[Frame, ...] = ()
        self.account: dict[str, Any] = {}
        self.summary: dict[str, Any] | None = None
        self.error: ServerError | None = None
        self._client = client
        self._parameters = {**parameters, "envelope": "1", "format": "sse"}
        self._method = "POST" if past else "GET"
        self._path = f"/api/v1/{'dump' if past else 'tap'}/{quote(client.place.address)}"
        self._past = past
        self._left = int(parameters["limit"]) if "limit" in parameters else None
        self._closed = False
        self.resumed: int = 0
        self.missed: int = 0
        self.uncounted: bool = False
        self._answer = self._ask("")
        self._began = monotonic()
        self._overdue = self._end_of_duration()
        self._rest = _AHEAD
        stages = self._answer.response.getheader("tapring-stages", "")
        self.kinds: dict[str, Kind] = {}
        for each in filter(None, stages.split(",")):
            stage, _, kind = each.partition("=")
            self._kind_of(stage, kind)
        self._messages: Queue[Message | TapError] = Queue(_AHEAD)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self, reason: str) -> None:
        """Make reading end soon, with this ``ended_by``. A signal handler may call it."""
        self.ended_by = self.ended_by or reason

    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """Frames until the end. Raises ServerError if the connection broke for good."""
        while self.ended_by is None:
            self._end_if_overdue()
            try:
                message = self._messages.get(timeout=_LOOK_S)
            except Empty:
                self._idle()
                continue
            if isinstance(message, TapError):
                if self._left == 0:  # all events have come, and only the summary has not
                    self.end(EndedBy.LIMIT)
                    return
                self.ended_by = EndedBy.ERROR
                raise message
            try:
                frames = list(self._frames_of(message))
            except (LookupError, TypeError, ValueError, AttributeError, *_UNREADABLE) as error:
                self.ended_by = EndedBy.ERROR
                raise ServerError(
                    f"the server has sent what tapring serve would not: {error}"
                ) from None
            yield from frames
            if message.name != "message":
                self._idle()

    def close(self, *, handled: bool = True) -> None:
        """Stop reading, and leave the server."""
        self._closed = True
        self.ended_by = self.ended_by or EndedBy.CLOSED
        while self._reader.is_alive():
            self._answer.cut()
            with suppress(Empty):
                self._messages.get_nowait()
            self._reader.join(0.01)
        self._answer.close()

    def _end_of_duration(self) -> _Overdue:
        """When a server should have ended the stream, by the duration that was asked for."""
        duration = float(self._parameters.get("duration", 0))
        at_s = self._began + duration + _GRACE_S if duration else inf
        return _Overdue(at_s, EndedBy.DURATION)

    def _end_if_overdue(self) -> None:
        """End if the server should have ended the stream; but what has come already is taken."""
        if monotonic() < self._overdue.at_s:
            return
        self._rest -= 1
        if self._rest < 0 or self._messages.empty():
            self.end(self._overdue.reason)

    def _idle(self) -> None:
        if self.on_idle is not None:
            self.on_idle()

    def _note(self, message: Message) -> None:
        facts = json.loads(message.lines[0])
        if message.name == "gap":
            self.uncounted = self.uncounted or bool(facts["tapring_gap"].get("uncounted"))
        elif message.name == "account":
            self.account = dict(facts["tapring_account"])
        elif message.name == _STOP:  # the last account, and not the end
            self.account = dict(facts["tapring_summary"])
        elif message.name == "error":
            told = facts["tapring_error"]
            self.error = ServerError(sentences(told["error"], told["hint"]))
        elif message.name == "summary":
            summary = dict(facts["tapring_summary"])
            self.ended_by = self.ended_by or EndedBy(summary["ended_by"])
            self.summary = summary
            if self.error is not None:
                raise self.error

    # ---- from records to frames ----------------------------------------------------------

    def _frames_of(self, message: Message) -> Iterator[Frame]:
        """The frames of a message: a batch, and the gap before it. None, of an account."""
        if message.name != "message":
            self._note(message)
            return
        records = [record_of_text(line) for line in message.lines]
        missed: dict[Origin, int] = {}
        for origin, run in groupby(records, key=lambda each: each.origin or Origin()):
            events = []
            time_ns = UNKNOWN_NS
            for each in run:
                time_ns = UNKNOWN_NS if each.time_ns is None else each.time_ns
                if each.is_gap:
                    missed[origin] = missed.get(origin, 0) + each.missed
                else:
                    events.append(each)
            if events or origin in missed:
                frame = self._frame(origin, events, time_ns, missed.pop(origin, 0))
                self.missed += frame.missed
                if self._left is not None:  # a stream that was resumed begins to count anew
                    frame = frame.take(self._left)
                    self._left -= frame.count
                yield frame
                if self._left == 0:
                    self._have_all()

    def _have_all(self) -> None:
        """All events have come that were asked for: only the summary is waited for."""
        if self.resumed:  # it would count anew, and its summary be of a part
            self.end(EndedBy.LIMIT)
        elif self._overdue.reason != EndedBy.LIMIT:
            at_s = min(self._overdue.at_s, monotonic() + _GRACE_S)
            self._overdue = _Overdue(at_s, EndedBy.LIMIT)

    def _frame(self, origin: Origin, events: list[Record], time_ns: int, missed: int) -> Frame:
        kind = self._kind_of(origin.stage, "json")
        decode = ndjson.DECODERS[kind.name]
        packed: list[Any] = []
        for each in events:
            try:
                packed.append(decode(bytes(each.event if each.event is not None else b"null")))
            except Unreadable as error:
                raise ServerError(f"the server has sent what is no event: {error}") from None
        payload, count, _ = kind.pack(packed)
        return Frame(bytes(payload), count, time_ns, missed, origin, kind)

    def _kind_of(self, stage: str, name: str) -> Kind:
        if stage not in self.kinds:
            self.kinds[stage] = _KINDS.get(name, Json)()
        return self.kinds[stage]

    # ---- the thread that reads ------------------------------------------------------------

    def _ask(self, last_id: str) -> Answer:
        parameters = dict(self._parameters)
        if last_id:
            parameters.pop("last", None)
            if "duration" in parameters:
                left = float(parameters["duration"]) - (monotonic() - self._began)
                parameters["duration"] = f"{max(left, 0.001):.9f}"
        return self._client.open(self._method, self._path, parameters, "text/event-stream", last_id)

    def _read(self) -> None:
        """Read messages, and ask again if the connection breaks, until the summary has come."""
        last_id = ""
        while not self._closed:
            failure: TapError = ServerError("the connection to the server has ended early")
            try:
                for message in messages(self._answer.response):
                    if not _ID.fullmatch(message.identity):
                        last_id = ""
                        raise ValueError("an id that tapring serve would not give")
                    last_id = message.identity or last_id
                    if message.name == "summary" and self._was_stopped(message):
                        failure = ServerError(_STOPPED)
                        self._messages.put(message._replace(name=_STOP))
                        break
                    self._messages.put(message)
                    if message.name == "summary" or self._closed:
                        return
            except Exception as error:  # the other thread waits for what this one says
                failure = self._client.unreachable(error)
            if self._past or not last_id or not self._ask_again(last_id):
                self._messages.put(failure)
                return

    def _was_stopped(self, summary: Message) -> bool:
        """Whether a summary says that the stream was interrupted, and not by this client."""
        with suppress(LookupError, TypeError, ValueError, RecursionError):
            told = json.loads(summary.lines[0])["tapring_summary"]["ended_by"]
            return self.ended_by is None and bool(told == EndedBy.INTERRUPT)
        return False

    def _ask_again(self, last_id: str) -> bool:
        """Ask for what follows ``last_id``; False if the server does not answer for a while."""
        self._answer.close()
        for tries in range(_TRIES):
            sleep(min(5.0, 0.1 * 2**tries))
            if self._closed:
                return False
            try:
                self._answer = self._ask(last_id)
            except ServerError:
                continue
            except Exception:  # the engine has ended, or the token has
                return False
            self.resumed += 1
            return True
        return False


def messages(response: http.client.HTTPResponse) -> Iterator[Message]:
    """The server-sent events of a response. Raises ValueError for one that is too large."""
    lines: list[bytes] = []
    name, identity, size = "message", "", 0
    while line := response.readline(_LONGEST_LINE + 1):
        size += len(line)
        if size > _LONGEST_LINE:
            raise ValueError("the server has sent a message of more than 64 MiB")
        field, _, value = line.rstrip(b"\n").partition(b": ")
        if line == b"\n":
            if lines:
                yield Message(name, lines, identity)
            name, lines, identity, size = "message", [], "", 0
        elif field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value.decode()
        elif field == b"id":
            identity = value.decode()
