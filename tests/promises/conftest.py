"""Scripts in which processes die at every step."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable

import pytest

from tests.promises.dying import PRELUDE


@pytest.fixture
def script(spawn: Callable[..., subprocess.Popen[bytes]], name: str) -> Callable[..., int]:
    """Run a script of steps (see ``dying``) to its end; return how many steps there were."""

    def run(source: str, stride: int, timeout: float = 200) -> int:
        process = spawn(PRELUDE + textwrap.dedent(source), name, str(stride), stdout=-1, stderr=-1)
        out, err = process.communicate(timeout=timeout)
        assert err.decode() == ""
        assert process.returncode == 0
        return int(out.split()[-1])

    return run
