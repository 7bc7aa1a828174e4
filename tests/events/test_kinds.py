"""Each kind of stage packs batches, cuts payloads and unpacks them again."""

import ctypes
from array import array as stdlib_array
from collections import deque
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.batches import NotABatch
from tapring.events.kinds import Array, Blobs, Json, Lines, array, kind_from

POINT = np.dtype([("t", "<f8"), ("name", "S5"), ("xy", "<f4", (2,)), ("in", [("a", "u1")])])
lines = st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), min_size=1)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('abc\n\\"é', max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


class Liar(str):
    """Text whose own code makes something else of it."""

    def encode(self, *_: object) -> None:  # type: ignore[override]
        return None


def back(kind, batch):
    payload, count, errors = kind.pack(batch)
    events, more = kind.unpack(bytes(payload), count)
    assert more == 0
    return events, errors


@given(lines)
def test_lines_come_back(batch: list[bytes]) -> None:
    assert back(Lines(), batch) == (batch, 0)


@given(lines)
def test_bytes_read_as_text_come_back_byte_for_byte(batch: list[bytes]) -> None:
    as_text = [line.decode("utf-8", "surrogateescape") for line in batch]
    assert back(Lines(), as_text) == (batch, 0)
    assert back(Lines(), [*as_text, b"bytes"]) == ([*batch, b"bytes"], 0)
    assert back(Lines(), "\n".join([*as_text, ""])) == (batch, 0)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"\n", [b""]),
        (b"", []),
        ("é\r\n", ["é\r".encode()]),
        (bytearray(b"a\n"), [b"a"]),
        (memoryview(b"a"), [b"a"]),
    ],
)
def test_one_block_of_lines_is_a_batch(block, expected) -> None:
    assert back(Lines(), block) == (expected, 0)
    assert Lines().count(block) == len(expected)


def test_an_event_that_is_not_text_costs_only_itself() -> None:
    batch = ["good", "\ud800", 7, None, b"good"]
    assert back(Lines(), batch) == ([b"good", b"good"], 3)
    for end in ("", "\n"):
        assert back(Lines(), f"good\n\ud800\nalso{end}") == ([b"good", b"also"], 1)
        assert back(Lines(), f"good\n\ud800{end}") == ([b"good"], 1)


@given(st.lists(values, min_size=1))
def test_json_comes_back(batch) -> None:
    assert back(Json(), batch) == (batch, 0)


def test_an_event_that_cannot_be_encoded_costs_only_itself() -> None:
    recursive: list = []
    recursive.append(recursive)
    batch = [{"a": 1}, object(), {"b": {1, 2}}, {("no", "key"): 1}, "\ud800", recursive]
    assert back(Json(), batch) == ([{"a": 1}, {"b": [1, 2]}], 4)


def test_json_accepts_every_object_that_msgspec_accepts() -> None:
    class Login(msgspec.Struct):
        user: str
        at: datetime

    events, errors = back(Json(), [Login("root", datetime(2026, 1, 2))])
    assert (events, errors) == ([{"user": "root", "at": "2026-01-02T00:00:00"}], 0)


def test_raw_text_that_is_not_json_is_handed_out_unchanged() -> None:
    payload, count, _ = Json().pack([{"a": 1}, msgspec.Raw(b"no json"), {"b": 2}])
    assert Json().unpack(payload, count)[0] == [{"a": 1}, b"no json", {"b": 2}]


@given(st.lists(st.binary(max_size=40), min_size=1))
def test_blobs_come_back(batch: list[bytes]) -> None:
    assert back(Blobs(), batch) == (batch, 0)


def test_blobs_take_bytes_of_any_kind() -> None:
    assert back(Blobs(), [bytearray(b"a"), memoryview(b"b"), "no"]) == ([b"a", b"b"], 1)


# Their buffers hold numbers, UTF-32, padding: no text, and nobody meant them to be bytes.
OTHER_BUFFERS = [
    np.float64(1.5),
    np.zeros(1, np.dtype([("a", "i1"), ("b", "i8")], align=True))[0],
    np.zeros(3, "i2"),
    stdlib_array("d", [1.5]),
    ctypes.c_int(7),
]


