"""The kinds of stages: how each packs a batch into a payload, and unpacks it.

Each kind is an object with the same few methods. numpy is loaded only when an ``array`` stage is
made, so that ``import tapring`` stays light.
"""

from __future__ import annotations

import io
import struct
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from ..literals import StageKind
from ..thrown_in import comes_of, was_thrown_in
from .batches import NotABatch, sequence, type_of, unreadable
from .cutting import (
    BlobParts,
    Parts,
    RecordParts,
    TextParts,
    Uncut,
    ends_of_blobs,
    split_blobs,
    split_text,
)
from .decoding import NOT_DECODED as NOT_DECODED
from .decoding import decode_lines
from .dtypes import check, check_described
from .one_by_one import EncHook, Report, encode_each, ignore, pack_each
from .padding import copy_solid, solid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

Packed = tuple[Any, int, int]
"""The payload, the events in it, and how many events could not be serialized."""

_NEWLINE: Final = b"\n"
_without_newline: Final = itemgetter(slice(None, -1))


class Kind(Protocol):
    """What a stage carries. ``code`` is in each frame's header, ``name`` in the registry."""

    code: int
    name: StageKind
    takes_any_list: bool
    """Whether a list is a batch, whatever is in it."""
    report: Report
    """Is told of events that ``pack`` leaves out."""

    def count(self, batch: Any) -> int:
        """The number of events in ``batch``, without serializing it. Raises NotABatch."""

    def pack(self, batch: Any) -> Packed:
        """Serialize ``batch``. An event that fails is left out and counted. Raises NotABatch."""

    def parts(self, payload: Any, count: int) -> Parts:
        """The payload, to be taken in parts that fit where they go."""

    def split(self, payload: Any, count: int, at: int) -> tuple[Any, Any]:
        """The payload of the first ``at`` events, and that of the others."""

    def unpack(self, payload: bytes, count: int) -> tuple[list[Any], int]:
        """The events of a frame, and their number minus ``count`` (0 if the frame is right)."""

    def describe(self) -> str:
        """What a consumer must know besides the name: the dtype of an array, otherwise ``""``."""


class _Text:
    """What ``lines`` and ``json`` share: events that end with a newline."""

    def parts(self, payload: bytes, count: int) -> Parts:
        return TextParts(payload, count)

    def split(self, payload: bytes, count: int, at: int) -> tuple[bytes, bytes]:
        return split_text(payload, at)

    def describe(self) -> str:
        return ""


class Lines(_Text):
    """Lines of text: bytes or str (UTF-8, surrogateescape), or one block of several lines."""

    code = 1
    name: StageKind = "lines"
    takes_any_list = True

    def __init__(self) -> None:
        self.report: Report = ignore

    def count(self, batch: Any) -> int:
        if type(batch) is list:
            return len(batch)
        if isinstance(batch, bytes | bytearray | memoryview | str):
            try:
                return self._pack_block(batch)[1]
            except Exception as error:  # the code of a subclass may run here
                refused = unreadable(error, self._pack_block, batch)
                if refused is None:
                    raise
                raise refused from error
        return len(sequence(batch, self.name))

    def pack(self, batch: Any) -> Packed:
        if type(batch) is list:
            # An empty last line ends the line before it, for 1 ns an event. Adding a newline to
            # the joined text would copy it again (2 ns an event of 206 bytes). The copy is what is
            # counted: another thread may change the list meanwhile.
            lines = [*batch, b""]
            # join takes any buffer, also a numpy scalar's. Looking at each event's type would take
            # 7 to 20 ns an event (a batch of 64 lines takes 50 ns an event altogether).
            if type(lines[0]) is bytes or _BUFFERS.issuperset(map(type, lines)):
                try:
                    return _NEWLINE.join(lines), len(lines) - 1, 0
                except (TypeError, ValueError, BufferError) as error:  # text; a released memoryview
                    if was_thrown_in(error):
                        raise
            return self._pack_text(lines[:-1])
        if isinstance(batch, bytes | bytearray | memoryview | str):
            return self._pack_block(batch)
        return self.pack(sequence(batch, self.name))

    def unpack(self, payload: bytes, count: int) -> tuple[list[bytes], int]:
        # A BytesIO finds newlines with memchr (18 ns for a line of 206 bytes); bytes.split looks
        # at each byte (72 ns). Cutting the newline off costs 28 ns this way, 36 in a comprehension.
        lines = list(map(_without_newline, io.BytesIO(payload)))
        return lines, len(lines) - count

    def _pack_text(self, batch: list[Any]) -> Packed:
        try:
            text = "\n".join([*batch, ""]).encode("utf-8", "surrogateescape")
        except (TypeError, UnicodeEncodeError) as error:
            if was_thrown_in(error):
                raise
            return _joined(*pack_each(batch, _line, self.report))
        return text, len(batch), 0

    def _pack_block(self, block: Any) -> Packed:
        if isinstance(block, str):
            try:
                block = str.encode(block, "utf-8", "surrogateescape")  # not a subclass's code
            except UnicodeEncodeError:
                lines = str.split(block, "\n")
                lines = lines if lines[-1] else lines[:-1]
                return _joined(*pack_each(lines, _line, self.report))
        elif type(block) is not bytes:
            try:
                block = bytes(memoryview(block))
            except ValueError as error:  # a released memoryview
                if was_thrown_in(error):
                    raise
                raise NotABatch(f"a block of lines could not be read: {error}") from None
        if block and not block.endswith(_NEWLINE):
            block += _NEWLINE
        return block, block.count(_NEWLINE), 0


