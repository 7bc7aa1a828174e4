"""Problems: every error of tapring has a status and a hint, and none tells of other engines."""

import pytest

import tapring
from tapring import errors
from tapring.gateway.problem import Problem, not_found, problem_of

ALL = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.TapError)
]


@pytest.mark.parametrize("error", ALL)
def test_every_error_has_a_status_and_a_hint(error) -> None:
    problem = problem_of(error("what happened"), "shop")
    assert 400 <= problem.status < 600
    assert problem.told.error
    assert problem.told.hint.endswith(".")


def test_an_engine_that_is_not_there_is_named_without_the_others(name) -> None:
    with tapring.Tap(name), pytest.raises(tapring.EngineNotFound) as caught:
        tapring.capture(name + "x")
    assert name in str(caught.value).replace(name + "x", "")
    problem = problem_of(caught.value, name + "x")
    assert name not in problem.told.error.replace(name + "x", "")
    assert isinstance(not_found("shop"), Problem)
