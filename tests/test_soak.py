"""A short soak: some rounds from a fixed seed; ``python -m tests.soak`` runs long ones."""

import re
import subprocess
import sys

from conftest import ROOT


def test_a_short_soak_closes_every_ledger() -> None:
    command = [sys.executable, "-m", "tests.soak", "--seed", "1", "--minutes", "0.1"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("soak: seed 1\n")
    assert "all ledgers closed" in done.stdout
    for what in (r"(\d+) were killed", r"(\d+) engines killed", r"= ([\d,]+) delivered"):
        assert int(re.search(what, done.stdout)[1].replace(",", "")) > 0, done.stdout
