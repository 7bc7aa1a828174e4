"""Sessions that a reader must read: each kind and shape, gaps, what a later version adds."""

from __future__ import annotations

import random
from functools import partial
from typing import Final

from tapring.wire import layout
from tapring.wire.layout import Owner

from .cases import add, case
from .image import INDEX, ROWS, SESSION, SHM, Image
from .payloads import DTYPES, KINDS, RECORD_BYTES, TEXT, pack, sample
from .running import wait_until

LATER: Final = layout.format_word(layout.MAJOR, 7)
_RING_ROUNDS: Final = 120


@case(KINDS)
def plain(image: Image) -> None:
    image.put_next(3)
    image.put_next(1)
    image.end()


@case(KINDS)
def nothing_at_all(image: Image) -> None:
    image.end()


@case(("lines", "bytes"))
def empty_events(image: Image) -> None:
    image.put([b""])
    image.put([b"", b"a", b"", b""])
    image.end()


@case()
def any_bytes(image: Image) -> None:
    image.put([bytes(set(range(256)) - {10}), "\N{SNOWMAN}".encode(), b"\xff\xfe", b"a\r"])
    image.end()


@case(TEXT)
def more_lines_than_events(image: Image) -> None:
    image.put([b"1", b"2\n3", b"4"])
    image.put([b"\n\n"])
    image.put_next(2)
    image.end()


def _add_dtypes() -> None:
    for name, (dtype, size) in DTYPES.items():

        def prepare(image: Image, size: int = size) -> None:
            image.put(sample("array", 3, record_bytes=size))
            image.put(sample("array", 1, record_bytes=size))
            image.end()

        add(f"array-dtype-{name}", prepare, "array", shape={"dtype": dtype})


# ---- shapes ------------------------------------------------------------------------------------


def _add_shapes() -> None:
    for kind in KINDS:
        for slots, slot_bytes in ((2, 64), (3, 64), (2, 4096), (5, 128), (1 << 12, 64)):
            shape = {"slots": slots, "slot_bytes": slot_bytes}
            name = f"{kind}-{slots}-slots-of-{slot_bytes}"
            add(name, _exactly_the_ring, kind, shape=shape)
        for start in (7, (1 << 40) + 7, (1 << 62) + 7):
            name = f"{kind}-header-in-the-last-slot-{start}"
            add(name, lambda image, start=start: _from(image, start), kind)
        add(f"{kind}-wraps", lambda image: image.begin(3, 100), kind, meanwhile=_feed)
        shape = {"slots": 3, "slot_bytes": 64}
        add(f"{kind}-wraps-in-3-slots", lambda image: None, kind, meanwhile=_feed, shape=shape)


def _exactly_the_ring(image: Image) -> None:
    image.begin(1, 10)
    image.put(_events_of(image, image.slots * image.slot_bytes - layout.FRAME_BYTES))
    image.end()


