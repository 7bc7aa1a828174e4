"""docs/protocol.md says what layout.py says: each offset, value, formula and name.

``differences`` compares the document's tables with a layout. Other tests alter the layout, to prove
that a change is noticed if it is not written down.
"""

import fcntl
import itertools
import re
from enum import IntEnum
from itertools import pairwise
from struct import calcsize
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tapring.events.kinds import Array, Blobs, Json, Kind, Lines
from tapring.shm.info import LaneInfo, StageInfo
from tapring.shm.names import bell_file, recording_name, requests_prefix, segment_name
from tapring.wire import layout
from tests.wire.protocol import TEXT, rows, tables

TYPES = {"Q": "u64", "I": "u32", "H": "u16"}
# layout has these in words, the document in bytes.
IN_WORDS = {"row", "verdict"}
PUBLIC = sorted(name for name in vars(layout) if name.isupper() and not name.startswith("_"))
ENUMS = {
    name: value
    for name, value in vars(layout).items()
    if isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum
}
# Names of the operating system and of pairs of accesses, and abbreviations.
FOREIGN = {
    *("CLOCK_MONOTONIC", "SEEK_SET", "F_WRLCK", "F_SETLK", "F_OFD_SETLK", "F_OFD_GETLK", "SIGBUS"),
    *("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "ASCII"),
    *("PUBLISH", "RELEASE", "END", "WAIT", "ENGINE", "LANE", "STAGE"),
    *("JSON", "UTC", "UTF", "POSIX"),
}

Layout = ModuleType | SimpleNamespace


def differences(text: str, lay: Layout) -> list[str]:
    """Return where the document and the layout ``lay`` differ; [] if they agree."""
    said = stated_constants(text, lay)
    named = {name for name, _ in said}
    true = {name for name in vars(lay) if name.isupper() and not name.startswith("_")}
    found = [f"{name}: {value}" for name, value in said if value != getattr(lay, name, None)]
    found += [f"{name}: not stated" for name in sorted(true - named)]
    found += [f"enum {name}" for name in stated_enums(text).items() ^ true_enums(lay).items()]
    if stated_header(text) != true_header(lay):
        found.append("the frame's header")
    return found


def stated_constants(text: str, lay: Layout) -> list[tuple[str, object]]:
    """Return each constant in the document, with the value that the document gives it."""
    said: list[tuple[str, object]] = []
    for heading, (offset, name, *_) in rows(text, "offset", "word"):
        start = (
            lay.CONSUMER_PAGE if heading.startswith(("Ring, page 1", "Recording, page 1")) else 0
        )
        said.append((name, (int(offset) - start) / lay.WORD))
    for _, (byte, name, *_) in rows(text, "byte", "lock"):
        said.append((name, int(byte)))
    for _, (name, value, *_) in rows(text, "constant", "value"):
        number = re.fullmatch(r"0x[0-9A-F]+|\d+", value)
        said.append((name, int(value, 0) if number else value))
    return [(name, lay.FRAME if value == lay.FRAME.format else value) for name, value in said]


def stated_enums(text: str) -> dict[str, tuple[tuple[str, int], ...]]:
    return {
        header[1]: tuple((cells[1], int(cells[0])) for cells in lines)
        for _, header, lines in tables(text)
        if header[0] == "value"
    }


def true_enums(lay: Layout) -> dict[str, tuple[tuple[str, int], ...]]:
    return {
        name: tuple((member.name, member.value) for member in value)
        for name, value in vars(lay).items()
        if isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum
    }


def stated_header(text: str) -> list[tuple[int, str]]:
    return [(int(offset), kind) for _, (offset, kind, *_) in rows(text, "offset", "type", "field")]


def true_header(lay: Layout) -> list[tuple[int, str]]:
    order, letters = lay.FRAME.format[0], lay.FRAME.format[1:]
    return [(calcsize(order + letters[:i]), TYPES[each]) for i, each in enumerate(letters)]


def altered(**changes: object) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(layout), **changes})


def test_the_document_says_what_the_layout_says() -> None:
    assert differences(TEXT, layout) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_changed_or_renamed_constant_is_noticed(name) -> None:
    value = getattr(layout, name)
    other = value + 1 if isinstance(value, int) else f"{value}x"
    if name == "FRAME":
        other = layout.Struct("=QQQQIIHII")
    assert any(name in each for each in differences(TEXT, altered(**{name: other})))
    without = altered()
    if name not in ("FRAME", "WORD", "CONSUMER_PAGE"):  # the comparison itself needs these
        delattr(without, name)
        assert any(name in each for each in differences(TEXT, without))
    assert differences(TEXT, altered(**{name + "_TOO": value})) == [f"{name}_TOO: not stated"]


@pytest.mark.parametrize("name", ENUMS)
def test_a_changed_enum_is_noticed(name) -> None:
    members = {member.name: member.value for member in ENUMS[name]}
    last = max(members, key=members.__getitem__)
    longer = IntEnum(name, {**members, "MORE": 99})
    moved = IntEnum(name, {**members, last: 99})
    for other in (longer, moved):
        assert any(f"'{name}'" in each for each in differences(TEXT, altered(**{name: other})))
    assert any("'New'" in each for each in differences(TEXT, altered(New=longer)))


