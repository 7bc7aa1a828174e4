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
    "shm.info",
    "wire.layout",
    "wire.ledger",
    "wire.ring",
    "events.kinds",
    "shm.registry",
    "shm.segment",
    "wire.ordering",
}
MAY_IMPORT = {
    "adapters": set(),
    "delivery": set(),
    "files": set(),
    "consumer": set(),
    "engine": set(),
    "shm": set(),
    "events": set(),
    "wire": set(),
    "wire.layout": set(),
    "errors": set(),
    "wire.ordering": set(),
    "shm.limits": {"wire.layout", "errors"},
    "thrown_in": {"errors"},
    "wire.ledger": {"wire.layout"},
    "wire.ring": {"wire.layout", "errors", "wire.ordering", "wire.ledger"},
    "events.kinds": {"errors", "thrown_in"},
    "shm.segment": {"errors"},
    "shm.info": {"wire.layout", "errors", "wire.ordering", "shm.segment"},
    "shm.registry": {"wire.layout", "errors", "wire.ordering", "shm.segment", "shm.info"},
    "shm.sweep": {"wire.layout", "errors", "shm.segment", "shm.registry", "wire.ledger"},
    "shm.discovery": {
        "wire.layout",
        "errors",
        "shm.segment",
        "shm.info",
        "shm.registry",
        "wire.ledger",
        "shm.sweep",
    },
    "shm.doorbell": {"wire.layout", "errors", "shm.segment"},
    "engine.session": CORE | {"shm.doorbell"},
    "engine.fanout": CORE | {"thrown_in", "engine.session"},
    "engine.snapshot": {"events.kinds", "engine.fanout"},
    "engine.cost": {"engine.session", "engine.shedding", "engine.snapshot", "engine.fanout"},
    "engine.handle": {"wire.layout", "engine.session"},
    "engine.roster": CORE | {"thrown_in", "engine.session"},
    "engine.shedding": {"engine.session", "engine.snapshot", "events.kinds", "engine.fanout"},
    "events.paths": set(),
    "events.redaction": {"events.paths"},
    "events.where": set(),
    "events.selection": {"events.paths", "events.redaction", "events.where"},
    "events.objects": {"events.kinds"},
    "events.strip": {"events.paths", "events.kinds"},
    "engine.tap": CORE
    | {
        "engine.cost",
        "engine.handle",
        "shm.sweep",
        "thrown_in",
        "shm.limits",
        "engine.session",
        "events.strip",
        "engine.roster",
        "engine.shedding",
        "engine.snapshot",
        "engine.fanout",
    },
    "events.sieve": {
        "errors",
        "events.objects",
        "events.redaction",
        "events.selection",
        "events.kinds",
    },
    "consumer.attachment": CORE | {"shm.sweep", "events.sieve"},
    "consumer.stats": {"wire.ledger", "events.sieve"},
    "consumer.waiting": {
        "shm.doorbell",
        "errors",
        "wire.ordering",
        "shm.registry",
        "consumer.attachment",
    },
    "consumer.cursor": {"wire.ring", "events.sieve", "consumer.attachment", "events.kinds"},
    "consumer.session": CORE
    | {
        "consumer.stats",
        "consumer.cursor",
        "events.sieve",
        "consumer.attachment",
        "consumer.waiting",
    },
    "consumer.opening": CORE
    | {
        "consumer.session",
        "consumer.attachment",
        "shm.discovery",
        "shm.limits",
        "events.redaction",
        "events.selection",
        "events.sieve",
        "consumer.waiting",
    },
    "files.writing": {
        "files.compression",
        "files.sinks",
        "files.formats",
        "files.frames",
        "files.npy",
        "files.output",
        "files.parquet",
        "files.part",
        "files.rotation",
    },
    "files.frames": set(),
    "files.pretty": {"files.frames", "events.objects"},
    "files.formats": {"files.frames", "files.pretty", "events.objects"},
    "files.compression": set(),
    "files.part": set(),
    "files.output": {"files.compression", "files.part"},
    "files.rotation": {"files.compression"},
    "files.meta": {"files.part"},
    "files.npy": {"files.frames", "files.output"},
    "files.shape": set(),
    "files.journal": {"files.frames", "events.objects", "events.kinds"},
    "files.parquet": {
        "files.compression",
        "files.frames",
        "files.journal",
        "files.meta",
        "files.output",
        "files.shape",
    },
    "files.sinks": {
        "files.compression",
        "files.formats",
        "files.frames",
        "files.meta",
        "files.output",
        "files.rotation",
    },
    "command_line": {
        "wire.layout",
        "shm.discovery",
        "errors",
        "events.paths",
        "events.redaction",
        "events.selection",
        "files.writing",
        "events.where",
    },
    "delivery.report": {
        "consumer.stats",
        "command_line",
        "errors",
        "wire.layout",
        "events.redaction",
        "events.selection",
        "consumer.session",
        "files.writing",
    },
    "progress": {"consumer.session", "files.writing"},
    "attach": {
        "__init__",  # its version
        "command_line",
        "shm.discovery",
        "errors",
        "interrupts",
        "consumer.opening",
        "progress",
        "events.redaction",
        "events.selection",
        "consumer.session",
        "files.writing",
        "delivery.report",
        "consumer.waiting",
    },
    "adapters.pipe": {"engine.tap", "errors"},
    "interrupts": set(),
    "files.reading": {
        "errors",
        "files.decoding",
        "files.meta_reading",
        "files.npy_reading",
        "files.runs",
        "files.source",
        "files.formats",
        "events.kinds",
    },
    "files.decoding": {"events.objects", "events.kinds"},
    "files.meta_reading": {"errors", "files.part", "events.kinds"},
    "files.npy_reading": {"files.runs", "files.source", "files.npy", "events.kinds"},
    "files.runs": {
        "files.decoding",
        "files.source",
        "files.formats",
        "files.journal",
        "files.parquet",
        "events.kinds",
    },
    "files.source": {
        "errors",
        "files.compression",
        "files.formats",
        "files.parquet",
        "files.part",
    },
    "adapters.replay": {
        "shm.discovery",
        "errors",
        "files.reading",
        "engine.snapshot",
        "events.kinds",
        "engine.tap",
    },
    "cli": {"__init__", "errors"},  # the commands are loaded by name
    "cli.close": {"command_line", "consumer.opening", "errors"},
    "cli.gc": {"command_line", "shm.sweep", "errors"},
    "cli.ls": {"command_line", "shm.discovery", "errors"},
    "cli.open": {"command_line", "consumer.opening", "errors"},
    "cli.replay": {
        "command_line",
        "errors",
        "interrupts",
        "files.reading",
        "adapters.replay",
        "files.formats",
        "files.output",
        "consumer.attachment",
        "events.kinds",
        "engine.tap",
    },
    "__main__": {"cli"},
    "__init__": {
        "consumer.stats",
        "engine.cost",
        "errors",
        "engine.handle",
        "events.redaction",
        "events.selection",
        "shm.info",
        "shm.discovery",
        "engine.snapshot",
        "consumer.attachment",
        "consumer.session",
        "consumer.opening",
        "events.kinds",
        "engine.tap",
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
    assert "tapring.consumer.session" in loaded


def test_what_is_public_is_listed_and_documented() -> None:
    assert list(tapring.__all__) == sorted(tapring.__all__)
    for public in tapring.__all__:
        assert getattr(tapring, public).__doc__


def test_each_error_knows_its_exit_code() -> None:
    errors = [e for n in tapring.__all__ if isinstance(e := getattr(tapring, n), type)]
    errors = [each for each in errors if issubclass(each, tapring.TapError)]
    assert len(errors) >= 11
    assert {each.exit_code for each in errors} == {3}
