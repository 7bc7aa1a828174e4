"""The house: which module may import which, what an import loads, what is public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tapring

PACKAGE = Path(tapring.__file__).parent
CORE = {"errors", "layout", "ledger", "ring", "stages", "registry", "memory", "ordering"}
MAY_IMPORT = {
    "layout": set(),
    "errors": set(),
    "ordering": set(),
    "interruption": {"errors"},
    "ledger": {"layout"},
    "ring": {"layout", "errors", "ordering", "ledger"},
    "stages": {"errors", "interruption"},
    "memory": {"errors"},
    "registry": {"layout", "errors", "ordering", "memory"},
    "housekeeping": {"layout", "errors", "memory", "registry", "ledger"},
    "discovery": {"layout", "errors", "memory", "registry", "ledger", "housekeeping"},
    "snapshot": CORE | {"interruption"},
    "tap": CORE | {"snapshot", "housekeeping", "interruption"},
    "source": CORE | {"housekeeping"},
    "session": CORE | {"source"},
    "opening": CORE | {"session", "source", "discovery"},
    "sinks": {"errors"},
    "attach": {"session", "opening", "discovery", "sinks", "errors"},
    "pipe": {"tap", "errors"},
    "cli": {
        "session",
        "opening",
        "housekeeping",
        "discovery",
        "sinks",
        "errors",
        "attach",
        "pipe",
        "__init__",
    },
    "__main__": {"cli"},
    "__init__": {
        "errors",
        "registry",
        "discovery",
        "snapshot",
        "source",
        "session",
        "opening",
        "stages",
        "tap",
    },
}


def modules() -> list[Path]:
    return sorted(PACKAGE.glob("*.py"))


def imports_of(path: Path) -> set[str]:
    """The modules of ours that ``path`` imports anywhere in its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tapring"):
            found.add((node.module or "").partition(".")[2] or "__init__")
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.startswith("tapring.")}
    return {"__init__" if each == "__version__" else each for each in found}


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_imports_go_one_way(path: Path) -> None:
    assert imports_of(path) <= MAY_IMPORT[path.stem]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_each_module_says_in_its_first_line_why_it_exists(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert len(docstring.splitlines()[0]) > 20


def test_importing_tapring_loads_nothing_optional() -> None:
    code = "import sys, tapring; print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    heavy = {"numpy", "click", "rich", "psutil", "asyncio", "http", "multiprocessing", "logging"}
    assert not loaded & heavy
    assert "tapring.session" in loaded


def test_what_is_public_is_listed_and_documented() -> None:
    assert list(tapring.__all__) == sorted(tapring.__all__)
    for public in tapring.__all__:
        assert getattr(tapring, public).__doc__


def test_each_error_knows_its_exit_code() -> None:
    errors = [e for n in tapring.__all__ if isinstance(e := getattr(tapring, n), type)]
    errors = [each for each in errors if issubclass(each, tapring.TapError)]
    assert len(errors) >= 11
    assert {each.exit_code for each in errors} == {3}
