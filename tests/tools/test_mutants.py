"""The mutation tester: a planted module, one test that notices a change and one that does not."""

import ast
import os
from pathlib import Path

import pytest

from tools.mutants.__main__ import ROOT, main
from tools.mutants.mutations import Mutations
from tools.mutants.project import Project

PLANTED = '''"""Planted."""


def larger(a: int, b: int) -> int:
    """The larger of two."""
    return max(a, b)
'''
NOTICES = (
    "from tapring.wire.planted import larger\n\n\ndef test_it():\n    assert larger(1, 2) == 2\n"
)
NOTICES_NOTHING = "import tapring.wire.planted\n\n\ndef test_it():\n    pass\n"
NEVER_ENDS = "    while larger(1, 2) != 2:\n        pass\n"
CONFTEST = """
import hypothesis
hypothesis.settings.register_profile("mutants")
"""


def changes(source: str) -> set[tuple[str, str]]:
    found = Mutations("planted", source.encode()).found
    for each in found:
        ast.parse(each.apply(source.encode()))
    return {(each.before, each.after) for each in found}


@pytest.fixture
def plant(tmp_path: Path):
    """A project of one module, whose paired test file is given."""

    def made(test: str) -> Path:
        for name, text in {
            "tapring/__init__.py": "",
            "tapring/wire/__init__.py": "",
            "tapring/wire/planted.py": PLANTED,
            "tests/conftest.py": CONFTEST,
            "tests/wire/test_planted.py": test,
            "tests/wire/test_another.py": NOTICES_NOTHING,
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return made


def run(root: Path, capsys, *more: str) -> str:
    assert main(["--root", str(root), "--seed", "1", *more]) == 0
    return capsys.readouterr().out


def test_what_a_test_notices_is_killed(plant, capsys) -> None:
    printed = run(plant(NOTICES), capsys)
    assert "seed 1, 2 of 2 possible" in printed
    assert "killed 2/2: 100.0%; 0 equivalent" in printed


def test_what_no_test_notices_is_printed_with_its_place(plant, capsys) -> None:
    printed = run(plant(NOTICES_NOTHING), capsys)
    assert "tapring/wire/planted.py:6  max(a, b) -> min(a, b)\n" in printed
    assert "tapring/wire/planted.py:6  return max(a, b) -> return None\n" in printed
    assert "killed 0/2: 0.0%" in printed


def test_what_is_listed_as_equivalent_is_not_tried_and_counted_apart(plant, capsys) -> None:
    root = plant(NOTICES_NOTHING)
    (root / "tools").mkdir()
    entry = "wire.planted larger\n- max(a, b)\n+ min(a, b)\nNobody cares.\n"
    (root / "tools" / "equivalent_mutants.txt").write_text(f"# A comment.\n\n{entry}")
    assert "killed 0/1: 0.0%; 1 equivalent" in run(root, capsys)


def test_the_working_tree_is_not_touched(plant, capsys) -> None:
    root = plant(NOTICES)
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    run(root, capsys)
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before


def test_tests_that_fail_without_any_change_end_the_run(plant, capsys) -> None:
    root = plant(NOTICES.replace("== 2", "== 3"))
    with pytest.raises(
        SystemExit, match="without any change, this failed: tests/wire/test_planted"
    ):
        run(root, capsys)


def test_a_test_that_does_not_end_kills(plant, capsys, monkeypatch) -> None:
    monkeypatch.setattr("tools.mutants.copies.TEST_TIMEOUT_S", 1)
    source = NOTICES.replace("    assert larger(1, 2) == 2\n", NEVER_ENDS)
    assert "killed 2/2" in run(plant(source), capsys)


def test_the_narrowest_tests_come_first() -> None:
    files = Project(ROOT).test_files("wire.reader", "all")
    assert files[0] == "tests/wire/test_reader.py"
    folders = [os.path.dirname(each) for each in files]
    assert (
        folders.index("tests/wire") < folders.index("tests/promises") < folders.index("tests/cli")
    )
    assert len(files) == len(set(files))
    narrow = Project(ROOT).test_files("wire.reader", "package")
    assert {os.path.dirname(each) for each in narrow} == {"tests/wire"}


def test_comparisons_constants_and_operators_change() -> None:
    assert changes("x = a < b") == {("a < b", "a <= b"), ("a < b", "a >= b")}
    assert changes("x = a and b") == {("a and b", "a or b")}
    assert changes("x = not a") == {("not a", "a")}
    assert changes("x = (a + b) * c") == {("(a + b) * c", "(a + b) // c"), ("a + b", "a - b")}
    assert changes("f(n=0)") == {("f(n=0)", "f(n=1)"), ("f(n=0)", "f(n=(-1))")}
    assert changes("f(True)") == {("f(True)", "f(False)")}
    assert changes("x = 'é' if a is b else c") >= {("a is b", "True"), ("a is b", "False")}


def test_statements_of_functions_go() -> None:
    found = changes("def f():\n    a = b\n    c()\n    d += e\n    return a\n")
    assert found >= {("a = b", "pass"), ("c()", "pass"), ("d += e", "pass"), ("d += e", "d -= e")}
    assert ("return a", "return None") in found
    loop = "def f():\n    while a:\n        if b:\n            break\n        continue\n"
    assert changes(loop) >= {("break", "continue"), ("continue", "break"), ("b", "False")}


def test_texts_annotations_and_errors_do_not_change() -> None:
    assert not changes('def f(a: Literal[1]) -> Literal[2]:\n    """Text 1."""\n    raise E(3)\n')
    assert not changes("x = f'{1 + 2}'")
    assert not changes("if TYPE_CHECKING:\n    x = 1")


def test_a_change_has_one_key_wherever_it_stands() -> None:
    source = b"def f():\n    a  =  b"
    one, other = (Mutations("planted", each).found[0] for each in (source, b"\n\n" + source))
    assert one.key == other.key == ("planted", "f", "a = b", "pass")
    assert one.line != other.line


def test_each_equivalent_mutant_can_still_be_made_and_has_a_reason() -> None:
    listed = Project(ROOT).equivalents()
    assert not listed.keys() - {each.key for each in Project(ROOT).mutants([])}
    assert all(listed.values())
