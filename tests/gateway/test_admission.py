"""Who may stay connected: never too many, and those with a token before others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tapring.gateway.admission import Admission

STEPS = st.lists(st.tuples(st.sampled_from(["enter", "know", "leave"]), st.integers(0, 9)))


class Guest:
    """A connection; ``aborted``: how often it was closed."""

    def __init__(self, order: list[Guest]) -> None:
        self.order = order

    def abort(self) -> None:
        self.order.append(self)


@given(STEPS, st.integers(1, 4))
def test_there_are_never_too_many_and_only_strangers_make_room_the_oldest_first(
    steps, most
) -> None:
    admission = Admission(most)
    aborted: list[Guest] = []
    known: list[Guest] = []
    strangers: list[Guest] = []
    for what, n in steps:
        there = [*known, *strangers]
        if what == "enter":
            guest = Guest(aborted)
            before = len(aborted)
            entered = admission.enter(guest)
            assert entered == (len(there) < most or bool(strangers))
            if len(there) == most and strangers:
                assert aborted[before:] == [strangers.pop(0)]
            else:
                assert len(aborted) == before
            if entered:
                strangers.append(guest)
        elif there:
            guest = there[n % len(there)]
            if what == "know":
                admission.know(guest)
                if guest in strangers:
                    strangers.remove(guest)
                    known.append(guest)
            else:
                admission.leave(guest)
                admission.leave(guest)
                (known if guest in known else strangers).remove(guest)
        assert len(admission) == len(known) + len(strangers) <= most


def test_one_that_has_left_is_not_known_again() -> None:
    admission = Admission(1)
    guest = Guest([])
    admission.know(guest)
    assert len(admission) == 0
    assert admission.enter(guest)
    admission.leave(guest)
    admission.know(guest)
    assert len(admission) == 0
