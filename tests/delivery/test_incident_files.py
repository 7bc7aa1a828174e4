"""Each incident has a file of its own, and a meta that says why, when and where."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from time import monotonic_ns, time_ns

import pytest

import tapring
from tapring.consumer.gathering import Gathering
from tapring.consumer.incidents import Incident
from tapring.delivery.incident_files import IncidentFiles
from tapring.events.selection import Select
from tapring.files.meta import read_meta
from tapring.shm.recording import Recording
from tests.helpers import offer

pytestmark = pytest.mark.usefixtures("recordings")
NS = 1_000_000_000


@pytest.fixture
def tap(name):
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16, strict=True) as tap:
        offer(tap, "decoded", [{"n": 1, "who": "ann"}, {"n": 2, "who": "bob"}])
        yield tap


@pytest.fixture
def gathering(tap):
    with closing(Recording.attach(f"tapring.{tap.name}.{tap.lane}.~decoded")) as recording:
        now = monotonic_ns()
        gathering = Gathering([recording], now - 60 * NS, now)
        gathering.poll(finish=True)
        yield gathering


def incident(tap, why: str = "card declined", at: int = 0) -> Incident:
    return Incident(
        kind="trigger",
        why=why,
        engine=tap.name,
        lane=tap.lane,
        pid=7,
        time_ns=at or time_ns(),
        at_ns=monotonic_ns(),
    )


def files(folder: Path, **options) -> IncidentFiles:
    asked = {"format": "ndjson", "keep": None, "select": Select(), "redact": None, **options}
    return IncidentFiles(folder=str(folder), **asked)


def write(files: IncidentFiles, tap, gathering, **options):
    return files.write(
        options.pop("incident", incident(tap)), gathering, coalesced=3, missed=5, **options
    )


def test_the_file_holds_the_events_and_its_meta_says_why(tap, gathering, tmp_path) -> None:
    written = write(files(tmp_path), tap, gathering)
    assert written.failure is None
    lines = Path(written.path).read_text().splitlines()
    assert [json.loads(each)["n"] for each in lines] == [1, 2]
    meta = read_meta(written.path)
    assert meta.complete
    assert (meta.incident.kind, meta.incident.why) == ("trigger", "card declined")
    assert (meta.incident.lane, meta.incident.pid) == (f"{tap.name}.{tap.lane}", 7)
    assert (meta.incident.coalesced, meta.incident.missed) == (3, 5)


def test_redaction_and_fields_apply(tap, gathering, tmp_path) -> None:
    written = write(
        files(tmp_path, redact=tapring.Redactor("who"), select=Select(fields="who")),
        tap,
        gathering,
    )
    text = Path(written.path).read_text()
    assert "tapring:redacted:" in text
    assert "ann" not in text
    assert '"n"' not in text


def test_two_incidents_of_one_moment_have_two_files(tap, gathering, tmp_path) -> None:
    one = incident(tap)
    paths = {write(files(tmp_path), tap, gathering, incident=one).path for _ in range(3)}
    assert len(paths) == 3


def test_the_newest_are_kept_and_nothing_else_is_removed(tap, gathering, tmp_path) -> None:
    other = tmp_path / "20261127T080419.384Z-mine.ndjson"
    other.write_text("mine\n")
    (tmp_path / "night.ndjson").write_text("mine\n")
    begin = time_ns()
    for n in range(5):
        write(files(tmp_path, keep=2), tap, gathering, incident=incident(tap, at=begin + n * NS))
    left = sorted(os.listdir(tmp_path))
    assert len([each for each in left if f"{tap.name}.{tap.lane}.ndjson" in each]) == 4  # and metas
    assert {other.name, "night.ndjson"} <= set(left)


@pytest.mark.parametrize("format_", ["raw", "csv", "msgpack"])
def test_other_formats_have_their_suffixes(tap, gathering, tmp_path, format_) -> None:
    written = write(files(tmp_path, format=format_), tap, gathering)
    assert written.failure is None
    assert read_meta(written.path).format == format_


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_happens(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        files(tmp_path / "file").prepare()
