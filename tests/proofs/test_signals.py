"""A signal handler that raises, at random moments of real programs: Ctrl-C, a job's time limit.

``test_interruption`` throws at every bytecode, and knows where. These know nothing, and also meet
what a trace function does not: finalizers, and the moments just after a system call.
"""

import os
import subprocess
import sys

import msgspec
import pytest

from tapring.shm.sweep import sweep
from tests.conftest import ROOT, SHM
from tests.proofs.interrupted import Outcome

OPERATIONS = [
    "capture",
    "doorbell",
    "stages",
    "last",
    "keep",
    "attach",
    "past",
    "engines",
    "engine",
]


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_program_that_is_interrupted_gets_that_exception_and_leaves_nothing(
    operation, name, request
) -> None:
    times = 1000 if request.config.getoption("--long") else 100
    command = [sys.executable, "-m", "tests.proofs.interrupted", name, operation, str(times), "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=500)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    assert outcome.interrupted == times
    assert outcome.other == {}
    assert outcome.sessions == ["kept"]
    # What the kernel has just opened belongs to nobody until Python has noted it.
    assert outcome.descriptors <= 5 + times / 15
    sweep()  # a name may stay between the kernel's answer and Python's note of it
    left = [each for each in os.listdir(SHM) if name in each and "~" not in each]
    assert left == []
