"""Segments that a reader must refuse, each wrong in one place: it prints and stores nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, Final

from tapring.wire import layout
from tapring.wire.layout import RowState, Verdict

from .cases import REFUSED, Skipped, add, case
from .image import CONSUMER_WORDS, INDEX, ROWS, SESSION, STAGE, Image

_NOBODY: Final = 65534
_BITS: Final = range(64)


def refused(name: str, spoil: Callable[[Image], None], **options: Any) -> None:
    """List a check: two good frames, and then something is spoiled."""

    def prepare(image: Image) -> None:
        image.put_next(3)
        image.put_next()
        image.end()
        spoil(image)
        image.frames[0] = image.frames[0]._replace(right=False)

    add(f"refused-{name}", prepare, outcome=REFUSED, **options)


def _word(segment: str, word: int, value: int) -> Callable[[Image], None]:
    def spoil(image: Image) -> None:
        getattr(image, segment)[word] = value & layout.MAX_WORD

    return spoil


def _add_words() -> None:
    major = layout.MAJOR
    for segment, magic in (("lane", layout.REGISTRY_MAGIC), ("producer", layout.RING_MAGIC)):
        what = "registry" if segment == "lane" else "ring"
        other = layout.RING_MAGIC if segment == "lane" else layout.REGISTRY_MAGIC
        for value in (0, 1, other, magic ^ 1 << 63):
            refused(f"{what}-magic-{value:x}", _word(segment, layout.MAGIC, value))
        for number in (0, major - 1, major + 1, major | 1 << 31):
            value = layout.format_word(number, 0)
            refused(f"{what}-major-{number}", _word(segment, layout.FORMAT, value))
        value = layout.format_word(0, major)
        refused(f"{what}-format-in-the-other-half", _word(segment, layout.FORMAT, value))
        for bit in _BITS:
            refused(f"{what}-feature-{bit}", _word(segment, layout.FEATURES, 1 << bit))
        for value in (0, 1, layout.PAGE, 1 << 40, layout.MAX_WORD):
            refused(f"{what}-size-{value:x}", _word(segment, layout.SEGMENT_BYTES, value))
    for value in (0, layout.MAX_ROWS + 1, layout.MAX_WORD):
        refused(f"registry-rows-{value:x}", _word("lane", layout.ROWS, value))
    refused("registry-rows-of-another-info", _word("lane", layout.ROWS, ROWS + 1))
    for value in (0, 20000, layout.MAX_INFO_BYTES + 1, layout.MAX_WORD):
        refused(f"registry-info-bytes-{value:x}", _word("lane", layout.INFO_BYTES, value))
    ring = {
        "EPOCH": (0, 0x5679, layout.MAX_WORD),
        "RING_ID": (0, SESSION + 1, layout.MAX_WORD),
        "RING_SLOTS": (0, 4, 9, 1 << 56, layout.MAX_WORD),
        "RING_SLOT_BYTES": (0, 32, 63, 128, 1 << 56, layout.MAX_WORD),
    }
    for name, values in ring.items():
        for value in values:
            word = getattr(layout, name)
            refused(f"ring-{name.lower()}-{value:x}", _word("producer", word, value))
    row = {"ROW_EPOCH": (0, 0x5679), "ROW_SLOTS": (0, 4, 9), "ROW_SLOT_BYTES": (0, 32, 128)}
    for name, values in row.items():
        for value in values:
            word = getattr(layout, name)
            refused(f"{name.lower()}-{value:x}", _word("row", word, value))
    for name, word in CONSUMER_WORDS.items():
        for value in (1 << 63, layout.MAX_WORD):
            refused(f"consumer-{name.lower()}-{value:x}", _word("consumer", word, value))


def _add_shapes() -> None:
    """A ring whose words, row and size agree, but that no ring may have."""
    for slots, slot_bytes in ((8, 32), (8, 96), (1, 1024), (8, 8192), (8, 1000)):
        shape = {"slots": slots, "slot_bytes": slot_bytes}
        refused(f"ring-of-{slots}-slots-of-{slot_bytes}", lambda image: None, shape=shape)


# ---- the info block, and the row ---------------------------------------------------------------


def _info(**fields: Any) -> Callable[[Image], None]:
    def spoil(image: Image) -> None:
        image.info |= fields
        image.describe()

    return spoil


def _text(text: bytes) -> Callable[[Image], None]:
    return lambda image: image.describe(text)


def _kind(kind: str) -> Callable[[Image], None]:
    def spoil(image: Image) -> None:
        image.info["stages"][STAGE]["kind"] = kind
        image.describe()

    return spoil


def _add_info() -> None:
    refused("info-of-another-engine", _info(engine="another"))
    refused("info-of-another-lane", _info(lane="00000000"))
    refused("info-of-other-rows", _info(max_sessions=ROWS + 1))
    refused("info-without-stages", _info(stages=[]))
    for name, text in {"text": b"hello", "array": b"[]", "object": b"{}", "nul": bytes(50)}.items():
        refused(f"info-that-is-{name}", _text(text))
    refused("info-that-is-cut", lambda image: image.describe(str(image.info).encode()[:100]))
    for kind in ("columns", "", "line", "lines2"):
        refused(f"stage-of-kind-{kind}", _kind(kind))
    for stage in (3, 1 << 32, layout.MAX_WORD):
        refused(f"stage-{stage:x}", _word("row", layout.ROW_STAGE, stage))
    for state in (RowState.FREE, RowState.CLAIMED, 3, layout.MAX_WORD):
        refused(f"row-state-{state:x}", _word("row", layout.ROW_STATE, state))
    refused("row-of-another-id", _word("row", layout.ROW_ID, SESSION + 1))
    refused("row-that-is-read", lambda image: image.lock(layout.LOCK_ROWS + INDEX))


# ---- the files ---------------------------------------------------------------------------------


def _in_its_place(which: str, make: Callable[[Any], object]) -> Callable[[Image], None]:
    def spoil(image: Image) -> None:
        path = getattr(image, f"{which}_path")
        path.rename(f"{path}.away")
        make(path)

    return spoil


def _socket(path: Any) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _add_files() -> None:
    for which in ("registry", "ring"):
        refused(f"{which}-is-missing", _in_its_place(which, lambda path: None))
        refused(f"{which}-is-empty", _in_its_place(which, lambda path: path.touch()))
        refused(f"{which}-is-a-directory", _in_its_place(which, lambda path: path.mkdir()))
        refused(f"{which}-is-a-fifo", _in_its_place(which, os.mkfifo))
        refused(f"{which}-is-a-socket", _in_its_place(which, _socket))
        away = _in_its_place(which, lambda path: path.symlink_to(f"{path}.away"))
        refused(f"{which}-is-a-link", away)
        for change in (-layout.PAGE, layout.PAGE):
            refused(f"{which}-is-{change:+}-bytes-long", _resized(which, change))
        refused(f"{which}-is-half-a-page-long", _resized(which, None))


def _resized(which: str, change: int | None) -> Callable[[Image], None]:
    def spoil(image: Image) -> None:
        fd = image.registry_fd if which == "registry" else image.ring_fd
        size = layout.PAGE // 2 if change is None else os.fstat(fd).st_size + change
        os.ftruncate(fd, size)

    return spoil


@case(outcome=REFUSED)
def refused_a_ring_of_another_user(image: Image) -> None:
    if os.geteuid():
        raise Skipped("only root can give a file away")
    image.put_next(right=False)
    image.end()
    os.chown(image.ring_path, _NOBODY, -1)


# ---- positions, and frames ---------------------------------------------------------------------


@case(outcome=REFUSED)
def refused_a_tail_behind(image: Image) -> None:
    image.begin(20, 30)
    image.put_next(right=False)
    image.producer[layout.TAIL] = 19


@case(outcome=REFUSED)
def refused_a_tail_beyond_the_ring(image: Image) -> None:
    image.begin(20, 30)
    image.put_next(right=False)
    image.producer[layout.TAIL] = 20 + image.slots + 1


@case(outcome=REFUSED)
def refused_the_largest_tail(image: Image) -> None:
    image.put_next(right=False)
    image.producer[layout.TAIL] = layout.MAX_WORD


def _add_frames() -> None:
    """Each wrong as the first frame that a reader reads, and behind one that it has read."""
    wrong = {
        "pos": (9, 28, 1 << 63, layout.MAX_WORD),
        "offered": (0, 33),
        "captured": (0, 36, 1 << 63, layout.MAX_WORD),
        "length": (0, 1, 200, 1 << 31, 0xFFFFFFFF),
        "count": (0, 1 << 16, 0xFFFFFFFF),
        "stage": (0, 2, 0xFFFF),
        "kind": (0, 2, 3, 0xFFFF),
    }
    for field, values in wrong.items():
        for value in values:
            for before in (0, 1):

                def prepare(image: Image, field=field, value=value, before=before) -> None:
                    image.begin(20, 30, missed=4, gaps=1)
                    for _ in range(before):
                        image.put_next()
                    image.put_next(right=False, **{field: value})
                    image.end()

                place = "behind-another" if before else "first"
                add(f"refused-frame-{field}-{value:x}-{place}", prepare, outcome=REFUSED)


@case(outcome=REFUSED)
def refused_more_released_than_the_first_frame_has(image: Image) -> None:
    image.begin(20, 30)
    image.put_next(2, right=False)
    image.consumer[layout.RELEASED] = 33
    image.end()


@case(outcome=REFUSED)
def refused_released_inside_a_frame_that_is_not_the_first(image: Image) -> None:
    image.begin(20, 30)
    image.put_next(2)
    image.put_next(2, captured=31, right=False)
    image.end()


@case(outcome=REFUSED)
def refused_more_missed_than_is_missing(image: Image) -> None:
    image.begin(20, 30, missed=4)
    image.put_next(2, right=False)
    image.consumer[layout.MISSED] = 5
    image.end()


@case(outcome=REFUSED)
def refused_a_frame_that_ends_beyond_the_tail(image: Image) -> None:
    image.put([b"x" * 100], right=False)
    image.producer[layout.TAIL] = 2
    image.end()


def _add_verdicts() -> None:
    for verdict in (Verdict.TOO_LARGE, Verdict.UNUSABLE, 4, 255):
        name = f"refused-verdict-{int(verdict)}"
        add(name, lambda image, verdict=verdict: image.answer(verdict), outcome=REFUSED)


_add_words()
_add_shapes()
_add_info()
_add_files()
_add_frames()
_add_verdicts()
