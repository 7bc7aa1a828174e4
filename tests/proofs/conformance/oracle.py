"""What docs/protocol.md says that a reader prints and stores for an image."""

from __future__ import annotations

from typing import NamedTuple

from .image import Image


class Right(NamedTuple):
    """The output of a reader, and the consumer's words when it has ended."""

    output: bytes
    place: dict[str, int]


def read(image: Image, place: dict[str, int], *, to_the_end: bool = True) -> Right:
    """What comes of reading on from ``place``, up to the first frame that is not right.

    place: empty if the ring has no such page. to_the_end: the session has ended, so that what is
    lost behind the last frame counts as missed.
    """
    place, output = dict(place), b""
    for frame in image.frames:
        if not place or frame.pos < place["HEAD"]:
            continue
        if not frame.right:
            return Right(output, place)
        output += b"".join(frame.pieces[place["RELEASED"] - frame.captured :])
        _miss(place, frame.offered - frame.captured - place["MISSED"])
        place |= {"RELEASED": frame.captured + frame.count, "HEAD": frame.end}
    if to_the_end and place:
        _miss(place, image.lost - place["MISSED"])
    return Right(output, place)


def _miss(place: dict[str, int], events: int) -> None:
    place["MISSED"] += events
    place["GAPS"] += events > 0