def formula_differences() -> list[str]:
    """Return calls of layout's functions whose result differs from the document's formula."""
    found = []
    for _, (call, formula) in rows(TEXT, "function", "formula"):
        name, *parameters = re.findall(r"\w+", call)
        unit = layout.WORD if name in IN_WORDS else 1
        for values in itertools.product((1, 2, 30, 31, 64, 4096, 99_999), repeat=len(parameters)):
            said = eval(formula, {}, dict(zip(parameters, values, strict=True)))
            if said != getattr(layout, name)(*values) * unit:
                found.append(f"{name}{values}")
    return found


def test_the_formulas_are_the_layouts_functions() -> None:
    stated = {re.match(r"\w+", cells[0])[0] for _, cells in rows(TEXT, "function", "formula")}
    functions = {
        name
        for name, each in vars(layout).items()
        # CPython 3.14 and later give a module an ``__annotate__`` of its own.
        if type(each) is type(layout.row) and not name.startswith("_")
    }
    assert stated == functions
    assert formula_differences() == []


@pytest.mark.parametrize("name", ["_FIRST_ROW", "_VERDICTS", "FRAME_BYTES", "SLOTS", "PAGE"])
def test_a_changed_formula_is_noticed(name, monkeypatch) -> None:
    monkeypatch.setattr(layout, name, getattr(layout, name) + 1)
    assert formula_differences()


def test_the_names_of_segments_are_as_stated() -> None:
    stated = [cells[1] for _, cells in rows(TEXT, "segment", "name")]
    assert stated == [
        segment_name("ENGINE", "LANE"),
        segment_name("ENGINE", "LANE", "ID"),
        f"{requests_prefix()}EPOCH",
        recording_name("ENGINE", "LANE", "STAGE"),
        bell_file(segment_name("ENGINE", "LANE", "ID")),
    ]


def test_the_info_block_has_the_fields_that_are_written() -> None:
    for header, struct in (("info field", LaneInfo), ("stage field", StageInfo)):
        stated = [cells[0] for _, cells in rows(TEXT, header, "type")]
        assert stated == list(struct.__struct_fields__)


def test_the_kinds_and_their_codes_are_as_stated() -> None:
    kinds: list[Kind] = [Lines(), Json(), Blobs(), Array(np.dtype([("a", "i4")]))]
    stated = [(int(code), kind) for _, (code, kind, _) in rows(TEXT, "code", "kind")]
    assert stated == [(kind.code, kind.name) for kind in kinds]


def test_the_payloads_are_as_stated() -> None:
    records = np.array([(1, 2.5), (3, 4.5)], np.dtype([("t", "<f8"), ("x", "<f4")]))
    assert Lines().pack([b"a", "\u00e9"])[0] == b"a\n\xc3\xa9\n"
    assert Json().pack([{"a": 1}, None])[0] == b'{"a":1}\nnull\n'
    lengths = np.array([1, 0, 2], np.uint32).tobytes()
    assert Blobs().pack([b"x", b"", b"yz"])[0] == lengths + b"xyz"
    assert bytes(Array(records.dtype).pack(records)[0]) == records.tobytes()
    assert f"`{Array(records.dtype).describe()}`" in TEXT


def test_the_diagram_of_a_frame_agrees_with_its_table_and_with_layouts_own() -> None:
    fields = [(int(cells[0]), cells[2]) for _, cells in rows(TEXT, "offset", "type", "field")]
    for text in (TEXT, layout.__doc__):
        offsets, _, names = re.search(r"\n( +0 +8 .*)\n(.*)\n(.*payload.*)\n", text).groups()
        drawn = list(zip(map(int, offsets.split()), re.findall(r"\w+", names), strict=True))
        assert drawn == [*fields, (layout.FRAME_BYTES, "payload")]


def test_the_lock_commands_are_linuxs() -> None:
    for name in ("F_OFD_SETLK", "F_OFD_GETLK"):
        assert f"`{name}` = {getattr(fcntl, name)}" in TEXT


def test_every_name_in_the_prose_exists() -> None:
    members = {member.name for enum in ENUMS.values() for member in enum}
    used = set(re.findall(r"(?<![\w.=])[A-Z][A-Z_]{2,}(?![\w(])", TEXT))
    assert used <= {*PUBLIC, *members, *FOREIGN}


def test_the_layout_keeps_owners_and_rates_apart() -> None:
    words = [layout.RING_SLOT_BYTES, layout.TAIL, layout.CAPTURED, layout.DROPPED]
    assert all(b * 8 // 128 > a * 8 // 128 for a, b in pairwise(words))
    assert layout.HEAD * 8 // 128 < layout.RELEASED * 8 // 128
    assert layout.row(0) * 8 >= layout.PAGE
    assert layout.verdict(layout.MAX_ROWS) * 8 <= layout.PAGE
    assert layout.FRAME_BYTES <= layout.MIN_SLOT_BYTES