class Json(_Text):
    """Any objects that msgspec can encode, as newline-delimited JSON."""

    code = 2
    name: StageKind = "json"
    takes_any_list = True

    def __init__(self, enc_hook: EncHook | None = None) -> None:
        self.report: Report = ignore
        self._enc_hook = enc_hook
        self._encoder = msgspec.json.Encoder(enc_hook=enc_hook)
        self._decoder = msgspec.json.Decoder()

    def count(self, batch: Any) -> int:
        return len(batch if type(batch) is list else sequence(batch, self.name))

    def pack(self, batch: Any) -> Packed:
        events = batch.copy() if type(batch) is list else sequence(batch, self.name)
        try:
            return self._encoder.encode_lines(events), len(events), 0
        except Exception as error:
            if not comes_of(error, self._encoder.encode_lines, events):
                raise
            return _joined(*encode_each(events, self._enc_hook, self.report))

    def parts(self, payload: bytes, count: int) -> Parts:
        if payload.count(_NEWLINE) != count:  # a msgspec.Raw holds newlines
            return Uncut(payload, count)
        return super().parts(payload, count)

    def unpack(self, payload: bytes, count: int) -> tuple[list[Any], int]:
        # Only a msgspec.Raw can bring text that is not JSON, or a newline, into a frame. Such a
        # line stays as it is.
        events, _ = decode_lines(self._decoder, payload)
        return events, len(events) - count


class Blobs:
    """Arbitrary payloads. A frame is a table of their 32-bit lengths, then the payloads."""

    code = 3
    name: StageKind = "bytes"
    takes_any_list = True

    def __init__(self) -> None:
        self.report: Report = ignore

    def count(self, batch: Any) -> int:
        return len(sequence(batch, self.name))

    def pack(self, batch: Any) -> Packed:
        blobs = batch.copy() if type(batch) is list else sequence(batch, self.name)
        errors = 0
        # Not a generator: Python drops an exception that comes while an unfinished one is closed.
        if not _BYTES.issuperset(map(type, blobs)):
            blobs, errors = pack_each(blobs, _blob, self.report)
        return self._join(blobs), len(blobs), errors

    def parts(self, payload: bytes, count: int) -> BlobParts:
        return BlobParts(payload, count)

    def split(self, payload: bytes, count: int, at: int) -> tuple[bytes, bytes]:
        return split_blobs(payload, count, at)

    def unpack(self, payload: bytes, count: int) -> tuple[list[bytes], int]:
        ends = ends_of_blobs(payload, count)
        return [payload[a:b] for a, b in pairwise(ends)], len(ends) - 1 - count

    def describe(self) -> str:
        return ""

    def _join(self, events: list[bytes]) -> bytes:
        return b"".join((struct.pack(f"={len(events)}I", *map(len, events)), *events))


