"""FILE.meta.json, which stands beside each file of a capture: its facts, written and read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ..errors import RecordingError
from ..events.decoding import NOT_DECODED
from ..literals import StageKind
from ..words import as_json
from .part import META

VERSION: Final = 1


class StageMeta(msgspec.Struct, frozen=True):
    """The events of one stage.

    kind: ``lines``, ``json``, ``bytes`` or ``array``.
    dtype: of an ``array`` stage, as ``Array.describe`` writes it; otherwise empty.
    """

    kind: StageKind
    dtype: str = ""


class Sampled(msgspec.Struct, frozen=True):
    """Which events the consumer kept.

    one_in: one event in this many.
    by: the field whose value decides, so that all events with one value are kept or none; absent
    if events are counted.
    """

    one_in: int
    by: str | UnsetType = UNSET


class SampledBatches(msgspec.Struct, frozen=True):
    """Which batches the engine offered.

    one_in: one batch in this many.
    """

    one_in: int


class Budget(msgspec.Struct, frozen=True):
    """The engine's budget, and what came of it.

    share: the share of the engine's time that all sessions may take, 0.0 to 1.0.
    served: the share of its batches that the session was offered at the end, 0.0 to 1.0.
    """

    share: float
    served: float


class Selection(msgspec.Struct, frozen=True):
    """What the consumer selected. Steps that were not asked for are absent.

    grep: the regular expression that an event's text must match.
    where: the JMESPath expression that must be true.
    sample: one event in this many is kept.
    by: the field whose value decides in ``sample``.
    rate: how many events are kept at most, as in ``5/s``.
    fields: the paths of the fields that are kept.
    """

    grep: str | UnsetType = UNSET
    where: str | UnsetType = UNSET
    sample: int | UnsetType = UNSET
    by: str | UnsetType = UNSET
    rate: str | UnsetType = UNSET
    fields: list[str] | UnsetType = UNSET


class IncidentMeta(msgspec.Struct, frozen=True):
    """Why the events of a file were kept.

    kind: ``trigger`` (the engine asked for it), ``where`` (an event met the expression), ``death``
    (killed or crashed), ``exit`` or ``exception``.
    why: what the engine said, the expression, or the exception.
    time: when it happened, RFC 3339.
    lane: the lane in which it happened, ENGINE.LANE.
    pid: its process.
    coalesced: how many more incidents came so soon after another that they have no file.
    missed: events that were overwritten before the command looked at them: one of them may have met
    the expression, too.
    problems: what could not be read.
    """

    kind: str
    why: str
    time: str
    lane: str
    pid: int
    coalesced: int = 0
    missed: int = 0
    problems: list[str] = []


class CaptureMeta(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a file's meta that describes the capture. UNSET fields are not written.

    engine: the engine's name, or the pattern that was captured.
    lanes: the ids of the lanes that were read.
    stage: the stage; of a capture of several, their names with commas between.
    stages: of a capture of several stages, all of them by name.
    selection: what the consumer selected.
    redact: the paths that the consumer redacted.
    redact_regex: the regular expression whose matches it redacted.
    engine_redacts: the paths that the engine takes out before an event enters shared memory.
    sample: which events were kept, if the consumer sampled.
    budget: the engine's budget, if it has one.
    sample_batches: which batches were offered, if the engine sampled.
    summary: the summary of the capture, as of the end of this file.
    incident: why the events were kept, if an incident was recorded (tapring record).
    versions: the versions of tapring, its protocol, Python and msgspec.
    """

    engine: str = ""
    lanes: list[str] | UnsetType = UNSET
    stage: str = ""
    stages: dict[str, StageMeta] | UnsetType = UNSET
    selection: Selection | UnsetType = UNSET
    redact: list[str] | UnsetType = UNSET
    redact_regex: str | UnsetType = UNSET
    engine_redacts: list[str] | UnsetType = UNSET
    sample: Sampled | UnsetType = UNSET
    budget: Budget | UnsetType = UNSET
    sample_batches: SampledBatches | UnsetType = UNSET
    summary: dict[str, Any] | UnsetType = UNSET
    incident: IncidentMeta | UnsetType = UNSET
    versions: dict[str, str] | UnsetType = UNSET


