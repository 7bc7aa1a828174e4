"""How the commands speak: errors on one line, and numbers in words."""

import errno

import pytest

from tapring.cli.messages import (
    age_in_words,
    countdown,
    counted,
    duration_in_words,
    fail,
    note,
    say,
    size_in_words,
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("it broke"), "it broke"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "/tmp/x: No space left"),
        (OSError(errno.EPIPE, "Broken pipe"), "output: Broken pipe"),
        (MemoryError(), "this process is out of memory; raise its limit"),
    ],
)
def test_an_error_is_one_line_on_standard_error(capsys, error, said) -> None:
    say(error)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tapring: error: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("speak", [say, note])
def test_nothing_that_is_said_can_command_the_terminal(capsys, speak) -> None:
    speak("\x1b]0;title\x07 a\nb \x9b2J \u202e \udcff café 7\u0661")
    said = capsys.readouterr().err
    assert said.endswith("\\x1b]0;title\\x07 a\\nb \\x9b2J \\u202e \\udcff café 7\u0661\n")
    assert said.count("\n") == 1


def test_a_command_that_cannot_start_exits_with_3(capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        fail("no engine")
    assert exit_.value.code == 3
    assert capsys.readouterr().err == "tapring: error: no engine\n"


def test_numbers_in_words() -> None:
    assert [counted(n, "event") for n in (0, 1, 2000)] == ["0 events", "1 event", "2,000 events"]
    sizes = [0, 1023, 1024, 4 << 20, 5 << 30, 1 << 45]
    words = ["0 bytes", "1023 bytes", "1 KiB", "4 MiB", "5.0 GiB", "32768.0 GiB"]
    assert [size_in_words(size) for size in sizes] == words
    ages = [0, 119, 120, 7199, 7200, 172_800]
    assert [age_in_words(age) for age in ages] == ["0s", "119s", "2m", "120m", "2h", "2d"]
    left = [-1, 0, 59.6, 90, 3600, 36_061]
    assert [countdown(s) for s in left] == ["0:00", "0:00", "1:00", "1:30", "1:00:00", "10:01:01"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "0.25 s"), (59.6, "59.6 s"), (60, "1 min"), (90, "1 min 30 s"), (599.7, "10 min"),
     (5400, "1 h 30 min"), (86_400, "24 h"), (86_400 * 365, "365 days")],
)  # fmt: skip
def test_a_length_of_time_in_words(seconds, words) -> None:
    assert duration_in_words(seconds) == words
