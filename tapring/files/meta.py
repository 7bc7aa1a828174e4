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
from .part import META

VERSION: Final = 1

KindName = Literal["lines", "json", "bytes", "array"]


class StageMeta(msgspec.Struct, frozen=True):
    """The events of one stage. dtype: of an ``array`` stage, as ``Array.describe`` writes it."""

    kind: KindName
    dtype: str = ""


class CaptureMeta(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a file's meta that describes the capture. UNSET fields are not written.

    stage, stages: the stage; of a capture of several, the first one, and all of them by name.
    selection: what ``Select.describe`` says. redact, engine_redacts: the paths that the consumer
    and the engine redact. sample, budget, sample_batches: which part of the events was seen.
    summary: the report's facts. versions: of tapring, its protocol, Python and msgspec.
    """

    engine: str = ""
    lanes: list[str] | UnsetType = UNSET
    stage: str = ""
    stages: dict[str, StageMeta] | UnsetType = UNSET
    selection: dict[str, Any] | UnsetType = UNSET
    redact: list[str] | UnsetType = UNSET
    redact_regex: str | UnsetType = UNSET
    engine_redacts: list[str] | UnsetType = UNSET
    sample: dict[str, Any] | UnsetType = UNSET
    budget: dict[str, Any] | UnsetType = UNSET
    sample_batches: dict[str, Any] | UnsetType = UNSET
    summary: dict[str, Any] | UnsetType = UNSET
    versions: dict[str, Any] | UnsetType = UNSET


class Meta(CaptureMeta, frozen=True, kw_only=True):
    """Everything in FILE.meta.json. UNSET fields are not written; unknown keys are not read.

    file: the file's name, without its folder. bytes: its size. part: its number in a rotation.
    events: how many it holds, None while it is written. start to pace: see ``pace.Timing``; not
    known while it is written. envelope: whether each event is in a record that says where and when
    it is from. kind, dtype: of the first stage, as in ``StageMeta``.
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
    kind: KindName
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
    return msgspec.json.encode(_facts(meta))


def _one_key_a_line(meta: Meta) -> bytes:
    """JSON with one key on each line, for grep. Indented, the pace would fill thousands."""
    lines = [msgspec.json.encode({key: value})[1:-1] for key, value in _facts(meta).items()]
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def _facts(meta: Meta) -> dict[str, Any]:
    """The keys in the order in which they are written. A value without a JSON form is its text."""
    facts: dict[str, Any] = msgspec.to_builtins(meta, enc_hook=str)
    return {key: facts[key] for key in (*_FIRST, *_THEN) if key in facts} | facts