class Meta(CaptureMeta, frozen=True, kw_only=True):
    """Everything in FILE.meta.json. UNSET fields are not written; unknown keys are not read.

    file: the file's name, without its folder.
    bytes: the file's size in bytes.
    complete: whether the file was finished; false after a failure or a kill.
    tapring_capture: the version of this description, 1.
    part: the file's number in a rotation, from 1.
    events: how many events the file holds; null while it is written.
    start: when the engine offered the first batch, RFC 3339; null if the file holds no event.
    end: when the engine offered the last batch, RFC 3339.
    start_ns: as ``start``, in nanoseconds since the epoch.
    end_ns: as ``end``, in nanoseconds since the epoch.
    pace: how many events had come at which time: pairs of nanoseconds since ``start_ns`` and a
    number of events.
    format: the file's format, such as ``ndjson``.
    compression: ``gz`` or ``zst``; null without compression.
    envelope: whether each event is in a record that says where and when it is from.
    kind: the kind of the first stage: ``lines``, ``json``, ``bytes`` or ``array``.
    dtype: of an ``array`` stage, its dtype; otherwise empty.
    """

    file: str | UnsetType = UNSET
    bytes: int | UnsetType = UNSET
    complete: bool | UnsetType = UNSET
    tapring_capture: Literal[1]
    part: int | UnsetType = UNSET
    events: int | None = None
    start: str | UnsetType | None = UNSET
    end: str | UnsetType | None = UNSET
    start_ns: int | UnsetType | None = UNSET
    end_ns: int | UnsetType | None = UNSET
    pace: list[tuple[int, int]] | UnsetType = UNSET
    format: str
    compression: str | None = None
    envelope: bool | UnsetType = UNSET
    kind: StageKind
    dtype: str = ""


# These keys come first in the file, because a person looks for them first.
_FIRST: Final = ("file", "bytes", "complete", "tapring_capture", "part", "events")
_THEN: Final = ("start", "end", "start_ns", "end_ns", "pace")


def write_meta(path: str, meta: Meta, *, instead: bool = False) -> OSError | None:
    """Write ``meta`` beside the file ``path``; return the error if that failed.

    The events matter more: a full disk costs the meta, not them. If writing fails, the meta of an
    older file of that name is removed, because it would describe the wrong file. With
    ``instead``, the older meta describes this very file, and stays.
    """
    name = path + META
    unfinished = f"{name}.{os.urandom(4).hex()}"  # another capture may end here at this moment
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(_one_key_a_line(meta))
        os.rename(unfinished, name)
    except BaseException as error:  # an interrupt leaves no half-written file either
        for each in (unfinished,) if instead else (unfinished, name):
            with suppress(OSError):
                os.unlink(each)
        if not isinstance(error, OSError):
            raise
        return error
    return None


def remove_meta(path: str) -> None:
    """Remove the meta of the file ``path``, which is gone.

    If the file exists again, another capture made it, and the meta is that capture's: it stays.
    """
    if not os.path.lexists(path):
        with suppress(OSError):
            os.unlink(path + META)


def read_meta(path: str) -> Meta | None:
    """The meta of the file ``path``; None if it has none. Raises RecordingError."""
    beside = path + META
    try:
        return msgspec.json.decode(Path(beside).read_bytes(), type=Meta)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordingError(f"{beside}: {error.strerror or error}") from None
    except NOT_DECODED as error:
        raise RecordingError(
            f"{beside} does not describe a capture ({error}). Move it away to read {path} "
            f"by its name alone"
        ) from None


def encode_meta(meta: Meta) -> bytes:
    """``meta`` as JSON on one line."""
    return as_json(_facts(meta))


def _one_key_a_line(meta: Meta) -> bytes:
    """JSON with one key on each line, for grep. Indented, the pace would fill thousands."""
    lines = [as_json({key: value})[1:-1] for key, value in _facts(meta).items()]
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def _facts(meta: Meta) -> dict[str, Any]:
    """The keys in the order in which they are written. A value without a JSON form is its text."""
    facts: dict[str, Any] = msgspec.to_builtins(meta, enc_hook=str)
    return {key: facts[key] for key in (*_FIRST, *_THEN) if key in facts} | facts
