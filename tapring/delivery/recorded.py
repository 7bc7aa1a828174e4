"""Recorded files read as a session is: frames that passed selection and redaction, and a count.

A frame keeps the time, the origin and the gaps that its file knows. What no file says is empty: the
lane, the process, and the time, which is ``UNKNOWN_NS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from ..ended_by import EndedBy
from ..errors import RecordingError
from ..events.decoding import one_line_each
from ..events.kinds import Json, Kind
from ..events.redaction import Redactor
from ..events.selection import Select
from ..events.sieve import KeptAway, Sieve, Sieves
from ..files.ndjson import texts_of
from ..files.reading import Placed, Recording
from ..frame import UNKNOWN_NS, Frame, Origin

_EVENTS: Final = 1024
"""Events in a frame at most: half of the time for a frame of 64 is spent on the frame itself."""
_FRAMES_BETWEEN_TURNS: Final = 64
_JSON: Final = Json()
_decoder: Final = msgspec.json.Decoder()


class Recorded:
    """The events of ``recordings``, one after the other. ``Transfer`` carries them into a sink.

    select, redact: as for a session. is_wanted: takes the time of events (nanoseconds since the
    epoch) and says whether they are wanted; None wants all.

    read, outside: events so far that the files held, and that ``is_wanted`` left out. skipped,
    missed: those that could not be read, and those that a capture lost, as far as its envelope says
    so. failures: the errors that ended the reading of a file; the next file was read then. away,
    seen_keys, final_gaps, ended_by, on_idle: as those of a session. as_json: if set, frames of all
    kinds are handed out as ``json``, with the objects that stand for lines, blobs and records.

    Raises ValueError if a step of the selection does not apply to a kind of the recordings, and
    RecordingError for a kind that cannot be made.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        select: Select | None = None,
        redact: Redactor | None = None,
        *,
        is_wanted: Callable[[int], bool] | None = None,
    ) -> None:
        self.recordings = recordings
        self.ended_by: str | None = None
        self.on_idle: Callable[[], object] | None = None
        self.as_json = False
        self.outside: int = 0
        self.failures: list[RecordingError] = []
        self.final_gaps: tuple[Frame, ...] = ()
        self._is_wanted = is_wanted
        sieves = Sieves(select, redact)
        self.away: KeptAway = sieves.away
        self.seen_keys: dict[str, None] = sieves.seen_keys
        self._kinds = [each.make_kinds() for each in recordings]
        self._sieves: dict[tuple[str, str], Sieve | None] = {}
        for recording, kinds in zip(recordings, self._kinds, strict=True):
            for stage, kind in kinds.items():
                try:
                    self._sieves[_key(kind)] = sieves.of(kind)
                except ValueError as error:
                    raise ValueError(f"{recording.path}, stage {stage}: {error}") from None
        self._missed: dict[Origin, tuple[int, int, Kind]] = {}
        self._idle_frames = 0
        self._is_reading = False

    @property
    def kinds(self) -> list[tuple[str, Kind]]:
        """Each stage and kind of what is handed out, once."""
        found: dict[tuple[str, str, str], tuple[str, Kind]] = {}
        for kinds in self._kinds:
            for stage, kind in kinds.items():
                sieve = self._sieves[_key(kind)]
                left = kind if sieve is None else sieve.kind
                left = _JSON if self.as_json else left
                found.setdefault((stage, *_key(left)), (stage, left))
        return list(found.values())

    @property
    def read(self) -> int:
        """Events that the files held, as far as they were read."""
        return sum(each.read for each in self.recordings)

    @property
    def skipped(self) -> int:
        """What could not be read as an event."""
        return sum(each.skipped for each in self.recordings)

    @property
    def missed(self) -> int:
        """Events that the captures lost, as far as the files have gaps."""
        return sum(each.missed for each in self.recordings)

    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """All frames of which something is left, until ``limit`` events; the last is cut to fit.

        A damaged file ends with the events before the damage; see ``failures``.
        """
        left = limit
        for recording, kinds in zip(self.recordings, self._kinds, strict=True):
            frames = self._sifted(recording, kinds)
            while (frame := self._next(frames)) is not None:
                if left is not None:
                    frame = frame.take(left)
                    left -= frame.count
                yield frame
                if left == 0:
                    self.ended_by = self.ended_by or EndedBy.LIMIT
                    return
            if self.ended_by is not None:
                return
        self.ended_by = EndedBy.END

    def end(self, reason: str) -> None:
        """Make reading end soon, with this ``ended_by``. A signal handler may call it."""
        self.ended_by = reason
        if self._is_reading:  # standard input may keep it waiting
            raise KeyboardInterrupt

    def close(self, *, handled: bool = True) -> None:
        """Tell of the gaps behind the last frames in ``final_gaps``."""
        missed, self._missed = self._missed, {}
        self.final_gaps += tuple(
            Frame(b"", 0, time_ns, count, origin, kind)
            for origin, (count, time_ns, kind) in missed.items()
        )

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        try:
            self._is_reading = True
            return None if self.ended_by is not None else next(frames, None)
        except RecordingError as error:
            self.failures.append(error)
            return None
        finally:
            self._is_reading = False

    def _sifted(self, recording: Recording, kinds: Mapping[str, Kind]) -> Iterator[Frame]:
        lanes = recording.meta.lanes if recording.meta else ()
        lane = lanes[0] if lanes and len(lanes) == 1 else ""
        origins = {stage: Origin(recording.engine, lane, 0, stage) for stage in kinds}
        for placed in recording.placed(_EVENTS):
            kind = kinds[placed.stage]
            origin = placed.origin or origins[placed.stage]
            time_ns = UNKNOWN_NS if placed.time_ns is None else placed.time_ns
            if self._is_wanted is not None and not self._is_wanted(time_ns):
                self.outside += len(placed.events)
            elif placed.missed:
                before = self._missed.get(origin, (0, 0, kind))[0]
                self._missed[origin] = before + placed.missed, time_ns, kind
            elif (frame := self._left_of(placed, kind, origin, time_ns)) is not None:
                yield frame

    def _left_of(self, placed: Placed, kind: Kind, origin: Origin, time_ns: int) -> Frame | None:
        """What selection and redaction leave of some events; None if nothing."""
        payload, count = _packed(kind, placed.events)
        sieve = self._sieves[_key(kind)]
        if sieve is not None:
            sifted = sieve.sift(payload, count, time_ns)
            if self.away.failures:
                self.away.place(origin.lane, time_ns)
            payload, count, kind = sifted.payload, sifted.count, sieve.kind
        if not count:
            self._idle_frames += 1
            if self.on_idle is not None and not self._idle_frames % _FRAMES_BETWEEN_TURNS:
                self.on_idle()
            return None
        missed, _, _ = self._missed.pop(origin, (0, 0, kind))
        frame = Frame(payload, count, time_ns, missed, origin, kind)
        return _json(frame) if self.as_json and kind.name != _JSON.name else frame


def _key(kind: Kind) -> tuple[str, str]:
    return kind.name, kind.describe()


def _packed(kind: Kind, events: Sequence[object]) -> tuple[bytes, int]:
    payload, count, _ = kind.pack(events)
    if kind.name == _JSON.name and payload.count(b"\n") != count:  # an event over several lines
        lines = one_line_each(_decoder, payload, count)
        payload = b"".join(lines) if lines else payload
    return bytes(payload), count


def _json(frame: Frame) -> Frame:
    texts = [*texts_of(frame.kind.name)(frame), b""]
    return msgspec.structs.replace(frame, payload=b"\n".join(texts), kind=_JSON)
