"""Why no event comes out: what is said of it, live and in the summary."""

import io
import sys
from types import SimpleNamespace

import pytest

from tapring.cli import silence
from tapring.cli.silence import Waiting, elsewhere_in_words, where_typos, why_silent
from tapring.consumer.stats import Stats
from tapring.engine.tap import Tap
from tapring.events.sieve import KeptAway
from tapring.events.where import Where


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(written: int = 0, keys=(), away: KeptAway | None = None, **stats) -> str:
    session = SimpleNamespace(
        engine="shop", stage="decoded", seen_keys=keys, away=away or KeptAway()
    )
    return why_silent(session, Stats(**stats), written)


def test_an_engine_that_offers_nothing_is_told_from_one_whose_events_do_not_match() -> None:
    assert said() == "shop/decoded: no events so far"
    of_where = said(
        keys=["level", "user.id"], away=KeptAway(where=1256), offered=1256, delivered=1256
    )
    assert of_where == (
        "shop/decoded: 1,256 events seen, 0 match --where; fields seen: level, user.id"
    )
    both = said(away=KeptAway(grep=1, sample=1), offered=2, delivered=2, keys=["level"])
    assert both == "shop/decoded: 2 events seen, 0 match --grep and --sample"
    text = said(offered=3, delivered=3, decode_errors=2, redaction_dropped=1)
    assert text == "shop/decoded: 3 events seen, 3 could not be read as JSON"
    assert said(written=3, offered=9, delivered=9) == "shop/decoded: 9 events seen, 3 shown"


def test_of_many_fields_the_first_are_named() -> None:
    keys = [f"f{i}" for i in range(20)]
    assert said(keys=keys, away=KeptAway(where=1), offered=1, delivered=1).endswith(
        "f10, f11 and 8 more"
    )


@pytest.mark.parametrize(
    ("busy", "words"),
    [
        ((), "; stage audit could not be watched: try --stage audit"),
        (("raw",), "; stage raw gets events: try --stage raw"),
        (("raw", "audit"), "; stages raw, audit get events: try --stage raw,audit"),
    ],
)
def test_other_stages_are_named_with_the_option_that_reads_them(busy, words) -> None:
    assert elsewhere_in_words(busy, ["audit"]) == words
    assert elsewhere_in_words(()) == ""


def test_a_field_that_no_event_had_is_named_with_what_was_probably_meant() -> None:
    where = Where("lvl=='error' && level==error && user.name")
    where.meet([{"level": "x", "user": {"name": "y"}}])
    assert list(where_typos(where, ["level", "user.name"])) == [
        "--where lvl: no event had this field; did you mean 'level'?",
        "--where error: no event had this field. For the text, use single quotes: 'error'",
    ]
    assert list(where_typos(None, [])) == []


def test_what_is_not_certain_is_not_said_as_if_it_were() -> None:
    where = Where("usr=='root'")
    where.meet_ruled_out(b'{"usr":\n{"usr":1}\n')
    (line,) = where_typos(where, [])
    assert line == "--where usr: none of the events that were looked into had this field"


def test_while_it_waits_it_says_once_what_runs_instead(name, capsys, monkeypatch) -> None:
    with Tap(name):
        with Waiting(f"{name}x.0a0b0c0d:7") as waiting:
            waiting()
            waiting()
            monkeypatch.setattr(silence, "monotonic_ns", lambda: 1 << 62)
            waiting()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tapring: waiting for an engine called '{name}x' (did you mean")
    assert "running: " in line
    assert name in line.partition("running")[2]


def test_on_a_terminal_it_keeps_itself_current(name, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    now = 1 << 62
    monkeypatch.setattr(silence, "monotonic_ns", lambda: now)
    with Waiting(f"{name}-*") as waiting:
        waiting()
        now += 2 * 10**9
        with Tap(name):
            waiting()
    _, before, after, erased = terminal.getvalue().split("\r\x1b[K")
    assert before.startswith(f"tapring: waiting for engines like '{name}-*'")
    assert name not in before.partition("; ")[2]
    assert name in after.partition("; ")[2]
    assert erased == ""
