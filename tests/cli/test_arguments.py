"""What the commands' arguments mean, and the errors for wrong ones."""

import click
import pytest

from tapring.cli.arguments import (
    ADDRESS,
    STAGES,
    Checked,
    Count,
    Duration,
    EngineName,
    Size,
    SizeOrTime,
    Speed,
    as_utf8,
)
from tapring.files.rotation import Rotation


def converted(type_: click.ParamType, text: str):
    return type_.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("1.5m", 90), ("1d", 86400),
        ("7", 7), ("0.25", 0.25), (" 5S ", 5), ("10us", 1e-5), ("3ns", 3e-9), ("0", 0),
        ("5min", 300), ("1h30min", 5400),
    ],
)  # fmt: skip
def test_a_duration_in_seconds(text, seconds) -> None:
    assert converted(Duration(), text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20), ("64k", 64 << 10), ("64KiB", 64 << 10), ("16MiB", 16 << 20),
        ("100MB", 100_000_000), ("2kB", 2000), ("1g", 1 << 30), ("0.5k", 512), ("12 b", 12),
        ("1T", 1 << 40),
    ],
)  # fmt: skip
def test_a_size_in_bytes(text, size) -> None:
    assert converted(Size(), text) == size


@pytest.mark.parametrize(
    ("text", "rotation"),
    [
        ("10m", Rotation(seconds=600)), ("10mb", Rotation(bytes=10_000_000)),
        ("10MiB", Rotation(bytes=10 << 20)), ("64k", Rotation(bytes=64 << 10)),
        ("1h", Rotation(seconds=3600)),
    ],
)  # fmt: skip
def test_a_size_or_a_time(text, rotation) -> None:
    assert converted(SizeOrTime(), text) == rotation


@pytest.mark.parametrize(
    ("type_", "text", "said"),
    [
        (Duration(), "30sec", "Invalid duration '30sec'. Try 30s, 1m30s, 500ms or 2h."),
        (Duration(), "", "Invalid duration ''. Try 30s, 1m30s, 500ms or 2h."),
        (Duration(), "9999999d", "Invalid duration '9999999d'. Try 30s"),
        (Duration(), "9" * 400, "Try 30s"),
        (Duration(), "-1s", "Invalid duration '-1s'. Try 30s, 1m30s, 500ms or 2h."),
        (Size(), "0", "Invalid size '0'. Try 16MiB, 64k or 1048576."),
        (Size(), "16X", "Invalid size '16X'. Try 16MiB, 64k or 1048576."),
        (Speed(), "fast", "Invalid speed 'fast'. Use a number above 0: 10 is ten times as fast"),
        (Speed(), "0", "Invalid speed '0'."),
        (Speed(), "-1", "Invalid speed '-1'."),
        (Speed(), "inf", "Invalid speed 'inf'."),
        (Speed(), "9" * 400, "Use a number above 0"),
        (Count(), "0", "Invalid number '0'. Use a whole number of at least 1, such as 10."),
        (Count(), "1.5", "Invalid number '1.5'. Use a whole number of at least 1, such as 10."),
        (Count(), "9" * 30, "Use a whole number of at least 1"),
        (SizeOrTime(), "10", "'10' has no unit. Try 100MiB (a size) or 10m (a time)."),
        (SizeOrTime(), "100M", "'100M' could be a size or a time. Try 100MiB or 100m."),
        (SizeOrTime(), "soon", "Invalid size or time 'soon'. Try 100MiB or 10m."),
        (EngineName(), "No Name", "Invalid engine name 'No Name'; did you mean 'no-name'?"),
        (ADDRESS, "a:b:c", "Invalid address 'a:b:c'. Try ENGINE,"),
        (ADDRESS, "", "detector.0a1b2c3d"),
        (ADDRESS, "shop:0", "Invalid address 'shop:0'. Try"),
        (ADDRESS, "Web-*", "Invalid address 'Web-*'; did you mean 'web-*'?"),
        (ADDRESS, "MyShop:7", "Invalid address 'MyShop:7'; did you mean 'my-shop:7'?"),
        (ADDRESS, "Shop.0A1B2C3D:7", "; did you mean 'shop.0a1b2c3d:7'?"),
        (STAGES, "Raw", "Invalid stage 'Raw'; did you mean 'raw'? Try decoded"),
    ],
)
def test_a_wrong_value_is_told_what_would_be_right(type_, text, said) -> None:
    with pytest.raises(click.BadParameter) as error:
        converted(type_, text)
    assert said in error.value.message


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("caf\xe9", "caf\xe9"),
        ("\udcc5\udcbe", "\u017e"),
        ("\udcff", "\udcff"),
    ],
)
def test_an_argument_that_the_locale_could_not_decode_is_utf_8(argument, text) -> None:
    assert as_utf8(argument) == text
    assert converted(Checked("text", str), argument) == text


def test_a_speed_is_a_factor() -> None:
    assert [converted(Speed(), text) for text in ("10", "10x", "0.5")] == [10, 10, 0.5]


HERE = b"on this machine only"
HTTP = b"Only http:// and https://"


@pytest.mark.parametrize("command", [
    "top", "top --once", "stats", "stats --from", "record", "open", "close", "gc", "pipe",
    "cat", "replay",
])  # fmt: skip
@pytest.mark.parametrize(
    ("url", "why"), [("http://h/shop#token=SECRET", HERE), ("ftp://h/x", HTTP)]
)
def test_a_url_is_refused_where_only_this_machine_is_looked_at(run_cli, command, url, why) -> None:
    result = run_cli(*command.split(), url)
    assert result.returncode == 2
    assert why in result.stderr
    assert b"SECRET" not in result.stderr
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["ls", "attach", "dump"])
def test_a_url_of_another_scheme_is_refused(run_cli, command) -> None:
    result = run_cli(command, "ftp://h/x")
    assert result.returncode == 2
    assert HTTP in result.stderr


def test_top_names_what_shows_another_machine(run_cli) -> None:
    assert b"tapring ls URL --watch" in run_cli("top", "https://h:1").stderr
