"""Segments in /dev/shm as a hostile process of the same user has them: files that it maps."""

from __future__ import annotations

import itertools
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapring.shm import registry
from tapring.wire import layout

from .choices import Field

SHM = Path("/dev/shm")
WORD = layout.WORD

ROW_WORDS = (
    layout.ROW_STATE,
    layout.ROW_ID,
    layout.ROW_EPOCH,
    layout.ROW_STAGE,
    layout.ROW_SLOTS,
    layout.ROW_SLOT_BYTES,
    layout.ROW_OWNER,
    layout.ROW_OPENED_NS,
    layout.ROW_DURATION_NS,
    layout.ROW_PID,
    layout.ROW_SAMPLE,
    layout.ROW_BELL_LANE,
    layout.ROW_BELL_ID,
    layout.ROW_BELL_EPOCH,
)
HEADER_WORDS = (
    layout.MAGIC,
    layout.FORMAT,
    layout.SEGMENT_BYTES,
    layout.EPOCH,
    layout.FEATURES,
    layout.ROWS,
    layout.INFO_BYTES,
    layout.CLOCK_MONOTONIC_NS,
    layout.CLOCK_WALL_NS,
    layout.PID,
    layout.CLOCK_OFFSET_NS,
    layout.ENGINE_STATE,
    layout.FAULTS,
    layout.MISUSE,
    layout.COST_IDLE_NS,
    layout.COST_BATCH_NS,
    layout.COST_SHARE_PPM,
    layout.BUDGET_PPM,
    *(layout.verdict(row) for row in range(4)),
)
PRODUCER_WORDS = (
    layout.TAIL,
    layout.CAPTURED,
    layout.DROPPED,
    layout.OVERSIZE,
    layout.ERRORS,
    layout.ENDED,
    layout.SAMPLED_OUT,
    layout.SHED,
    layout.COST_NS,
    layout.SERVED_PPM,
)
RING_WORDS = (
    layout.MAGIC,
    layout.SEGMENT_BYTES,
    layout.EPOCH,
    layout.RING_ID,
    layout.RING_SLOTS,
    layout.RING_SLOT_BYTES,
    *PRODUCER_WORDS,
)
CONSUMER_WORDS = (
    layout.HEAD,
    layout.RELEASED,
    layout.ABANDONED,
    layout.MISSED,
    layout.GAPS,
    layout.WAITING,
)

_SIZES = [struct.calcsize(f"={each}") for each in layout.FRAME.format.removeprefix("=")]
HEADER_FIELDS = tuple(zip(itertools.accumulate(_SIZES[:-1], initial=0), _SIZES, strict=True))
LENGTH_AT, COUNT_AT = (HEADER_FIELDS[number][0] for number in (5, 6))
PAYLOADS = (
    b"",
    b"[" * 1200,
    b'{"a":' * 200,
    b"\n" * 70,
    b"no newline at all",
    b"one\ntwo",
    b'{"a": 1}\n{"a": \xff}\n"\\ud800"\n',
    b"9" * 400,
    b"\xff\xff\xff\xff" * 8,
    b"\x08\x00\x00\x00\xf8\xff\xff\xff",
    b"\x01\x00\x00\x00\x01\x00\x00\x00ab",
    b"\x00" * 90,
)


def fields(words) -> tuple[Field, ...]:
    return tuple((word * WORD, WORD) for word in words)


def table_fields(rows: int) -> tuple[Field, ...]:
    """The words of page 1. Generation and next id are repeated, to be chosen more often."""
    found = [layout.GENERATION, layout.NEXT_ID] * 5
    for row in range(rows):
        found += [layout.row(row) + word for word in ROW_WORDS]
    return fields(found)


def ring_fields() -> tuple[Field, ...]:
    consumers = [layout.CONSUMER_PAGE // WORD + word for word in CONSUMER_WORDS]
    return fields((*RING_WORDS, *consumers, *consumers[:1] * 6))


def map_segment(name: str) -> mmap.mmap:
    fd = os.open(SHM / name, os.O_RDWR)
    try:
        return mmap.mmap(fd, 0)
    finally:
        os.close(fd)


def write_segment(name: str, content: bytes) -> None:
    fd = os.open(SHM / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def left_behind(name: str) -> list[str]:
    return [each for each in os.listdir(SHM) if each.startswith(f"tapring.{name}.")]


@contextmanager
def without_patience() -> Iterator[None]:
    """Do not wait for a registry that is still being made, because here none is."""
    patience = registry.Registry.attach.__func__.__kwdefaults__  # type: ignore[attr-defined]
    before = dict(patience)
    patience["patience_s"] = 0.0
    try:
        yield
    finally:
        patience.update(before)