class Array:
    """Records of one numpy dtype. An event is a record, and a frame is the records' bytes."""

    code = 4
    name: StageKind = "array"
    takes_any_list = False

    def __init__(self, dtype: DTypeLike) -> None:
        import numpy as np

        self.report: Report = ignore
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        check(self.dtype)
        self._asarray = np.asarray
        self._bytes = np.dtype(np.uint8)
        self._record = np.void
        # Not found here: a consumer has this dtype from another process, and finding padding takes
        # memory in proportion to the size of a record.
        self._solid: np.dtype[Any] | None = self.dtype

    def count(self, batch: Any) -> int:
        try:
            return len(self._records(batch))
        except Exception as error:  # what only looks like an array runs its own code here
            refused = unreadable(error, self._records, batch)
            if refused is None:
                raise
            raise refused from error

    def pack(self, batch: Any) -> Packed:
        records = self._records(batch)
        if not len(records):
            return b"", 0, 0
        if self._solid is not None:
            if self._solid is self.dtype:
                self.prepare()
                return self.pack(records)
            records = copy_solid(records, self._solid)
        elif not records.flags.c_contiguous:
            records = records.copy()
        return memoryview(records.view(self._bytes)), len(records), 0

    def parts(self, payload: memoryview, count: int) -> RecordParts:
        return RecordParts(payload, count, self.dtype.itemsize)

    def split(self, payload: memoryview, count: int, at: int) -> tuple[memoryview, memoryview]:
        end = at * self.dtype.itemsize
        return payload[:end], payload[end:]

    def unpack(self, payload: bytes, count: int) -> tuple[list[Any], int]:
        """One read-only array of all the frame's records, without a copy."""
        import numpy as np

        whole = len(payload) // self.dtype.itemsize
        return [np.frombuffer(payload, self.dtype, whole)], whole - count

    def describe(self) -> str:
        """The dtype as in the header of a .npy file; ``kind_from`` reads it."""
        from numpy.lib.format import dtype_to_descr

        return repr(dtype_to_descr(self.dtype))

    def prepare(self) -> None:
        """Find the padding now, so that the first batch does not wait for it."""
        self._solid = solid(self.dtype)

    def _records(self, batch: Any) -> Any:
        if type(batch) is list:
            # From a bare number, numpy would fill every field of a record.
            if [event for event in batch if not isinstance(event, tuple | self._record)]:
                raise NotABatch(f"a list of records must hold tuples or records of {self.dtype}")
            try:
                records = self._asarray(batch, self.dtype)
            except Exception as error:  # a record's own code may run here
                if not comes_of(error, partial(self._asarray, dtype=self.dtype), batch):
                    raise
                # Without numpy's text, which quotes the value.
                why = type(error).__name__
                raise NotABatch(f"a record does not fit {self.dtype} ({why})") from None
        else:
            records = batch
        if getattr(records, "dtype", None) != self.dtype:
            raise NotABatch(
                f"an array stage takes arrays of {self.dtype}, not {type_of(batch)}"
                f"{' of ' + str(batch.dtype) if hasattr(batch, 'dtype') else ''}"
            )
        records = self._asarray(batch := records)
        if records is not batch and hasattr(type(batch), "mask"):
            raise NotABatch(
                f"a {type_of(batch)} would lose its mask; offer batch.filled(value), which puts "
                f"a value of your choice in place of what is masked"
            )
        if records.ndim != 1:
            if records.ndim == 0:
                return records.reshape(1)
            raise NotABatch(f"a batch of records must have one dimension, not {records.ndim}")
        return records


def array(dtype: DTypeLike) -> Array:
    """A stage of records of a numpy structured ``dtype``: ``Tap(stages={"s": array(dtype)})``.

    The padding of an aligned dtype is zeroed: it never enters shared memory as it is. Raises
    ValueError for a dtype that holds Python objects or has no size, whose fields overlap or are out
    of order, whose names are not text, or whose times have no unit.
    """
    kind = Array(dtype)
    check_described(kind.dtype)
    kind.prepare()
    return kind


PLAIN: Final[dict[str, type[Lines | Json | Blobs]]] = {
    kind.name: kind for kind in (Lines, Json, Blobs)
}
"""The kinds that a name alone describes."""


def kind_from(name: str, description: str) -> Kind:
    """The kind that a registry describes. Raises ValueError for an unknown or invalid one."""
    if name in PLAIN:
        return PLAIN[name]()
    if name != Array.name:
        raise ValueError(f"unknown kind of stage {name!r}")
    from ast import literal_eval

    from numpy.lib.format import descr_to_dtype

    try:
        return Array(descr_to_dtype(literal_eval(description)))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"invalid dtype {description!r}: {error}") from None


def _joined(lines: list[bytes], errors: int) -> Packed:
    return _NEWLINE.join([*lines, b""]), len(lines), errors


_BYTES: Final = frozenset((bytes,))
_BUFFERS: Final = frozenset((bytes, bytearray, memoryview))


def _line(event: Any) -> bytes:
    if isinstance(event, str):
        return str.encode(event, "utf-8", "surrogateescape")  # not the code of a subclass
    return _blob(event)


def _blob(event: Any) -> bytes:
    if type(event) is bytes:
        return event
    if isinstance(event, bytes | bytearray | memoryview):
        return bytes(memoryview(event))  # not the code of a subclass
    raise TypeError(f"objects of type {type_of(event)} are neither text nor bytes")
