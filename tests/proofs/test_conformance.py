"""The conformance kit finds nothing wrong in the readers that are here, and finds wrong ones.

``python -m tests.proofs.conformance -- COMMAND`` makes all checks of one reader. Here each reader
has a part of them, and all with ``--long``.
"""

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.readers import EXAMPLES, compile_reader
from tests.proofs.conformance import running
from tests.proofs.conformance.cases import Skipped
from tests.proofs.conformance.command import checks, main
from tests.proofs.conformance.payloads import KINDS
from tests.proofs.conformance.running import Failed

PARTS = 90
LEAST, MOST = "at-least-once", "at-most-once"
SOURCE = (EXAMPLES / "reader.py").read_text()
PYTHON = [sys.executable, "-I", "-S"]
OWN = [sys.executable, "-m", "tests.proofs.conformance.consumer"]
# Of each reader: its kinds, its delivery, and the checks that it always has.
READERS = {
    "reader.py": (("lines", "json"), LEAST, ["lines-live-close"]),
    "reader.c": (KINDS, MOST, ["bytes-live-kill"]),
    "reader.c --at-least-once": (KINDS, LEAST, ["json-live-expire", "json-stepped"]),
    "consumer": (KINDS, MOST, ["array-killed"]),
    "consumer --at-least-once": (KINDS, LEAST, ["lines-killed"]),
}
ALL = [
    pytest.param(name, part, marks=() if part == at else pytest.mark.long)
    for at, name in enumerate(READERS)
    for part in range(PARTS)
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    return compile_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def command(request, monkeypatch):
    """The command that starts a reader by its name."""
    monkeypatch.chdir(ROOT)

    def found(name: str) -> list[str]:
        program, *options = name.split()
        if program == "reader.py":
            return [*PYTHON, str(EXAMPLES / program)]
        if program == "reader.c":
            return [str(request.getfixturevalue("compiled")), *options]
        return [*OWN, *options]

    return found


def failures(chosen) -> dict[str, str]:
    """The checks that fail, each with what was expected and what came."""
    found = {}
    for each in chosen:
        try:
            each.make()
        except Failed as failure:
            found[each.name] = str(failure)
        except Skipped:
            continue
    return found


@pytest.mark.parametrize(("name", "part"), ALL)
def test_a_reader_that_is_here_keeps_the_protocol(command, name, part) -> None:
    kinds, delivery, always = READERS[name]
    found = list(checks(command(name), kinds, delivery))
    chosen = found[part::PARTS]
    if part == list(READERS).index(name):
        chosen += [each for each in found if each.name in always]
    assert len(chosen) > 2
    assert failures(chosen) == {}


# What is changed in examples/reader.py, and the check that must fail for it.
WRONG = {
    "does not look at FEATURES": (
        " and not words[4]",
        "",
        "refused-registry-feature-63",
    ),
    "does not look at the major version": (
        "words[1] % 2**32 == MAJOR",
        "words[1] % 2**32",
        "refused-registry-major-6",
    ),
    "reads no minor version but its own": (
        "words[1] % 2**32 == MAJOR",
        "words[1] == MAJOR",
        "lines-a-later-minor-version",
    ),
    "releases before it prints": (
        "            with open(1,",
        "            page[RELEASED] = captured + count\n            with open(1,",
        "lines-killed",
    ),
    "stores HEAD before RELEASED": (
        "            page[RELEASED] = captured + count",
        "            page[HEAD] = end\n            page[RELEASED] = captured + count",
        "lines-stepped",
    ),
    "does not check pos": ("pos == head < end", "head < end", "refused-frame-pos-1c-first"),
    "does not check kind": (
        "(of, kind) == (stage, code)",
        "of == stage",
        "refused-frame-kind-3-behind-another",
    ),
    "stops at ENDED with frames left": (
        "while (tail := words[TAIL]) != head or not reason:",
        "while ((tail := words[TAIL]) != head or not reason) and not words[ENDED]:",
        "lines-ended-3-with-frames-left",
    ),
    "knows no ENDED but those of today": (
        "WHY[min(words[ENDED], 5)]",
        "dict(enumerate(WHY)).get(words[ENDED], '')",
        "lines-ended-9-with-frames-left",
    ),
    "takes a freed row for the end": (
        "(free and answer != 1)",
        "free",
        "a-freed-row-whose-session-goes-on",
    ),
    "takes an unknown state of the engine for the end": (
        "lane[STATE] == 2",
        "lane[STATE] != 1",
        "an-engine-in-a-state-that-is-not-known-runs",
    ),
    "reads over the end of a refused session": (
        "not 1 < answer < 256",
        "True",
        "refused-verdict-2",
    ),
    "prints what was released again": (
        'text.split(b"\\n", done)[-1] if done < count else b""',
        "text",
        "lines-released-in-part",
    ),
    "skips a frame that was released in part": (
        'text.split(b"\\n", done)[-1] if done < count else b""',
        'text if not done else b""',
        "lines-consumer-died-after-part-41",
    ),
    "loses what wraps": (
        " + data[SLOTS : max(0, last - len(data)) + SLOTS]",
        ' + b"\\n" * max(0, last - len(data))',
        "lines-header-in-the-last-slot-7",
    ),
    "forgets the gap behind the last frame": (
        "sum(words[DROPPED:ENDED]) - page[MISSED])",
        "0)",
        "a-gap-and-no-frame",
    ),
    "counts what sampling left out as missing": (
        "sum(words[DROPPED:ENDED])",
        "sum(words[DROPPED:70])",
        "batches-that-were-not-offered-are-no-gap",
    ),
    "stores where it need not": (
        "page[HEAD] = head = end",
        "page[HEAD] = page[500] = head = end",
        "lines-plain",
    ),
    "reads in the middle of a frame that is not the first": (
        "(head == start and count)",
        "count",
        "refused-released-inside-a-frame-that-is-not-the-first",
    ),
    "does not lock the row": (
        "    _lock(registry, F_OFD_SETLK, 16 + row)",
        "   ",
        "the-row-is-locked-while-it-is-read",
    ),
    "follows links": (" | os.O_NOFOLLOW", "", "refused-ring-is-a-link"),
}
# These read on for ever where they must end.
ENDLESS = ("knows no ENDED but those of today", "reads over the end of a refused session")


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_reader_is_found(tmp_path, monkeypatch, what) -> None:
    right, wrong, name = WRONG[what]
    assert SOURCE.count(right) >= 1
    reader = tmp_path / "reader.py"
    reader.write_text(SOURCE.replace(right, wrong))
    if what in ENDLESS:
        monkeypatch.setattr(running, "PATIENCE_S", 1.0)
    found = checks([*PYTHON, str(reader)], ["lines"], LEAST)
    assert failures([each for each in found if each.name == name]).keys() == {name}


@pytest.mark.parametrize("kind", ["lines", "json"])
def test_a_reader_that_releases_after_it_prints_is_none_that_delivers_at_most_once(kind) -> None:
    found = checks([*PYTHON, str(EXAMPLES / "reader.py")], [kind], MOST)
    failed = failures([each for each in found if each.name == f"{kind}-killed"])
    assert failed[f"{kind}-killed"].startswith("at most once: ")


def test_a_reader_that_loses_events_of_a_real_engine_is_found(tmp_path) -> None:
    reader = tmp_path / "reader.py"
    reader.write_text(SOURCE.replace("output.write(text", "count % 7 and output.write(text"))
    found = checks([*PYTHON, str(reader)], ["lines"], LEAST)
    failed = failures([each for each in found if each.name == "lines-live-close"])
    assert "at least once: events that came" in failed["lines-live-close"]


def test_the_command_prints_a_line_a_check_and_fails_if_one_fails(tmp_path, capsys) -> None:
    reader = tmp_path / "reader.py"
    reader.write_text(SOURCE.replace("words[1] % 2**32 == MAJOR", "True"))
    arguments = ["--kinds", "lines", "--only", "refused-registry-major"]
    assert main([*arguments, "--", *PYTHON, str(EXAMPLES / "reader.py")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("ok       refused-registry-major-") for line in lines)
    assert main([*arguments, "--", *PYTHON, str(reader)]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.startswith("not ok   refused-registry-major-")]
    assert len(failed) == 4
    assert all("expected another exit code than 0, came 0" in line for line in failed)


def test_the_guide_shows_checks_and_options_that_are_there(capsys) -> None:
    guide = (ROOT / "docs" / "conformance.md").read_text()
    names = {each.name for each in checks(["true"], list(KINDS), LEAST)}
    shown = set(re.findall(r"^(?:ok|not ok|skipped) +([\w-]+)", guide, re.MULTILINE))
    assert len(shown) == 4
    assert shown <= names
    with pytest.raises(SystemExit):
        main(["--help"])
    options = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help"}
    assert options == set(re.findall(r"^\| `(--[a-z]+)", guide, re.MULTILINE))


def test_a_reader_of_both_deliveries_is_asked_for_each_by_an_option(capsys, command) -> None:
    arguments = ["--kinds", "json", "--only", "json-killed", "--delivery", "both"]
    assert main([*arguments, "--", *command("reader.c")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok       json-killed (at-least-once)",
        "ok       json-killed (at-most-once)",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["--kinds", "text", "--", "true"], "unknown kind 'text'"),
        (["--delivery", "once", "--", "true"], "invalid choice"),
        (["--", "no-such-program"], "no-such-program cannot be run"),
        (["--only", "no-such-check", "--", "true"], "no check is called no-such-check"),
        (["--once", "--", "true"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys, arguments, message) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("conformance: ")
    assert message in line
