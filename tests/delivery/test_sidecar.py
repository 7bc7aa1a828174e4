"""A sidecar writes each incident, limits the automatic ones, and counts what it leaves out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tapring
from tapring.consumer.incidents import KINDS, Lookout
from tapring.delivery.incident_files import IncidentFiles, WrittenIncident
from tapring.delivery.sidecar import Sidecar
from tapring.events.selection import Select
from tapring.files.meta import read_meta
from tests.conftest import wait_until
from tests.helpers import offer

pytestmark = pytest.mark.usefixtures("recordings")


class Running:
    """A sidecar in a thread, and what it has told."""

    def __init__(self, name: str, folder: Path, *, where: str | None = None, **options) -> None:
        self.written: list[tuple[WrittenIncident, int]] = []
        self.problems: list[str] = []
        self.lookout = Lookout(name, None, KINDS, Select(where=where))
        self.lookout.poll()
        files = IncidentFiles(
            folder=str(folder), format="ndjson", keep=None, select=Select(), redact=None
        )
        asked = {"before_s": 60.0, "after_s": 0.0, "every_s": 60.0, "limit": None, **options}
        self.sidecar = Sidecar(
            self.lookout,
            files,
            written=lambda *told: self.written.append(told),
            problem=self.problems.append,
            **asked,
        )
        self._thread = threading.Thread(target=self.sidecar.run)
        self._thread.start()

    def wait(self, condition: Callable[[], object]) -> None:
        wait_until(condition, message=f"{self.written} {self.problems}")

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.sidecar.end()
        self._thread.join()
        self.lookout.close()


@pytest.fixture
def tap(name):
    with tapring.Tap(name, recorder="decoded", recorder_bytes=1 << 16, strict=True) as tap:
        yield tap


def events_of(written: WrittenIncident) -> list[int]:
    lines = Path(written.path).read_text().splitlines()
    return [int(each.removeprefix('{"n":').removesuffix("}")) for each in lines]


def test_a_trigger_has_what_came_before_and_after(tap, tmp_path) -> None:
    with Running(tap.name, tmp_path, after_s=60.0) as running:
        offer(tap, "decoded", [{"n": 0}])
        tap.trigger("now", post=0.3)
        offer(tap, "decoded", [{"n": 1}])
        running.wait(lambda: running.written)
        offer(tap, "decoded", [{"n": 2}])
        ((written, coalesced),) = running.written
        assert events_of(written) == [0, 1]
        assert coalesced == 0


def test_triggers_are_never_limited(tap, tmp_path) -> None:
    with Running(tap.name, tmp_path) as running:
        for n in range(5):
            tap.trigger(f"number {n}")
        running.wait(lambda: len(running.written) == 5)
        assert running.sidecar.facts().incidents == {"trigger": 5}
        assert running.sidecar.facts().coalesced == 0


def test_automatic_ones_that_come_too_soon_are_counted_with_the_one_that_is_written(
    tap, tmp_path
) -> None:
    with Running(tap.name, tmp_path, where="n > `5`", after_s=0.5) as running:
        for n in range(10):
            offer(tap, "decoded", [{"n": n}])
        running.wait(lambda: running.written)
        ((written, coalesced),) = running.written
        assert coalesced == 3
        assert read_meta(written.path).incident.coalesced == 3
        assert running.sidecar.facts().coalesced == 3


def test_those_that_come_after_it_was_written_are_counted_with_the_next(tap, tmp_path) -> None:
    with Running(tap.name, tmp_path, where="n > `5`", every_s=0.4) as running:
        offer(tap, "decoded", [{"n": 6}])
        running.wait(lambda: running.written)
        began = time.monotonic()
        offer(tap, "decoded", [{"n": 7}])
        running.wait(lambda: running.sidecar.facts().coalesced or time.monotonic() > began + 0.4)
        coalesced = running.sidecar.facts().coalesced
        wait_until(lambda: time.monotonic() > began + 0.5)
        offer(tap, "decoded", [{"n": 8}])
        running.wait(lambda: len(running.written) == 3 - coalesced)
        assert running.written[-1][1] == coalesced


def test_a_death_and_what_the_engine_asked_for_are_told_apart(tap, tmp_path) -> None:
    with Running(tap.name, tmp_path) as running:
        offer(tap, "decoded", [{"n": 0}])
        tap.trigger("goodbye")
        tap.close()
        running.wait(lambda: len(running.written) == 2)
        kinds = [written.incident.kind for written, _ in running.written]
        assert sorted(kinds) == ["exit", "trigger"]
        assert all(events_of(written) == [0] for written, _ in running.written)
        running.wait(lambda: not running.lookout.lanes)


def test_at_the_end_what_is_not_over_is_written_as_it_is(tap, tmp_path) -> None:
    with Running(tap.name, tmp_path, after_s=600.0) as running:
        offer(tap, "decoded", [{"n": 0}])
        tap.trigger("now")
        running.wait(lambda: running.sidecar._pending)
        assert running.written == []
    assert [events_of(written) for written, _ in running.written] == [[0]]


def test_a_folder_that_goes_is_a_problem_and_the_sidecar_goes_on(tap, tmp_path) -> None:
    folder = tmp_path / "gone"
    with Running(tap.name, folder) as running:
        offer(tap, "decoded", [{"n": 0}])
        tap.trigger("first")
        running.wait(lambda: running.problems)
        folder.mkdir()
        tap.trigger("second")
        running.wait(lambda: running.written)
        assert [written.incident.why for written, _ in running.written] == ["second"]
    assert running.sidecar.facts().problems == running.problems


def test_it_ends_after_as_many_as_were_asked_for(tap, tmp_path) -> None:
    with Running(tap.name, tmp_path, limit=1) as running:
        tap.trigger("first")
        running.wait(lambda: not running._thread.is_alive())
        assert len(running.written) == 1
