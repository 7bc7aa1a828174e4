"""The options of stats: what they mean together, and which of them conflict."""

import click
import pytest
from click.testing import CliRunner

from tapring.cli.stats_options import GROUPS, Options


def given(*arguments: str) -> Options:
    found: list[Options] = []

    def count(**values) -> None:
        found.append(Options(**values))

    for add in (click.argument("files", nargs=-1), *GROUPS):
        count = add(count)
    result = CliRunner().invoke(click.command()(count), arguments)
    assert result.exit_code == 0, result.output
    return found[0]


def test_an_engine_has_intervals_and_files_have_none_by_default() -> None:
    assert given("shop").every_ns == 5 * 10**9
    assert given("shop", "--every", "0").every_ns is None
    assert given("--from", "x").every_ns is None
    assert given("--from", "x", "--every", "1m").every_ns == 60 * 10**9


def test_what_is_asked_is_one_question() -> None:
    question = given("shop", "--by", "a,b", "--by", "c", "--distinct", "d").question
    assert [field.path.text for field in question.by] == ["a", "b", "c"]
    assert [field.path.text for field in question.distinct] == ["d"]
    assert not question.numbers


def test_the_name_of_a_file_is_not_taken_for_an_engine(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").write_bytes(b"1\n")
    (tmp_path / "x.000001.log").write_bytes(b"1\n")
    for name in ("shop", "x.log"):
        with pytest.raises(click.UsageError, match=f"To count its events: .* --from {name}"):
            given(name).check()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop", "web"], "Name one ADDRESS, such as shop, or files"),
        ([], "Name one ADDRESS"),
        (["no engine!"], "engine"),
        (["shop", "--since", "03:00"], "--since is for files. Name them with --from"),
        (["shop", "--input-format", "raw"], "--input-format is for files"),
        (["--from", "x", "--duration", "1s"], "--duration is for an engine, not for files"),
        (["--from", "x", "--session", "1"], "--session is for an engine"),
        (["--from", "x", "--follow"], "--follow is for an engine"),
        (["shop", "--sample-by", "a"], "--sample-by needs --sample"),
        (["shop.0a1b2c3d", "--follow"], "ADDRESS names one lane"),
    ],
)
def test_contradictions_are_refused(arguments, said) -> None:
    with pytest.raises(click.UsageError) as refused:
        given(*arguments).check()
    assert said in refused.value.message
