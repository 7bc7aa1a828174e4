"""A session's ring as a segment: making, mapping, checking, accounting for and unlinking it."""

from __future__ import annotations

from mmap import mmap

from ..errors import NotPermitted, RingCorrupt
from ..wire import layout
from ..wire.geometry import consumer_words, producer_words
from ..wire.ledger import Account
from ..wire.ordering import publish_barrier
from .info import LaneInfo
from .names import bell_file, parse_name
from .protocol import check_protocol, say_protocol
from .row import Row
from .segment import Segment, names, unlink


def create_ring(info: LaneInfo, row: Row, owner: int) -> Segment:
    """Make the ring that ``row`` describes, and give it to user ``owner``. Returns it, unmapped.

    Raises NotPermitted if its name is taken, and SharedMemoryFull.
    """
    size = layout.ring_bytes(row.slots, row.slot_bytes)
    name = info.segment_name(row.id)
    try:
        segment = Segment.create(name, size, owner=owner)
    except FileExistsError:
        raise NotPermitted(
            f"another process made {name} first, so it cannot be the ring of session {row.id}; "
            f"try again, which takes another id, and see who made it: ls -l /dev/shm/{name}"
        ) from None
    try:
        mapped = segment.map(0, layout.PAGE, writable=True)
        with memoryview(mapped) as view, view.cast("Q") as words:
            say_protocol(words)
            words[layout.SEGMENT_BYTES] = size
            words[layout.EPOCH] = row.epoch
            words[layout.RING_ID] = row.id
            words[layout.RING_SLOTS] = row.slots
            words[layout.RING_SLOT_BYTES] = row.slot_bytes
            if publish_barrier is not None:
                publish_barrier()
            words[layout.MAGIC] = layout.RING_MAGIC
        segment.unmap()
        return segment
    except BaseException:
        segment.detach()
        raise


def map_ring(segment: Segment, row: Row, owner: int, *, writable: bool) -> mmap:
    """Map all of ``segment``, which has to be the ring of user ``owner`` that ``row`` describes.

    A ring of root's is accepted too. One of another user is not: that user could shorten it while
    it is mapped. Raises RingCorrupt and VersionMismatch if it is not that ring or belongs to
    another user, and what ``Segment.map`` raises.
    """
    if segment.owner not in (owner, 0):
        raise RingCorrupt(
            f"{segment.name} belongs to user {segment.owner}, but the engine to user {owner}"
        )
    if segment.size != layout.ring_bytes(row.slots, row.slot_bytes):
        raise _other_size(segment, row)
    ring = segment.map(0, segment.size, writable=writable)
    with memoryview(ring)[: layout.PAGE] as page, page.cast("Q") as words:
        _check_ring(words, segment, row)
    return ring


def account_of(segment: Segment) -> Account:
    """Return the account of a ring as it is now. Raises as ``Segment.read`` does."""
    pages = segment.read(0, layout.SLOTS)
    return Account(producer_words(pages), consumer_words(pages))


def unlink_ring(info: LaneInfo, row: Row) -> None:
    """Remove the names of a session's ring and of its doorbell."""
    for name in names_of(info, row):
        unlink(name)


def names_of(info: LaneInfo, row: Row) -> tuple[str, str]:
    """Return the files that a session may have in /dev/shm: its ring and its doorbell."""
    ring = info.segment_name(row.id)
    return ring, bell_file(ring)


def names_of_sessions(registry: str) -> list[str]:
    """List the rings and doorbells in /dev/shm of the lane whose registry is ``registry``.

    Names that tapring does not give are left out: they are printed, and any user can make them.
    Raises SharedMemoryFull if this process may not open another file to look.
    """
    found = [*names(f"{registry}."), *names(f"{bell_file(registry)}.")]
    return [name for name in found if parse_name(name)]


def _check_ring(words: memoryview, segment: Segment, row: Row) -> None:
    if words[layout.MAGIC] != layout.RING_MAGIC:
        raise RingCorrupt(f"{segment.name} is not a ring of tapring")
    check_protocol(segment.name, words)
    if words[layout.EPOCH] != row.epoch or words[layout.RING_ID] != row.id:
        raise RingCorrupt(f"{segment.name} is the ring of another session (its epoch differs)")
    if (
        words[layout.SEGMENT_BYTES] != segment.size
        or words[layout.RING_SLOTS] != row.slots
        or words[layout.RING_SLOT_BYTES] != row.slot_bytes
    ):
        raise _other_size(segment, row)


def _other_size(segment: Segment, row: Row) -> RingCorrupt:
    return RingCorrupt(
        f"{segment.name} has {segment.size} bytes, but its row announces "
        f"{row.slots} slots of {row.slot_bytes} bytes"
    )
