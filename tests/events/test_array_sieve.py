"""The sieve for arrays: records are selected as their JSON, and stay records."""

import numpy as np
import pytest

from tapring.events.kinds import Array
from tapring.events.selection import Select
from tapring.events.sieve import make_sieve
from tapring.events.steps import KeptAway

POINT = np.dtype([("t", "<f8"), ("n", "<i4"), ("name", "S4")])
RECORDS = np.array([(0.5, 1, b"a"), (1.5, 2, b"b"), (2.5, 3, b"ab")], POINT)


def sifted(select: Select):
    sieve = make_sieve(Array(POINT), select)
    left = sieve.sift(RECORDS.tobytes(), len(RECORDS), 0)
    (records,), more = sieve.kind.unpack(left.payload, left.count)
    assert more == 0
    return records, sieve


def test_records_are_selected_by_their_json() -> None:
    records, sieve = sifted(Select(grep='"name":"a', where="n > `1`"))
    assert records.tolist() == [(2.5, 3, b"ab")]
    assert sieve.away == KeptAway(grep=1, where=1)


def test_fields_make_a_thinner_dtype_in_the_order_of_the_record() -> None:
    records, sieve = sifted(Select(fields="name,t"))
    assert records.dtype == np.dtype([("t", "<f8"), ("name", "S4")])
    assert records.tolist() == [(0.5, b"a"), (1.5, b"b"), (2.5, b"ab")]
    assert sieve.kind.describe() == "[('t', '<f8'), ('name', '|S4')]"


@pytest.mark.parametrize("field", ["z", "t.real", "*"])
def test_a_field_that_the_records_do_not_have_is_refused_with_those_they_have(field) -> None:
    with pytest.raises(ValueError, match="this one has t, n, name"):
        make_sieve(Array(POINT), Select(fields=field))
