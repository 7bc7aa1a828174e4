"""How events are written: what the options mean, and the sink that they ask for."""

from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from tapring.cli.writing import SHOW, WRITE, Writing, differing
from tapring.events.kinds import Json
from tapring.files.meta import CaptureMeta
from tests.files.frames import frame


def given(*arguments: str) -> Writing:
    """The options that a command line means."""
    found: list[Writing] = []

    @click.command()
    @WRITE
    @SHOW
    def command(**values) -> None:
        found.append(Writing(**values))

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return found[0]


def test_expand_means_pretty() -> None:
    assert given("--expand").wanted_format == "pretty"
    given("--expand", "--format", "pretty").check_writing()


@pytest.mark.parametrize(
    ("arguments", "several", "written"),
    [
        ([], False, (None, False)),
        (["--envelope"], False, ("ndjson", True)),
        (["--envelope", "-o", "x.parquet"], False, ("parquet", True)),
        ([], True, ("ndjson", True)),
        (["-o", "x.msgpack.gz"], True, ("msgpack", True)),
        (["--format", "pretty"], True, ("pretty", False)),
        (["--expand"], True, ("pretty", False)),
        (["-o", "x.log"], False, ("raw", False)),
    ],
)
def test_events_of_several_stages_are_written_in_envelopes(arguments, several, written) -> None:
    assert given(*arguments).written_of(several=several) == written


def test_events_of_several_stages_are_shown_plainly_on_a_terminal(monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert given().written_of(several=True) == (None, False)
    assert given("-o", "x").written_of(several=True) == ("ndjson", True)


@pytest.mark.parametrize("file", ["--format=raw", "-ox.npy", "-ox.log"])
def test_a_format_that_cannot_say_which_stage_an_event_is_from_is_refused(file) -> None:
    with pytest.raises(click.UsageError, match="cannot say which stage an event is from"):
        given(file).written_of(several=True)


def test_the_place_is_checked_and_the_sink_is_the_one_that_was_asked_for(tmp_path) -> None:
    path = tmp_path / "x.csv"
    asked = given("-o", str(path), "--rotate", "1MiB", "--keep", "2")
    written = asked.written_of(several=False)
    output = asked.check_place(written)
    assert output is None
    sink = asked.open_sink(written, output, kind="json", describe=CaptureMeta, fields=("a",))
    sink.write(frame(Json(), [{"b": 1, "a": 2}]))
    sink.close()
    (file,) = tmp_path.glob("x.*.csv")
    assert file.read_text().split() == ["a,b,tapring_rest", "2,1,"]
    path.write_text("an older capture")
    with pytest.raises(OSError, match="--force"):
        given("-o", str(path)).check_place(written)
    assert given("-o", str(path), "--force").check_place(written) is None


def test_lanes_differ_in_what_is_not_the_same_for_all() -> None:
    one = SimpleNamespace(engine="a", lane="1", stage="raw")
    other = SimpleNamespace(engine="a", lane="2", stage="raw")
    assert differing([]) == differing(iter([one])) == frozenset()
    assert differing(iter([one, other])) == {"lane"}