@pytest.mark.parametrize("event", OTHER_BUFFERS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("beside", [[], [b"x"], ["x"], [bytearray(b"x")], [7], [Path("x")]])
@pytest.mark.parametrize("kind", [Lines(), Blobs()], ids=lambda kind: kind.name)
def test_a_buffer_that_is_neither_text_nor_bytes_is_refused_whatever_is_beside_it(
    kind, beside, event
) -> None:
    taken = [each for each in beside if isinstance(each, bytes | bytearray | str)]
    taken = [] if kind.name == "bytes" and taken == ["x"] else taken
    payload, count, errors = kind.pack([event, *beside])
    assert (count, errors) == (len(taken), 1 + len(beside) - len(taken))
    assert kind.unpack(payload, count) == ([b"x"] * count, 0)


@pytest.mark.parametrize("of", [str, np.str_, Liar, bytes, np.bytes_], ids=lambda of: of.__name__)
@pytest.mark.parametrize("beside", [[], [b"x"], ["x"], [bytearray(b"x")], [7]])
def test_text_is_a_line_by_what_it_says_whatever_is_beside_it(beside, of) -> None:
    text = of("\xe4") if issubclass(of, str) else of(b"\xc3\xa4")
    others = [b"x"] * len(beside) if beside != [7] else []
    assert Lines().pack([text, *beside])[0].split() == [b"\xc3\xa4", *others]


@pytest.mark.parametrize(
    "block", [Liar("one\ntwo"), Liar("one\n\udc80\n"), Liar("\ud800\ntwo")], ids=range(3)
)
def test_a_block_of_text_is_its_lines_by_what_it_says(block) -> None:
    assert Lines().pack(block) == Lines().pack("".join(block))


class Rewritten(bytes):
    """Bytes whose own code makes something else of them."""

    def __bytes__(self) -> bytes:
        return b"else"


@pytest.mark.parametrize("kind", [Lines(), Blobs()], ids=lambda kind: kind.name)
@pytest.mark.parametrize("beside", [[], [bytearray(b"x")], [7]])
def test_bytes_are_an_event_by_what_they_hold(kind, beside) -> None:
    payload, count, _ = kind.pack([Rewritten(b"held"), *beside])
    assert kind.unpack(payload, count)[0][0] == b"held"


def test_a_value_that_fits_no_field_is_refused_and_not_quoted() -> None:
    kind = Array([("t", "<f8")])
    with pytest.raises(NotABatch, match="does not fit") as refused:
        kind.pack([(1.5,), ("my secret",)])
    assert "secret" not in str(refused.value)


def test_records_come_back_as_one_array_without_a_copy() -> None:
    records = np.zeros(10, POINT)
    records["t"] = np.arange(10)
    payload, count, _ = Array(POINT).pack(records)
    copied = bytes(payload)
    ((found,), more) = Array(POINT).unpack(copied, count)
    assert (more, found.dtype) == (0, POINT)
    np.testing.assert_array_equal(found, records)
    assert np.shares_memory(found, np.frombuffer(copied, np.uint8))


def test_records_may_be_a_slice_a_single_one_or_tuples() -> None:
    dtype = np.dtype([("a", "i4"), ("b", "f8")])
    records = np.array([(i, i / 2) for i in range(6)], dtype)
    for batch, expected in [
        (records[::2], records[::2]),
        (records[3], records[3:4]),
        ([(0, 0.0), (1, 0.5)], records[:2]),
    ]:
        payload, count, errors = Array(dtype).pack(batch)
        ((found,), _) = Array(dtype).unpack(bytes(payload), count)
        assert errors == 0
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("of", [np.ndarray, np.recarray, np.memmap])
def test_arrays_whose_classes_add_nothing_to_the_records_are_batches(of, tmp_path) -> None:
    records = np.zeros(3, POINT)
    if of is np.memmap:
        batch = np.memmap(tmp_path / "records", POINT, "w+", shape=3)
    else:
        batch = records.view(of)
    payload, count, errors = Array(POINT).pack(batch)
    assert (bytes(payload), count, errors) == (records.tobytes(), 3, 0)


@pytest.mark.parametrize("which", [slice(None), 0], ids=["array", "record"])
def test_a_masked_array_is_refused_and_told_how_to_keep_what_it_knows(which) -> None:
    """Its mask has no place in shared memory, and without it what is masked looks valid."""
    masked = np.ma.array(np.ones(2, POINT))
    masked.mask = [True, False]
    for work in (Array(POINT).pack, Array(POINT).count):
        with pytest.raises(NotABatch, match=r"mask.*offer batch\.filled\(value\)"):
            work(masked[which])
    assert Array(POINT).pack(masked.filled())[1] == 2


@pytest.mark.parametrize(
    ("kind", "batch"),
    [
        (Lines(), 7),
        (Lines(), {"a": 1}),
        (Lines(), iter([b"a"])),
        (Json(), {"a": 1}),
        (Json(), "text"),
        (Json(), ({"a": 1} for _ in range(2))),
        (Blobs(), b"one event without its list"),
        (Array(POINT), np.zeros(3)),
        (Array(POINT), [1, 2]),
        (Array(POINT), np.zeros((2, 2), POINT)),
        (Array(POINT), np.zeros(2, POINT).view(np.matrix)),
    ],
)
def test_anything_but_a_batch_is_refused_and_not_consumed(kind, batch) -> None:
    with pytest.raises(NotABatch):
        kind.pack(batch)
    with pytest.raises(NotABatch):
        kind.count(batch)


@pytest.mark.parametrize("batch", [[], np.zeros(0, POINT)], ids=["list", "array"])
def test_a_batch_of_no_records_is_no_frame(batch) -> None:
    assert Array(POINT).pack(batch) == (b"", 0, 0)
    assert Array(POINT).count(batch) == 0


@pytest.mark.parametrize("work", ["pack", "count"])
@pytest.mark.parametrize("kind", [Lines(), Json(), Blobs(), Array(POINT)], ids=lambda k: k.name)
def test_an_exception_that_came_while_a_batch_was_read_is_raised_as_it_is(kind, work) -> None:
    """A signal handler's, which does not come again when the batch is read once more."""

    class Interrupted(deque):
        came = False

        def __iter__(self):
            self.meet()
            return super().__iter__()

        @property
        def dtype(self):
            self.meet()
            return POINT

        def __array__(self, *_, **__):
            return np.zeros(1, POINT)

        def meet(self) -> None:
            if not self.came:
                self.came = True
                raise TimeoutError

    batch = Interrupted([b"one"])
    with pytest.raises(TimeoutError):
        getattr(kind, work)(batch)
    assert getattr(kind, work)(batch)


def test_any_sized_collection_is_a_batch() -> None:
    assert back(Lines(), deque([b"a", "b"])) == ([b"a", b"b"], 0)
    assert back(Json(), (1, 2)) == ([1, 2], 0)
    assert back(Json(), {"k": 1}.values()) == ([1], 0)


def test_a_kind_travels_through_its_description() -> None:
    for kind in (Lines(), Json(), Blobs(), array(POINT)):
        again = kind_from(kind.name, kind.describe())
        assert (again.code, again.describe()) == (kind.code, kind.describe())
    with pytest.raises(ValueError, match="invalid dtype"):
        kind_from("array", "__import__('os')")
    with pytest.raises(ValueError, match="unknown kind"):
        kind_from("video", "")


@pytest.mark.parametrize("dtype", ["O", [("a", "O")], [], "V0"])
def test_a_dtype_that_cannot_be_shared_is_refused(dtype) -> None:
    with pytest.raises(ValueError, match="dtype"):
        array(dtype)


@pytest.mark.parametrize("batch", [[b"one", Liar("two"), 7], [Liar("\ud800"), Liar("two"), b"one"]])
def test_text_that_encodes_itself_to_anything_costs_no_other_line(batch) -> None:
    payload, count, errors = Lines().pack(batch)
    assert (sorted(payload.split()), count, errors) == ([b"one", b"two"], 2, 1)


def test_a_list_that_changes_while_it_is_encoded_is_counted_as_it_was() -> None:
    batch: list = [object(), 2]
    kind = Json(lambda _: batch.append(3) or "encoded")
    payload, count, errors = kind.pack(batch)
    assert (bytes(payload), count, errors) == (b'"encoded"\n2\n', 2, 0)
    assert batch[2:] == [3]


def test_what_is_thrown_in_while_a_block_is_read_is_no_fault_of_the_block(monkeypatch) -> None:
    class Interrupted:
        def __new__(cls, _: object) -> "Interrupted":
            raise ValueError("thrown in")

    monkeypatch.setattr("tapring.events.kinds.memoryview", Interrupted, raising=False)
    with pytest.raises(ValueError, match="thrown in"):
        Lines().pack(bytearray(b"a\n"))
