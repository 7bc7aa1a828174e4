"""Keys are counted exactly, or with an error that is said and a memory that is bounded."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.frequent import Frequent

batches = st.lists(st.lists(st.integers(0, 12)))


@given(batches, st.integers(1, 8))
def test_a_count_is_too_low_by_the_error_at_most(batches, most) -> None:
    frequent, true = Frequent(most), Counter()
    for batch in batches:
        frequent.add(batch)
        true.update(batch)
        assert len(frequent) <= most
    counted = dict(frequent.top(99))
    assert frequent.total == true.total()
    assert all(counted[key] <= true[key] <= counted[key] + frequent.error for key in counted)
    assert all(true[key] <= frequent.error for key in true.keys() - counted.keys())
    if len(true) <= most:
        assert frequent.error == 0
        assert counted == true


@given(batches, batches, st.integers(1, 8))
def test_two_that_are_merged_keep_what_they_promise(one, other, most) -> None:
    both = [Frequent(most), Frequent(most)]
    for frequent, batches_ in zip(both, (one, other), strict=True):
        for batch in batches_:
            frequent.add(batch)
    merged, second = both
    merged.merge(second)
    true = Counter(key for batches_ in (one, other) for batch in batches_ for key in batch)
    counted = dict(merged.top(99))
    assert len(counted) <= most
    assert merged.total == true.total()
    assert all(
        counted.get(key, 0) <= true[key] <= counted.get(key, 0) + merged.error for key in true
    )


def test_what_is_frequent_is_found_among_many_rare_keys() -> None:
    frequent = Frequent(1000)
    for start in range(0, 100_000, 1000):
        frequent.add([*range(start, start + 1000), *["often"] * 50])
    ((key, count), *_) = frequent.top(1)
    assert key == "often"
    assert count <= 5000 <= count + frequent.error
    assert frequent.error <= 105_000 // 400


@pytest.mark.parametrize("most", [1, 2])
def test_many_of_a_key_are_counted_at_once(most) -> None:
    frequent = Frequent(most)
    for _ in range(3):
        frequent.add_many("a", 5)
    assert frequent.top(1) == [("a", 15)]
    assert frequent.total == 15
