"""The house: which package may import which, how long files are, which test is for which module.

It also checks what importing tapring loads, and what is public.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

import tapring

PACKAGE = Path(tapring.__file__).parent
TESTS = Path(__file__).parent
HOUSE = PACKAGE.parent / "docs" / "how-it-works.md"
ROW = re.compile(
    r"^\| (?P<rooms>.*`.*) \| (?P<what>.+) \| (?P<may_import>[a-z, ]+) \|$", re.MULTILINE
)
# wire only handles bytes: it needs no descriptor, clock, thread or other process.
NOT_IN_WIRE = {"asyncio", "fcntl", "mmap", "multiprocessing", "os", "posix_ipc", "select"}
NOT_IN_WIRE |= {"signal", "socket", "subprocess", "tempfile", "threading", "time"}
WIRE_EXCEPTIONS = {"wire.ordering": {"threading"}, "wire.geometry": {"mmap"}}


def table() -> dict[str, set[str]]:
    """What each room may import, according to the table in docs/how-it-works.md."""
    may_import = {}
    for row in ROW.finditer(HOUSE.read_text()):
        rooms = re.findall(r"`(\w+)`", row["rooms"])
        name = row["rooms"].partition(":")[0] if ":" in row["rooms"] else rooms[0]
        may_import[name] = set(row["may_import"].split(", "))
        ROOM_OF.update(dict.fromkeys(rooms, name))
    return may_import


ROOM_OF: dict[str, str] = {}
MAY_IMPORT = table()


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The module's name below tapring; for an ``__init__``, its folder's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@cache
def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """Our modules that ``path`` imports anywhere in its code, and the packages of all others."""
    folder = [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                found.add(f"{module}.{alias.name}" if _is_module(module, alias.name) else module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    tops = {each.partition(".")[0] for each in found} - {PACKAGE.name}
    ours = {each.partition(".")[2] for each in found if each.partition(".")[0] == PACKAGE.name}
    return {each or "__init__" for each in ours}, tops


def _is_module(package: str, name: str) -> bool:
    folder = PACKAGE.parent.joinpath(*package.split("."))
    return (folder / f"{name}.py").exists() or (folder / name).is_dir()


def room(module: str) -> str:
    return ROOM_OF[module.partition(".")[0]]


def test_the_table_lists_every_package_and_each_is_there() -> None:
    there = {name_of(path).partition(".")[0] for path in modules()}
    assert there == set(ROOM_OF)
    assert not {name for names in MAY_IMPORT.values() for name in names} - set(MAY_IMPORT)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_follow_the_table(path: Path) -> None:
    mine = room(name_of(path))
    imported = {room(each) for each in imports_of(path)[0]}
    assert imported <= MAY_IMPORT[mine] | {mine}


def test_no_import_comes_back_to_where_it_began() -> None:
    rooms = {name: may_import - {name} for name, may_import in MAY_IMPORT.items()}
    assert list(TopologicalSorter(rooms).static_order())
    graph = {name_of(path): imports_of(path)[0] for path in modules()}
    assert list(TopologicalSorter(graph).static_order())


def test_engine_and_consumer_never_meet() -> None:
    graph = {name_of(path): imports_of(path)[0] for path in modules()}
    for start, other in (("engine", "consumer"), ("consumer", "engine")):
        reached, ahead = set(), {each for each in graph if room(each) == start}
        while ahead:
            reached |= ahead
            ahead = {name for each in ahead for name in graph.get(each, ())} - reached
        assert not [each for each in reached if room(each) == other]


@pytest.mark.parametrize(
    "path", [each for each in modules() if name_of(each).startswith("wire")], ids=name_of
)
def test_wire_touches_no_descriptor_clock_or_process(path: Path) -> None:
    allowed = WIRE_EXCEPTIONS.get(name_of(path), set())
    assert not imports_of(path)[1] & NOT_IN_WIRE - allowed


def test_no_package_is_called_like_something_public() -> None:
    assert not {each.name for each in PACKAGE.iterdir() if each.is_dir()} & set(tapring.__all__)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_each_module_says_in_its_first_line_why_it_exists(path: Path) -> None:
    assert len(_docstring(path).partition("\n")[0]) > 20


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def longer_than(lines: int, files: list[Path]) -> list[str]:
    lengths = {path: len(path.read_text().splitlines()) for path in files}
    return [f"{path}: {length}" for path, length in lengths.items() if length > lines]


def test_no_module_is_longer_than_400_lines() -> None:
    """Unless the first paragraph of its docstring says why: "Long because ..."."""
    without_reason = [
        path
        for path in modules()
        if "long because" not in _docstring(path).partition("\n\n")[0].lower()
    ]
    assert not longer_than(400, without_reason)


def test_no_test_file_is_longer_than_600_lines() -> None:
    assert not longer_than(600, sorted(TESTS.rglob("*.py")))


def test_each_module_of_a_package_has_its_test_file_and_each_test_file_its_module() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    there = {name_of(path) for path in modules() if name_of(path).partition(".")[0] in packages}
    tested = {
        f"{package}.{path.stem.removeprefix('test_')}".removesuffix(".init")
        for package in packages
        for path in (TESTS / package).glob("test_*.py")
    }
    assert not there - packages - tested, "these modules have no test file"
    assert not tested - there, "these test files name no module"


def test_importing_tapring_loads_nothing_optional() -> None:
    code = "import sys, tapring; print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    ours = {each.split(".")[1] for each in loaded if each.startswith("tapring.")}
    assert not ours & {"adapters", "attach", "cli", "delivery", "files", "pipe"}
    heavy = {"numpy", "click", "rich", "psutil", "asyncio", "http", "multiprocessing", "logging"}
    assert not loaded & heavy
    assert "tapring.consumer.session" in loaded


def test_what_is_public_is_listed_and_documented() -> None:
    assert list(tapring.__all__) == sorted(tapring.__all__)
    types = _documented(PACKAGE / "literals.py")  # an alias has no docstring of its own
    for public in tapring.__all__:
        assert public in types or getattr(tapring, public).__doc__


def _documented(path: Path) -> set[str]:
    """The names that are assigned in a module and have a docstring behind them."""
    body = ast.parse(path.read_text()).body
    return {
        node.targets[0].id
        for node, after in pairwise(body)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def test_each_error_knows_its_exit_code() -> None:
    errors = [e for n in tapring.__all__ if isinstance(e := getattr(tapring, n), type)]
    errors = [each for each in errors if issubclass(each, tapring.TapError)]
    assert len(errors) >= 11
    assert {each.exit_code for each in errors} == {3}  # type: ignore[attr-defined]
