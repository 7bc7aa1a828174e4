"""A program writes what an engine has recorded into a file."""

from __future__ import annotations

import gzip
import json

import pytest

import tapring
from tapring.delivery.dumping import dump
from tapring.files.meta import IncidentMeta, read_meta
from tests.helpers import offer

pytestmark = pytest.mark.usefixtures("recordings")


@pytest.fixture
def tap(name):
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16, strict=True) as tap:
        offer(tap, "decoded", [{"n": 1, "who": "ann"}, {"n": 2, "who": "bob"}])
        yield tap


def test_the_suffix_is_the_format_and_the_meta_says_why(tap, tmp_path) -> None:
    path = str(tmp_path / "x.ndjson.gz")
    why = IncidentMeta("exception", "ValueError", "2026-11-27T00:00:00Z", "shop.0a1b2c3d", 7)
    summary = dump(tap.name, path, incident=why)
    assert summary.written == 2
    with gzip.open(path) as file:
        assert [json.loads(each)["n"] for each in file] == [1, 2]
    assert read_meta(path).incident == why


def test_selection_and_redaction_apply(tap, tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    select, redact = tapring.Select(where="n > `1`"), tapring.Redactor("who")
    dump(tap.name, str(path), select=select, redact=redact)
    (event,) = map(json.loads, path.read_text().splitlines())
    assert event["n"] == 2
    assert event["who"].startswith("tapring:redacted:")


def test_an_older_file_stays_unless_it_may_be_replaced(tap, tmp_path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_text("older\n")
    with pytest.raises(FileExistsError):
        dump(tap.name, str(path))
    assert path.read_text() == "older\n"
    dump(tap.name, str(path), force=True)
    assert len(path.read_text().splitlines()) == 2


def test_an_engine_that_records_nothing_is_an_error(name, tmp_path) -> None:
    with pytest.raises(tapring.NotRecorded):
        dump(name, str(tmp_path / "x.ndjson"))
    assert not list(tmp_path.iterdir())
