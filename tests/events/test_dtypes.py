"""The dtypes that a stage refuses, and what each refusal says."""

import numpy as np
import pytest

from tapring.events.dtypes import check, check_described
from tapring.events.kinds import Array, array, kind_from


@pytest.mark.parametrize(
    ("dtype", "says"),
    [
        (np.dtype("O"), "without Python objects"),
        (np.dtype([("a", "i4"), ("b", [("c", "O")])]), "without Python objects"),
        (np.dtype([]), "fields of fixed size"),
        (np.dtype("V0"), "fields of fixed size"),
        (np.dtype(("i4", (2,))), "fields of fixed size"),
        (np.dtype([("\ud800", "i4")]), "has no name in UTF-8"),
        (np.dtype([("a", [("\udfff", "i4")])]), "has no name in UTF-8"),
        (np.dtype([("at", "M8")]), r"field 'at' have no unit; use one such as .M8\[ns\]"),
        (np.dtype([("a", [("took", "m8", (2,))])]), "field 'a.took' have no unit"),
        (np.dtype("M8"), "have no unit"),
    ],
)
def test_what_cannot_be_shared_or_shown_is_refused_by_both_sides(dtype, says) -> None:
    with pytest.raises(ValueError, match=says):
        check(dtype)
    with pytest.raises(ValueError, match=says):
        array(dtype)


@pytest.mark.parametrize(
    "layout",
    [
        {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [4, 0]},
        {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]},
    ],
    ids=["out of order", "overlapping"],
)
def test_fields_that_no_consumer_would_read_as_they_are_are_refused_with_advice(layout) -> None:
    with pytest.raises(ValueError, match="Give them in the order of their offsets"):
        check_described(np.dtype(layout))
    with pytest.raises(ValueError, match="overlap, or do not lie in the order"):
        array(np.dtype(layout))


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype("i4"),
        np.dtype("i4,f8", align=True),
        np.dtype([("at", "M8[ns]"), ("s", "U3"), ("x", "f4", (2, 3)), ("n", [("a", ">i2")])]),
        np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 16}),
    ],
    ids=str,
)
def test_others_travel_through_their_description(dtype) -> None:
    kind = array(dtype)
    again = kind_from("array", kind.describe())
    assert isinstance(again, Array)
    assert again.dtype == dtype
