"""The house: which module may import which, what an import loads, what is public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tapring

PACKAGE = Path(tapring.__file__).parent
CORE = {
    "errors",
    "lane",
    "wire.layout",
    "wire.ledger",
    "wire.ring",
    "stages",
    "registry",
    "memory",
    "wire.ordering",
}
MAY_IMPORT = {
    "wire": set(),
    "wire.layout": set(),
    "errors": set(),
    "wire.ordering": set(),
    "limits": {"wire.layout", "errors"},
    "thrown_in": {"errors"},
    "wire.ledger": {"wire.layout"},
    "wire.ring": {"wire.layout", "errors", "wire.ordering", "wire.ledger"},
    "stages": {"errors", "thrown_in"},
    "memory": {"errors"},
    "lane": {"wire.layout", "errors", "wire.ordering", "memory"},
    "registry": {"wire.layout", "errors", "wire.ordering", "memory", "lane"},
    "housekeeping": {"wire.layout", "errors", "memory", "registry", "wire.ledger"},
    "discovery": {
        "wire.layout",
        "errors",
        "memory",
        "lane",
        "registry",
        "wire.ledger",
        "housekeeping",
    },
    "bell": {"wire.layout", "errors", "memory"},
    "live": CORE | {"bell"},
    "watched": CORE | {"thrown_in", "live"},
    "snapshot": {"stages", "watched"},
    "cost": {"live", "shedding", "snapshot", "watched"},
    "handle": {"wire.layout", "live"},
    "roster": CORE | {"thrown_in", "live"},
    "shedding": {"live", "snapshot", "stages", "watched"},
    "paths": set(),
    "redact": {"paths"},
    "where": set(),
    "select": {"paths", "redact", "where"},
    "records": {"stages"},
    "removal": {"paths", "stages"},
    "tap": CORE
    | {
        "cost",
        "handle",
        "housekeeping",
        "thrown_in",
        "limits",
        "live",
        "removal",
        "roster",
        "shedding",
        "snapshot",
        "watched",
    },
    "sieve": {"errors", "records", "redact", "select", "stages"},
    "source": CORE | {"housekeeping", "sieve"},
    "account": {"wire.ledger", "sieve"},
    "waiting": {"bell", "errors", "wire.ordering", "registry", "source"},
    "hand": {"wire.ring", "sieve", "source", "stages"},
    "session": CORE | {"account", "hand", "sieve", "source", "waiting"},
    "opening": CORE
    | {
        "session",
        "source",
        "discovery",
        "limits",
        "redact",
        "select",
        "sieve",
        "waiting",
    },
    "sinks": {
        "sinks.compression",
        "sinks.files",
        "sinks.formats",
        "sinks.frames",
        "sinks.npy",
        "sinks.output",
        "sinks.parquet",
        "sinks.part",
        "sinks.rotation",
    },
    "sinks.frames": set(),
    "sinks.pretty": {"sinks.frames", "records"},
    "sinks.formats": {"sinks.frames", "sinks.pretty", "records"},
    "sinks.compression": set(),
    "sinks.part": set(),
    "sinks.output": {"sinks.compression", "sinks.part"},
    "sinks.rotation": {"sinks.compression"},
    "sinks.meta": {"sinks.part"},
    "sinks.npy": {"sinks.frames", "sinks.output"},
    "sinks.shape": set(),
    "sinks.journal": {"sinks.frames", "records", "stages"},
    "sinks.parquet": {
        "sinks.compression",
        "sinks.frames",
        "sinks.journal",
        "sinks.meta",
        "sinks.output",
        "sinks.shape",
    },
    "sinks.files": {
        "sinks.compression",
        "sinks.formats",
        "sinks.frames",
        "sinks.meta",
        "sinks.output",
        "sinks.rotation",
    },
    "command_line": {
        "wire.layout",
        "discovery",
        "errors",
        "paths",
        "redact",
        "select",
        "sinks",
        "where",
    },
    "summary": {
        "account",
        "command_line",
        "errors",
        "wire.layout",
        "redact",
        "select",
        "session",
        "sinks",
    },
    "progress": {"session", "sinks"},
    "attach": {
        "__init__",  # its version
        "command_line",
        "discovery",
        "errors",
        "interrupts",
        "opening",
        "progress",
        "redact",
        "select",
        "session",
        "sinks",
        "summary",
        "waiting",
    },
    "pipe": {"tap", "errors"},
    "interrupts": set(),
    "recordings": {
        "errors",
        "recordings.events",
        "recordings.meta",
        "recordings.npy",
        "recordings.runs",
        "recordings.source",
        "sinks.formats",
        "stages",
    },
    "recordings.events": {"records", "stages"},
    "recordings.meta": {"errors", "sinks.part", "stages"},
    "recordings.npy": {"recordings.runs", "recordings.source", "sinks.npy", "stages"},
    "recordings.runs": {
        "recordings.events",
        "recordings.source",
        "sinks.formats",
        "sinks.journal",
        "sinks.parquet",
        "stages",
    },
    "recordings.source": {
        "errors",
        "sinks.compression",
        "sinks.formats",
        "sinks.parquet",
        "sinks.part",
    },
    "replay": {"discovery", "errors", "recordings", "snapshot", "stages", "tap"},
    "cli": {"__init__", "errors"},  # the commands are loaded by name
    "cli.close": {"command_line", "opening", "errors"},
    "cli.gc": {"command_line", "housekeeping", "errors"},
    "cli.ls": {"command_line", "discovery", "errors"},
    "cli.open": {"command_line", "opening", "errors"},
    "cli.replay": {
        "command_line",
        "errors",
        "interrupts",
        "recordings",
        "replay",
        "sinks.formats",
        "sinks.output",
        "source",
        "stages",
        "tap",
    },
    "__main__": {"cli"},
    "__init__": {
        "account",
        "cost",
        "errors",
        "handle",
        "redact",
        "select",
        "lane",
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
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Its name below tapring: a folder's own for its ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(path: Path) -> set[str]:
    """The modules of ours that ``path`` imports anywhere in its code."""
    folder = [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {
                f"{module}.{a.name}" if _is_module(module, a.name) else module for a in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    ours = {each.partition(".")[2] for each in found if each.partition(".")[0] == PACKAGE.name}
    return {"__init__" if each == "" else each for each in ours}


def _is_module(package: str, name: str) -> bool:
    folder = PACKAGE.parent.joinpath(*package.split("."))
    return (folder / f"{name}.py").exists() or (folder / name).is_dir()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    assert imports_of(path) <= MAY_IMPORT[name_of(path)]


@pytest.mark.parametrize("path", modules(), ids=name_of)
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
