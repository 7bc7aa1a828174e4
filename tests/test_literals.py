"""The words that a type checker knows are the ones that the code takes and gives."""

from typing import get_args, get_type_hints

from tapring import literals
from tapring.consumer.intake import DELIVERIES
from tapring.consumer.waiting import WAKES
from tapring.ended_by import EndedBy
from tapring.engine.tap import Tap
from tapring.engine.taps import TapOptions
from tapring.events.kinds import PLAIN, Array


def test_the_words_of_arguments_are_those_that_are_taken() -> None:
    assert get_args(literals.Wake) == WAKES
    assert get_args(literals.Delivery) == DELIVERIES
    assert get_args(literals.PlainKind) == tuple(PLAIN)
    assert get_args(literals.StageKind) == (*PLAIN, Array.name)


def test_a_session_ends_for_any_reason_but_the_one_of_a_replay() -> None:
    assert set(get_args(literals.EndReason)) == set(EndedBy) - {EndedBy.END}


def test_a_shared_tap_takes_the_options_of_a_tap() -> None:
    options = get_type_hints(Tap.__init__)
    del options["name"], options["return"]
    assert get_type_hints(TapOptions) == options
