"""Places: no more than there are, and each comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.gateway.places import Places
from tapring.gateway.problem import Problem


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=40))
def test_there_are_never_more_than_allowed_and_all_come_back(steps) -> None:
    places = Places(4, 2)
    held: list = []
    for takes, who in steps:
        if takes:
            place = places.one(who)
            try:
                place.__enter__()
            except Problem:
                assert len(held) == 4 or sum(each == who for each, _ in held) == 2
            else:
                held.append((who, place))
        elif held:
            held.pop()[1].__exit__(None, None, None)
        assert places.taken == len(held) <= 4
    for _, place in held:
        place.__exit__(None, None, None)
    assert places.taken == 0


def test_a_place_comes_back_after_an_error() -> None:
    places = Places(1, 1)
    with pytest.raises(KeyError), places.one("a"):
        raise KeyError
    with places.one("a"), pytest.raises(Problem) as caught, places.one("b"):
        pass
    assert caught.value.status == 409
    assert places.taken == 0


def test_what_is_full_is_named() -> None:
    dumps = Places(2, what="dumps")
    with dumps.one("a"), dumps.one("a"), pytest.raises(Problem, match="has 2 dumps") as caught:
        dumps.one("b").__enter__()
    assert "--max-streams" not in str(caught.value)
    with pytest.raises(Problem, match="--max-streams"), Places(0, 0).one("a"):
        pass
