"""A segment of this major version is read, whatever its minor one, unless it needs more of us."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.errors import VersionMismatch
from tapring.shm.protocol import check_protocol, say_protocol
from tapring.wire import layout

HALF = st.integers(0, (1 << layout.MINOR_SHIFT) - 1)


def page(format_word: int = 0, features: int = 0) -> memoryview:
    words = memoryview(bytearray(layout.PAGE)).cast("Q")
    words[layout.FORMAT], words[layout.FEATURES] = format_word, features
    return words


def test_what_is_made_says_its_version_and_can_be_read() -> None:
    words = page(77, 77)
    say_protocol(words)
    assert words[layout.FORMAT] == layout.format_word(layout.MAJOR, layout.MINOR)
    check_protocol("tapring.shop.0a1b2c3d", words)


@given(minor=HALF)
def test_every_minor_version_can_be_read(minor) -> None:
    check_protocol("tapring.shop.0a1b2c3d", page(layout.format_word(layout.MAJOR, minor)))


@given(major=HALF.filter(lambda n: n != layout.MAJOR), minor=HALF)
def test_another_major_version_is_refused_and_both_are_named(major, minor) -> None:
    said = rf"^tapring.shop uses version {major}\.{minor} .* reads version {layout.MAJOR}; "
    with pytest.raises(VersionMismatch, match=said):
        check_protocol("tapring.shop", page(layout.format_word(major, minor)))


@given(features=st.integers(1, layout.MAX_WORD).filter(lambda n: n & ~layout.FEATURES_KNOWN))
def test_a_feature_that_is_not_known_is_refused(features) -> None:
    words = page(layout.format_word(layout.MAJOR, 3), features | layout.FEATURES_KNOWN)
    said = rf"uses version {layout.MAJOR}\.3 .*{features & ~layout.FEATURES_KNOWN:#x}\) that"
    with pytest.raises(VersionMismatch, match=said):
        check_protocol("tapring.shop", words)
