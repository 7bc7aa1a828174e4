"""The code in the documents runs, and their links and the tests that they name exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES_WITH_ENGINES = ("capture.md", "incidents.md", "recorder.md")  # they have tests of their own
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def examples() -> list:
    return [
        pytest.param(block, id=f"{path.name}-{index}")
        for path in DOCUMENTS
        if path.name not in PAGES_WITH_ENGINES
        for index, block in enumerate(PYTHON.findall(path.read_text()))
    ]


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("block", examples())
def test_an_example_runs(block, recordings, spawn, name) -> None:
    if 'capture("detector"' in block:  # it needs the engine of the example before it
        source = f"import tapring, time\nt = tapring.Tap({name!r})\nprint(1, flush=True)\n"
        loop = "while True:\n w = t.snapshot()\n if w: w.offer('decoded', [1])\n time.sleep(.01)"
        spawn(source + loop, stdout=-1).stdout.readline()
        block = block.replace("duration=30", "duration=0.2")
    for engine in ("detector", "robot", "orders"):
        block = block.replace(f'"{engine}"', f'"{name}"')
    prelude = "source = [['a line'], [b'another']]\n"
    subprocess.run([sys.executable, "-W", "error", "-c", prelude + block], check=True, timeout=60)


def test_the_readme_shows_engine_and_operator_by_line_25() -> None:
    top = "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    assert "tap.snapshot()" in top
    assert "python -m tapring.attach" in top


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target


def test_each_promise_names_a_test_that_exists() -> None:
    guarantees = (ROOT / "docs" / "guarantees.md").read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", guarantees)
    assert len(named) > 50
    missing = [each for each in named if f"def {each}(" not in tests]
    assert not missing
    files = re.findall(r"`(test_\w+\.py)`", guarantees)
    assert all(list((ROOT / "tests").rglob(each)) for each in files)


def test_each_row_of_the_guarantees_has_a_test() -> None:
    rows = (ROOT / "docs" / "guarantees.md").read_text().splitlines()
    rows = [row for row in rows if row.startswith("| ") and "---" not in row]
    headings = ("| promise |", "| fault |", "| `delivery` |", "| `at-")
    assert not [row for row in rows if not row.startswith(headings) and "`test_" not in row]
