"""The mutation tester: a planted module, one test that notices a change and one that does not."""

import ast
import os
from pathlib import Path

import pytest

from tools.mutants.__main__ import ROOT, main
from tools.mutants.mutations import Mutant, Mutations, applied
from tools.mutants.project import Project
from tools.mutants.trying import Trial, compatible

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
        ast.parse(applied(source.encode(), [each]))
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


@pytest.mark.long
def test_a_run_goes_on_from_the_notes_of_one_that_was_stopped(plant, capsys, tmp_path) -> None:
    root, notes = plant(NOTICES), tmp_path / "notes"
    assert "killed 2/2" in run(root, capsys, "--notes", str(notes))
    assert len(notes.read_text().splitlines()) == 2
    (root / "tests/wire/test_planted.py").write_text(NOTICES_NOTHING)
    assert "killed 2/2" in run(root, capsys, "--notes", str(notes)), "those are not tried again"
    planted = root / "tapring/wire/planted.py"
    planted.write_text(planted.read_text() + "\n")
    assert "killed 0/2" in run(root, capsys, "--notes", str(notes)), "another module of that name"


@pytest.mark.long
def test_what_is_listed_as_equivalent_is_not_tried_and_counted_apart(plant, capsys) -> None:
    root = plant(NOTICES_NOTHING)
    (root / "tools").mkdir()
    entry = "wire.planted larger\n- max(a, b)\n+ min(a, b)\nNobody cares.\n"
    (root / "tools" / "equivalent_mutants.txt").write_text(f"# A comment.\n\n{entry}")
    assert "killed 0/1: 0.0%; 1 equivalent" in run(root, capsys)


@pytest.mark.long
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


@pytest.mark.long
def test_a_test_that_does_not_end_kills(plant, capsys, monkeypatch) -> None:
    monkeypatch.setattr("tools.mutants.copies.TEST_TIMEOUT_S", 1)
    source = NOTICES.replace("    assert larger(1, 2) == 2\n", NEVER_ENDS)
    assert "killed 2/2" in run(plant(source), capsys)


def test_the_narrowest_tests_come_first() -> None:
    near = Project(ROOT).near("wire.reader")
    assert near[0] == "tests/wire/test_reader.py"
    assert {os.path.dirname(each) for each in near} == {"tests/wire"}
    far = Project(ROOT).far("all")
    folders = [os.path.dirname(each) for each in far]
    assert folders.index("tests/promises") < folders.index("tests/cli")
    assert len(far) == len(set(far)) > len(Project(ROOT).far("promises")) > 0
    assert Project(ROOT).far("package") == []


@pytest.mark.long
def test_several_seeds_are_one_run(plant, capsys) -> None:
    printed = run(plant(NOTICES), capsys, "--seed", "1", "2", "--mutants", "1")
    assert "seed 1, 1 of 2 possible" in printed
    assert "seed 2, 1 of 2 possible" in printed


@pytest.mark.long
def test_a_test_elsewhere_kills_what_it_notices_and_no_other(plant, capsys) -> None:
    root = plant(NOTICES_NOTHING)
    source = NOTICES.replace("== 2", "is not None")  # min(1, 2) is right for it
    (root / "tests/promises").mkdir()
    (root / "tests/promises/test_far.py").write_text(source)
    printed = run(root, capsys, "--killed")
    assert "return None  noticed by tests/promises/test_far.py::test_it\n" in printed
    assert "max(a, b) -> min(a, b)\n" in printed
    assert "killed 1/2: 50.0%" in printed


def mutants(*spans: tuple[int, int]) -> list[Mutant]:
    return [Mutant("planted", "-", 1, "a", f"{span}", *span, "x") for span in spans]


@pytest.mark.parametrize("enough", [1, 2])
def test_mutants_that_are_tried_together_are_told_apart(enough) -> None:
    """A test fails if so many of the first three are there."""
    tried = mutants(*((n, n + 1) for n in range(10)))

    def fails(files: list[str], made: list[Mutant]) -> str:
        noticed = "test_b.py" in files and len(set(made) & set(tried[:3])) >= enough
        return "test_b.py::test_it" if noticed else ""

    trial = Trial(fails, workers=2)
    trial.far(tried, ["test_a.py", "test_b.py"])
    assert set(trial.noticed) == set(tried[:3] if enough == 1 else [])


def test_mutants_of_one_text_are_never_made_at_once() -> None:
    outer, inner, beside = mutants((0, 9), (3, 5), (9, 12))
    assert list(compatible([outer, inner, beside])) == [[outer, beside], [inner]]
    assert applied(b"0123456789abc", [outer, beside]) == b"xxc"


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
