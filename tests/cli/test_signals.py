"""The first signal ends a command in good order, the second one at once."""

import os
import signal

import pytest

from tapring.cli.signals import Interrupts


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_calls_the_end_and_the_second_interrupts(signum) -> None:
    before, ends = signal.getsignal(signum), []
    with Interrupts(lambda: ends.append(1)):
        os.kill(os.getpid(), signum)
        assert ends == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signum)
    assert signal.getsignal(signum) is before


def test_a_signal_that_comes_too_early_is_remembered() -> None:
    ends = []
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        assert ends == []
        interrupts.ends(lambda: ends.append(1))
        assert ends == [1]
