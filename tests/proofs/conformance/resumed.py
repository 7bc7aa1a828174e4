"""Rings in the state that others left them: released in part, between two stores, damaged."""

from __future__ import annotations

import os

from tapring.wire import layout

from .cases import EITHER, add, case
from .image import Image
from .payloads import KINDS, TEXT


def _begun(image: Image) -> None:
    """A ring that was read before, with a gap before each of two frames, and one frame behind."""
    image.begin(21, 40, missed=6, gaps=2)
    image.lose(3)
    image.put_next(4)
    image.lose(2)
    image.put_next(3)
    image.put_next(1)


def _released_up_to(image: Image, released: int) -> None:
    """A part of the first frame is released, and so its gap is counted."""
    _begun(image)
    image.consumer[layout.RELEASED] = released
    image.consumer[layout.MISSED] = 9
    image.consumer[layout.GAPS] = 3
    image.end()


@case(KINDS)
def released_in_part(image: Image) -> None:
    _released_up_to(image, 41)


@case(KINDS)
def released_up_to_its_last_event(image: Image) -> None:
    _released_up_to(image, 43)


@case(KINDS)
def released_in_part_where_it_wraps(image: Image) -> None:
    image.begin(7, 40)
    image.put_next(12)
    image.put_next(1)
    image.consumer[layout.RELEASED] = 49
    image.end()


@case(TEXT)
def released_whole_with_more_lines_than_events(image: Image) -> None:
    image.begin(20, 10)
    image.put([b"1\n\n2", b"3"])
    image.put_next(2)
    image.consumer[layout.RELEASED] = 12
    image.end()


@case()
def an_empty_ring_that_was_read(image: Image) -> None:
    image.begin(21, 40, missed=6, gaps=2)
    image.end()


@case()
def events_that_another_consumer_abandoned(image: Image) -> None:
    _begun(image)
    image.consumer[layout.ABANDONED] = 39
    image.end()


@case()
def the_sleep_of_a_consumer_that_was_killed(image: Image) -> None:
    _begun(image)
    image.consumer[layout.WAITING] = 123456789
    image.end()


# ---- a consumer that died between two of its stores --------------------------------------------

# What it had stored of a frame of 4 events behind 3 missing ones, in this order.
_RELEASE = (
    ("released", layout.RELEASED, 44),
    ("missed", layout.MISSED, 9),
    ("gaps", layout.GAPS, 3),
)


def _add_deaths_of_a_consumer() -> None:
    for kind in KINDS:
        for stores in range(len(_RELEASE) + 1):

            def prepare(image: Image, stores: int = stores) -> None:
                _begun(image)
                for _, word, value in _RELEASE[:stores]:
                    image.consumer[word] = value
                image.end()

            after = f"after-{_RELEASE[stores - 1][0]}" if stores else "before-all"
            add(f"{kind}-consumer-died-{after}", prepare, kind)
        for released in (41, 43):

            def prepare_part(image: Image, released: int = released) -> None:
                _begun(image)
                image.consumer[layout.RELEASED] = released  # and not yet the gap before
                image.end()

            add(f"{kind}-consumer-died-after-part-{released}", prepare_part, kind)


def _add_death_of_the_last() -> None:
    """The consumer died as it counted the gap behind the last frame."""

    def prepare(image: Image) -> None:
        image.begin(21, 40, missed=6, gaps=2)
        image.lose(5)
        image.consumer[layout.MISSED] = 11
        image.end()

    add("consumer-died-in-the-last-gap", prepare)


# ---- an engine that died between two of its stores ---------------------------------------------

_PUBLISH = ("payload", "header", "captured", "tail")


def _add_deaths_of_an_engine() -> None:
    for kind in KINDS:
        for steps, last in enumerate(_PUBLISH, 1):

            def prepare(image: Image, steps: int = steps) -> None:
                _begun(image)
                image.lose(7)
                image.put_next(2, steps=steps)
                image.die()

            add(f"{kind}-engine-died-after-{last}", prepare, kind)


# ---- damaged payloads: they are refused, or passed on and counted as their header says ----------


def _add_damage() -> None:
    damage = {
        "lines": (b"one line\n", b"no newline", b"\n" + b"." * 30),
        "json": (b"[1]\n", b"{}"),
        "bytes": (
            b"\1\0\0\0\1\0\0\0a",
            b"\1\0\0\0\1\0\0\0abc",
            b"\xff\xff\xff\xff\3\0\0\0ab",
            b"\xff" * 8,
            b"\1\0\0",
        ),
        "array": (b"." * 35, b"." * 37, b"." * 5),
    }
    for kind, payloads in damage.items():
        for number, payload in enumerate(payloads):

            def prepare(image: Image, payload: bytes = payload) -> None:
                image.put_next(2)
                image.put_next(2, payload=payload, right=False)
                image.end()

            add(f"{kind}-damaged-payload-{number}", prepare, kind, outcome=EITHER)


def _add_holes() -> None:
    """A page that nobody allocated: a reader refuses the segment, or allocates it first."""
    for which in ("registry", "ring"):

        def prepare(image: Image, which: str = which) -> None:
            image.put_next(2, right=False)
            image.end()
            fd = image.registry_fd if which == "registry" else image.ring_fd
            size = os.fstat(fd).st_size
            os.ftruncate(fd, size - layout.PAGE)
            os.ftruncate(fd, size)

        shape = {"slots": 256, "slot_bytes": 64}
        add(f"{which}-with-a-hole", prepare, outcome=EITHER, shape=shape)


_add_holes()
_add_deaths_of_a_consumer()
_add_death_of_the_last()
_add_deaths_of_an_engine()
_add_damage()
