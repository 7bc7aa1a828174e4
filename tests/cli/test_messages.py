"""How the commands speak: errors on one line, and numbers in words."""

import errno
import io
import json
import sys

import pytest

from tapring.cli.messages import fail, note, print_json, say


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
    assert said.endswith("\\x1b]0;title\\x07 a\\nb \\x9b2J \\u202e \\xff café 7\u0661\n")
    assert said.count("\n") == 1


def test_a_command_that_cannot_start_exits_with_3(capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        fail("no engine")
    assert exit_.value.code == 3
    assert capsys.readouterr().err == "tapring: error: no engine\n"


@pytest.mark.parametrize("indent", [0, 2])
def test_printed_json_can_command_no_terminal_and_means_the_same(capsys, indent) -> None:
    value = {"file": "a\x1b]0;x\x07\n\x9b\u202e\U000e0041 caf\xe9"}
    print_json(value, indent=indent)
    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert all(each.isprintable() or each == "\n" for each in shown)


@pytest.mark.parametrize("charset", ["ascii", "latin-1", "utf-8"])
def test_messages_fit_the_charset_and_json_is_utf_8_or_ascii(monkeypatch, charset) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), charset) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    note("caf\xe9 \u2603")
    say("caf\xe9 \udce2\udc98\udc83")
    print_json({"caf\xe9": "\u2603 \udcff"})
    written = {name: stream.buffer.getvalue() for name, stream in streams.items()}
    said = "caf\xe9 \u2603".encode(charset, "backslashreplace")
    assert written["stderr"] == b"tapring: %b\ntapring: error: %b\n" % (said, said)
    assert json.loads(written["stdout"].decode()) == {"caf\xe9": "\u2603 \\xff"}
