"""Which protocol a segment speaks: said by who makes it, checked by who opens it."""

from __future__ import annotations

from typing import Final

from ..errors import VersionMismatch
from ..wire import layout

_MAJOR_MASK: Final = (1 << layout.MINOR_SHIFT) - 1


def say_protocol(words: memoryview) -> None:
    """Store in a new segment's first page which protocol it speaks."""
    words[layout.FORMAT] = layout.format_word(layout.MAJOR, layout.MINOR)
    words[layout.FEATURES] = 0


def check_protocol(name: str, words: memoryview) -> None:
    """Raise VersionMismatch unless this tapring can read the segment with these first words.

    It can read every minor version of its own major version, unless the segment has features that
    a reader must know, and that it does not.
    """
    found = words[layout.FORMAT]
    major, minor = found & _MAJOR_MASK, found >> layout.MINOR_SHIFT
    if major != layout.MAJOR:
        raise VersionMismatch(
            f"{name} uses version {major}.{minor} of the protocol, but this tapring reads "
            f"version {layout.MAJOR}; use the tapring of the engine's environment"
        )
    unknown = words[layout.FEATURES] & ~layout.FEATURES_KNOWN
    if unknown:
        raise VersionMismatch(
            f"{name} uses version {major}.{minor} of the protocol, with features ({unknown:#x}) "
            f"that this tapring does not know (it speaks {layout.MAJOR}.{layout.MINOR}); "
            f"use the tapring of the engine's environment"
        )