def _events_of(image: Image, length: int) -> list[bytes]:
    """Events whose payload has about ``length`` bytes, and exactly that where it can."""
    kind = image.kind
    if kind == "array":
        return sample(kind, max(1, length // RECORD_BYTES))
    if kind == "json":
        return [b"[" + b" " * (length - 3) + b"]"] if length > 3 else [b"1"]
    around = 4 if kind == "bytes" else 1
    if length < 40:
        return [b"x" * max(0, length - around)]
    return [b"first", b"y" * (length - 5 - 2 * around)]


def _from(image: Image, start: int) -> None:
    image.begin(start, 1000, missed=30, gaps=2)
    image.put_next(3)
    image.lose(4)
    image.put_next(3)
    image.end()


def _feed(image: Image) -> None:
    """Store frames of every length that the ring holds, as its reader makes room."""
    longest = image.slots * image.slot_bytes - layout.FRAME_BYTES
    chance = random.Random(5)
    lengths = list(range(1, longest + 1))
    chance.shuffle(lengths)
    for length in [*lengths[:_RING_ROUNDS], longest]:
        events = _events_of(image, length)
        needed = len(pack(image.kind, events))
        wait_until(partial(image.has_room, needed), "room for the next frame", image.reader)
        if length % 10 == 0:
            image.lose(length)
        image.put(events)
    image.end()


# ---- what was lost -----------------------------------------------------------------------------


@case(KINDS)
def gaps_before_between_and_behind_frames(image: Image) -> None:
    image.lose(3)
    image.put_next()
    image.lose(2, layout.OVERSIZE)
    image.lose(1, layout.ERRORS)
    image.put_next()
    image.put_next()
    image.lose(5)
    image.end()


@case()
def a_gap_and_no_frame(image: Image) -> None:
    image.begin(20, 30, missed=4, gaps=1)
    image.lose(5, layout.ERRORS)
    image.end()


@case()
def batches_that_were_not_offered_are_no_gap(image: Image) -> None:
    image.producer[layout.SAMPLED_OUT] = 70
    image.producer[layout.SHED] = 80
    image.producer[layout.COST_NS] = 90
    image.producer[layout.SERVED_PPM] = 100
    image.put_next()
    image.end()


@case()
def times_and_numbers_that_jump(image: Image) -> None:
    for time_ns, sequence in ((0, 0), (layout.MAX_WORD, 1 << 60), (5, 1 << 62)):
        image.put_next(1, time_ns=time_ns, sequence=sequence)
    image.end()


# ---- what a later minor version adds, and what else stands in a lane ---------------------------


@case(KINDS)
def a_later_minor_version(image: Image) -> None:
    image.lane[layout.FORMAT] = image.producer[layout.FORMAT] = LATER
    image.put_next()
    image.end()


@case()
def a_ring_of_a_later_minor_version_than_its_registry(image: Image) -> None:
    image.producer[layout.FORMAT] = layout.format_word(layout.MAJOR, (1 << 32) - 1)
    image.put_next()
    image.end()


@case()
def words_that_are_not_named(image: Image) -> None:
    for word in (11, 40, 70, 100, layout.verdict(layout.MAX_ROWS - 1), layout.TABLE + 5):
        image.lane[word] = layout.MAX_WORD
    for word in (14, 15):
        image.row[word] = layout.MAX_WORD
    for word in (8, 40, 50, 70, 90, 500):
        image.producer[word] = layout.MAX_WORD
    for word in (5, 25, 40, 511):
        image.consumer[word] = layout.MAX_WORD
    image.put_next()
    image.end()


@case()
def fields_and_kinds_that_are_not_known(image: Image) -> None:
    image.info = {"recorder": {"raw": [1, {"kind": "x"}]}, **image.info, "unit": 'a"]}\\'}
    stages = image.info["stages"]
    stages[0] = {"unit": [["kind", "{"]], **stages[0], "kind": "columns"}
    stages[1] = {"about": {"kind": "json", "name": "x"}, **stages[1]}
    image.describe()
    image.put_next()
    image.end()


@case()
def flags_that_are_not_known(image: Image) -> None:
    image.put_next(flags=0xFFFFFFFF)
    image.put_next(flags=1)
    image.end()


@case()
def other_rows(image: Image) -> None:
    """One of an owner, one in a state, one of a stage that are not known."""
    for index, state, owner, stage in ((0, 2, 9, 2), (1, 7, 1, 0), (3, 2, 1, 99)):
        row = image.lane[layout.row(index) : layout.row(index + 1)]
        row[layout.ROW_STATE] = state
        row[layout.ROW_ID] = SESSION + 20 + index
        row[layout.ROW_OWNER] = owner
        row[layout.ROW_STAGE] = stage
        row[layout.ROW_SLOTS] = 8
        row[layout.ROW_SLOT_BYTES] = 64
        row[layout.ROW_BELL_ID] = 12345
    assert index == ROWS - 1 != INDEX
    image.put_next()
    image.end()


@case()
def a_free_row_that_still_has_the_id(image: Image) -> None:
    image.lane[layout.row(0) + layout.ROW_ID] = SESSION
    image.put_next()
    image.end()


@case()
def other_names_that_begin_alike(image: Image) -> None:
    for suffix in (".r-raw", ".x", f".{SESSION}.old", f".{SESSION}0"):
        (SHM / (image.registry_path.name + suffix)).write_bytes(b"later")
    image.put_next()
    image.end()


@case()
def a_kept_session(image: Image) -> None:
    image.row[layout.ROW_OWNER] = Owner.NOBODY
    image.row[layout.ROW_BELL_LANE] = 0x0A1B2C3D
    image.row[layout.ROW_BELL_ID] = SESSION
    image.row[layout.ROW_BELL_EPOCH] = 5
    image.put_next()
    image.end()


@case()
def a_table_that_is_being_changed(image: Image) -> None:
    """GENERATION is odd: whoever changed the table has died, and no reader need care."""
    image.lane[layout.GENERATION] = 3
    image.put_next()
    image.end()


@case()
def the_clock_of_another_time_namespace(image: Image) -> None:
    image.lane[layout.CLOCK_OFFSET_NS] = layout.CLOCK_OFFSET_ZERO + 10**15
    image.row[layout.ROW_OPENED_NS] += 10**15
    image.put_next()
    image.end()


@case()
def a_verdict_on_an_older_session(image: Image) -> None:
    image.answer(2, SESSION - 1)
    image.put_next()
    image.end()


_add_dtypes()
_add_shapes()
