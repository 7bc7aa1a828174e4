"""Of a record, only the bytes of its fields are passed on; its padding is zero."""

import numpy as np
import pytest

from tapring.events.array_sieve import ArraySieve
from tapring.events.kinds import Array
from tapring.events.padding import solid
from tapring.events.selection import Select

INNER = np.dtype([("a", "u1"), ("b", "<u8")], align=True)
PADDED = {
    "between fields": INNER,
    "at the end": np.dtype([("b", "<u8"), ("a", "u1")], align=True),
    "in a nested record": np.dtype([("in", INNER), ("c", "u1")]),
    "in a subarray of records": np.dtype([("c", "u1"), ("in", INNER, (2, 3))]),
    "everywhere": np.dtype({"names": [], "formats": [], "itemsize": 8}),
    "beside fields that overlap": np.dtype(
        {"names": ["x", "y"], "formats": ["<u4", "<u2"], "offsets": [2, 4], "itemsize": 12}
    ),
    "of fields with titles": np.dtype(
        [(("title", "a"), "u1"), (("other", "b"), "<u8")], align=True
    ),
}
PACKED = ["<f8", "S5", "V7", "<M8[ns]", [("a", "u1"), ("b", "<u8")], [("in", [("a", "u1")], (3,))]]
HEAP = 0xA5  # what memory held before the records were stored in it


def records_over_old_memory(dtype: np.dtype, count: int = 5) -> np.ndarray:
    """Records with values in all fields, and in the padding what was there before."""
    records = np.frombuffer(bytearray([HEAP]) * (dtype.itemsize * count), dtype)
    for name in dtype.names:
        if dtype[name].names is None and dtype[name].subdtype is None:
            records[name] = np.arange(count)
    return records


def bytes_of_fields(dtype: np.dtype) -> list[bool]:
    """Which bytes change if every field does."""
    cleared, filled = (
        np.frombuffer(bytearray([value]) * dtype.itemsize, dtype).copy() for value in (0, 255)
    )
    target = np.frombuffer(bytearray(dtype.itemsize), dtype)
    copy_fields(target, cleared)
    before = target.tobytes()
    copy_fields(target, filled)
    return [old != new for old, new in zip(before, target.tobytes(), strict=True)]


def copy_fields(target: np.ndarray, of: np.ndarray) -> None:
    for name in of.dtype.names or ():
        if of[name].dtype.names is None:
            target[name] = of[name]
        else:
            copy_fields(target[name], of[name])


@pytest.mark.parametrize("step", [1, 2, -1], ids=["whole", "every second", "backwards"])
@pytest.mark.parametrize("dtype", PADDED.values(), ids=PADDED.keys())
def test_padding_is_zero_and_every_field_is_what_it_was(dtype, step) -> None:
    records = records_over_old_memory(dtype)[::step]
    payload, count, errors = Array(dtype).pack(records)
    assert (count, errors) == (len(records), 0)
    ((found,), _) = Array(dtype).unpack(bytes(payload), count)
    np.testing.assert_array_equal(found, records)
    is_field = np.array(bytes_of_fields(dtype))
    assert not np.frombuffer(payload, np.uint8).reshape(count, -1)[:, ~is_field].any()


def test_padding_is_zero_however_the_records_are_offered() -> None:
    records = records_over_old_memory(INNER)
    for batch in ([(1, 2), (3, 4)], list(records), records[2], records.view(np.recarray)):
        payload, count, _ = Array(INNER).pack(batch)
        assert not np.frombuffer(payload, np.uint8).reshape(count, -1)[:, 1:8].any()


@pytest.mark.parametrize("order", "<>")
def test_a_long_double_has_padding_too(order) -> None:
    if np.finfo(np.longdouble).nmant != 63:
        pytest.skip("only x87's long double is stored with padding")
    dtype = np.dtype([("x", f"{order}g")])
    records = np.full(2, 1.5, dtype["x"]).astype(dtype)
    padding = slice(10, 16) if order == "<" else slice(0, 6)
    records.view(np.uint8).reshape(2, 16)[:, padding] = HEAP
    payload, count, _ = Array(dtype).pack(records)
    ((found,), _) = Array(dtype).unpack(bytes(payload), count)
    assert found["x"].tolist() == [1.5, 1.5]
    assert HEAP not in bytes(payload)


@pytest.mark.parametrize("spec", PACKED, ids=str)
def test_records_without_padding_are_not_even_copied(spec) -> None:
    dtype = np.dtype(spec)
    records = np.zeros(4, dtype)
    assert solid(dtype) is None
    payload, _, _ = Array(dtype).pack(records)
    assert np.shares_memory(np.frombuffer(payload, np.uint8), records)


@pytest.mark.parametrize("fields", ["", "in"], ids=["whole records", "one field of them"])
def test_what_a_selection_leaves_of_records_has_no_padding_of_the_consumers_heap(fields) -> None:
    dtype = np.dtype([("in", INNER), ("c", "u1")])
    payload, count, _ = Array(dtype).pack(records_over_old_memory(dtype))
    sieve = ArraySieve(Array(dtype), Select(where="c != `1`", fields=fields))
    for _ in range(20):  # numpy keeps a few blocks of each size, and hands out the last one first
        old = [np.full(size, HEAP, np.uint8) for size in range(64, 70) for _ in range(7)]
        del old
        sifted = sieve.sift(bytes(payload), count, 0)
        left = np.frombuffer(sifted.payload, np.uint8).reshape(sifted.count, -1)
        assert not left[:, 1:8].any()


@pytest.mark.parametrize("spec", ["S20", "V20", "U9", "c16"])
def test_long_values_keep_all_of_their_bytes(spec) -> None:
    """Only a long double has bytes that hold nothing."""
    dtype = np.dtype([("pad", "u1"), ("value", spec)], align=True)
    records = records_over_old_memory(dtype, 1)
    records.view("u1")[:] = 7
    packed = bytes(Array(dtype).pack(records)[0])
    offset = dtype.fields["value"][1]
    size = np.dtype(spec).itemsize
    assert packed[offset : offset + size] == b"\x07" * size
