"""A scrape shows what the segments hold, nothing of what has ended, and leaves no trace."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapring
from tapring.gateway.metrics import EngineCollector, registry, text
from tapring.literals import RefusalReason
from tapring.shm.info import READY_TIMEOUT_S
from tapring.shm.names import recording_name, segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.conftest import SHM, shm_of_this_run, unique_name
from tests.gateway.engines import ENGINE, RESTLESS
from tests.gateway.scraping import OPENMETRICS, Scrape, exported, scrape
from tests.helpers import offer, put_word
from tests.promises.users.three_users import STRANGER, acting_as

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@pytest.fixture
def start(spawn, recordings, name):
    """Start an engine process, and return it and its lane."""

    def started(engine: str = name) -> tuple[subprocess.Popen[bytes], str]:
        process = spawn(ENGINE, engine, **PIPES)
        return process, process.stdout.readline().decode().strip()

    return started


def tell(process: subprocess.Popen[bytes]) -> None:
    process.stdin.write(b"go on\n")
    process.stdin.flush()


# ---- the values --------------------------------------------------------------------------------

BATCHES = st.lists(
    st.tuples(st.sampled_from(["raw", "decoded"]), st.integers(0, 40), st.integers(0, 200)),
    max_size=20,
)


@given(batches=BATCHES, sample=st.integers(1, 3), read=st.integers(0, 30))
def test_the_counters_of_a_session_are_those_of_its_handle(batches, sample, read) -> None:
    name = unique_name()
    with tapring.Tap(name, strict=True) as tap:
        handles = [
            tap.register("raw", buffer_bytes=2048),
            tap.register("raw", buffer_bytes=512, sample=sample),
            tap.register("decoded", buffer_bytes=1024),
        ]
        for stage, events, size in batches:
            offer(tap, stage, ["x" * size] * events)
        with tapring.attach_session(name, handles[0].id) as session:
            taken = len(session.read(read, timeout=0))
        found = scrape(name)
        for handle in handles:
            of = {"engine": name, "lane": tap.lane, "session": handle.id}
            parts = ("captured", "dropped", "oversize", "error")
            counts = [found.one(f"session_{part}_events_total", **of) for part in parts]
            assert counts[0] == handle.captured
            assert counts[1] == handle.dropped
            assert found.one("session_offered_events_total", **of) == handle.offered == sum(counts)
            assert found.one("session_sampled_out_events_total", **of) == handle.sampled_out
            assert found.one("session_skipped_events_total", **of) == handle.shed
        delivered = found.one("session_delivered_events_total", session=handles[0].id)
        assert delivered == taken


def test_a_scrape_agrees_with_the_consumer_the_engine_and_the_list(start, name) -> None:
    _, lane = start()
    with tapring.attach_session(name, 1) as session:
        session.read(7)
        (info,) = tapring.engines(name)
        (listed,) = info.sessions
        found = scrape(name)
        here = {"engine": name, "lane": lane}
        one = {**here, "stage": "raw", "session": 1}
        assert found.one("session_delivered_events_total", **one) == session.stats.delivered == 7
        assert found.one("session_captured_events_total", **one) == listed.captured > 7
        assert found.one("session_dropped_events_total", **one) == listed.dropped > 0
        assert found.one("session_fill_ratio", **one) == listed.fill > 0
        assert found.one("session_buffer_bytes", **one) == listed.buffer_bytes == 8192
        assert found.one("session_served_ratio", **one) == 1
        assert found.one("session_batch_seconds", **one) == listed.cost_ns / 1e9
        assert found.one("session_age_seconds", **one) >= listed.age_s > 0
        assert found.one("session_read", **one) == 1
        assert found.one("session_info", **one, owner="engine") == 1
        assert found.one("lane_up", **here) == 1
        assert found.one("lane_info", **here, pid=info.pid) == 1
        assert found.one("lane_uptime_seconds", **here) >= info.uptime_s
        assert found.one("lane_budget_ratio", **here) == 0.5
        assert found.one("lane_cost_ratio", **here) == info.share
        assert found.one("lane_batch_seconds", **here) == info.batch_ns / 1e9
        assert found.one("lane_idle_batch_seconds", **here) == info.idle_ns / 1e9 > 0
        assert found.one("lane_sessions", **here) == 1
        assert found.one("lane_max_sessions", **here) == info.max_sessions
        assert found.one("lane_max_duration_seconds", **here) == info.max_duration_s
        assert found.one("lane_max_buffer_bytes", **here) == info.max_buffer_bytes
        assert found.one("stage_info", **here, stage="raw", kind="lines") == 1
        recorded = {**here, "stage": "raw"}
        assert found.one("recorder_buffer_bytes", **recorded) == 8192
        assert found.one("recorder_captured_events_total", **recorded) == 100
        assert 0 < found.one("recorder_overwritten_events_total", **recorded) < 100
    assert scrape(name).one("session_read", **one) == 0


def test_faults_and_misuse_are_counted(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw", buffer_bytes=4096)
        offer(tap, "no-such-stage", ["a"])
        put_word(
            segment_name(name, tap.lane, handle.id),
            layout.CONSUMER_PAGE // layout.WORD + layout.HEAD,
            1 << 40,
        )
        for _ in range(50):
            offer(tap, "raw", ["x" * 200])
        found = scrape(name)
        (info,) = tapring.engines(name)
        assert found.one("lane_faults_total") == info.faults == 1
        assert found.one("lane_misuse_total") == info.misuse == 1
        assert found.of("lane_budget_ratio") == []
        assert found.of("session_info") == []


def test_a_new_session_is_a_series_of_its_own(name) -> None:
    """Its counters begin at 0, and would otherwise look like those of the last one restarted."""
    with tapring.Tap(name) as tap:
        for session in (1, 2, 3):
            with tap.register("raw"):
                offer(tap, "raw", ["a"] * session)
                found = scrape(name)
                assert found.values_of("session") == {str(session)}
                assert found.one("session_offered_events_total", session=session) == session


# ---- what has ended ----------------------------------------------------------------------------


def test_a_lane_that_ends_leaves_no_series_but_what_it_has_recorded(start, name) -> None:
    process, lane = start()
    always = scrape(f"{name}-absent").samples.keys()
    shown = registry(lambda engine: engine == name)
    assert lane in Scrape(text(shown)[0].decode()).values_of("lane")
    tell(process)
    assert process.stdout.readline() == b"closed\n"
    found = Scrape(text(shown)[0].decode())
    assert found.one("dead_lanes", engine=name, ended="exited") == 1
    size = (SHM / recording_name(name, lane, "raw")).stat().st_size
    assert found.one("dead_lanes_bytes", engine=name) >= size
    assert {metric for metric, _ in found.samples.keys() - always} == {
        "tapring_dead_lanes",
        "tapring_dead_lanes_bytes",
    }


def test_a_killed_engine_leaves_no_series_but_is_counted_among_the_dead(start, name) -> None:
    process, lane = start()
    other, _ = start()
    process.kill()
    process.wait()
    found = scrape(name)
    assert lane not in found.values_of("lane")
    assert found.one("lane_up", engine=name) == 1
    assert found.one("dead_lanes", engine=name, ended="died") == 1
    other.kill()
    other.wait()
    found = scrape(name)
    assert not found.of("lane_up") + found.of("session_info") + found.of("recorder_buffer_bytes")
    assert found.one("dead_lanes", engine=name, ended="died") == 2


# ---- a scrape leaves no trace ------------------------------------------------------------------


def test_a_scrape_opens_no_session_sweeps_nothing_and_writes_nothing(start, name) -> None:
    living, _ = start()
    killed, dead_lane = start()
    killed.kill()
    killed.wait()
    assert segment_name(name, dead_lane) in shm_of_this_run()

    def state() -> dict[str, tuple[bytes, int]]:
        paths = [SHM / each for each in sorted(shm_of_this_run())]
        return {path.name: (path.read_bytes(), path.stat().st_ctime_ns) for path in paths}

    before = state()
    found = scrape(name)
    assert found.one("lane_sessions") == 1
    assert state() == before
    assert living.poll() is None


def test_importing_tapring_does_not_import_prometheus_client() -> None:
    code = "import sys, tapring, tapring.cli; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"False\n"


# ---- engines that come, go, and are damaged ----------------------------------------------------


def test_scrapes_while_engines_come_and_go_never_fail(spawn, recordings, name) -> None:
    restless = [spawn(RESTLESS, f"{name}-{number}", **PIPES) for number in range(3)]
    for process in restless:
        process.stdout.readline()
    shown = registry(lambda engine: engine.startswith(name))
    seen: set[str] = set()
    failures: list[BaseException] = []

    def scraping() -> None:
        try:
            while len(seen) < 60:
                exposed, _ = text(shown)
                seen.update(Scrape(exposed.decode()).values_of("lane"))
                scrape(name, OPENMETRICS)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=scraping) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # One is killed at any point of its work, and leaves whatever it was making.
        restless[0].kill()
        restless[0].wait()
        restless[0].stdin.close()
        restless[0].stdout.close()
        restless[0] = spawn(RESTLESS, f"{name}-0", **PIPES)
        restless[0].stdout.readline()
    for thread in threads:
        thread.join()
    assert not failures
    for process in restless:
        tell(process)
        assert process.wait() == 0


def test_a_scrape_does_not_wait_for_engines_that_stand_still_while_they_are_made(name) -> None:
    with ExitStack() as taps:
        made, *stopped = [taps.enter_context(tapring.Tap(name)) for _ in range(20)]
        for tap in stopped:
            put_word(segment_name(name, tap.lane), layout.MAGIC, 0)
        before = time.monotonic()
        found = scrape(name)
        assert time.monotonic() - before < len(stopped) * READY_TIMEOUT_S
        assert found.values_of("lane") == {made.lane}
        assert sum(found.of("lanes_refused")) == 0


@pytest.mark.parametrize(
    ("word", "value", "reason"),
    [
        (layout.FORMAT, 99, "version"),
        (layout.MAGIC, 99, "damaged"),
        (layout.INFO_BYTES, 5, "damaged"),
        (layout.SEGMENT_BYTES, 5, "damaged"),
    ],
)
def test_a_lane_that_cannot_be_read_is_counted_by_its_reason(name, word, value, reason) -> None:
    with tapring.Tap(name) as good, tapring.Tap(name) as bad:
        put_word(segment_name(name, bad.lane), word, value)
        found = scrape(name)
        assert found.values_of("lane") == {good.lane}
        assert found.one("lanes_refused", reason=reason) == 1
        assert sum(found.of("lanes_refused")) == 1


def test_a_registry_or_a_ring_of_the_wrong_size_fails_no_scrape(name) -> None:
    with tapring.Tap(name) as good, tapring.Tap(name) as bad:
        kept, cut = good.register("raw"), good.register("raw")
        os.truncate(SHM / segment_name(name, good.lane, cut.id), layout.PAGE)
        with Segment.attach(segment_name(name, bad.lane)) as registry_of_bad:
            os.truncate(f"/proc/self/fd/{registry_of_bad.fd}", registry_of_bad.size + layout.PAGE)
        found = scrape(name)
        assert found.values_of("lane") == {good.lane}
        assert found.values_of("session") == {str(kept.id)}
        assert found.one("lanes_refused", reason="damaged") == 1


def test_a_session_that_a_damaged_table_holds_twice_is_one_series(name) -> None:
    with tapring.Tap(name) as tap:
        one, other = tap.register("raw"), tap.register("raw")
        put_word(segment_name(name, tap.lane), layout.row(1) + layout.ROW_ID, one.id)
        assert scrape(name, OPENMETRICS).values_of("session") == {str(one.id)}
        put_word(segment_name(name, tap.lane), layout.row(1) + layout.ROW_ID, other.id)


def test_recordings_that_are_damaged_are_counted(start, name) -> None:
    process, lane = start()
    other, _ = start(f"{name}-other")
    for each in (process, other):
        each.kill()
        each.wait()
    put_word(recording_name(name, lane, "raw"), layout.SEGMENT_BYTES, 5)
    found = scrape(name)
    assert found.one("dead_lanes_refused", reason="damaged") == 1
    assert sum(found.of("dead_lanes_refused")) == 1
    # Of the damaged one, the recording of its triggers is intact.
    assert found.one("dead_lanes", engine=name, ended="died") == 1
    assert found.one("dead_lanes", engine=f"{name}-other", ended="died") == 1
    damaged, whole = [
        found.one("dead_lanes_bytes", engine=each) for each in (name, f"{name}-other")
    ]
    assert 0 < damaged < whole


@only_root
def test_another_users_lane_is_counted_and_named_in_no_label(name) -> None:
    with tapring.Tap(name), acting_as(STRANGER):
        found = scrape(name)
        assert found.one("lanes_refused", reason="not-permitted") == 1
        assert found.of("lane_up") == []
        assert found.values_of("engine") == set()
        assert found.values_of("reason") <= set(get_args(RefusalReason))


def test_a_process_that_may_open_no_file_has_no_scrape_rather_than_an_empty_one(name) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tapring.Tap(name):
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            with pytest.raises(tapring.SharedMemoryFull, match="open files"):
                scrape(name)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert scrape(name).one("lane_up") == 1


# ---- who sees what, and how --------------------------------------------------------------------


def test_engines_that_are_not_allowed_are_left_out_wherever_they_are(start, name) -> None:
    killed, _ = start(f"{name}-dead")
    killed.kill()
    killed.wait()
    with tapring.Tap(f"{name}-shown"), tapring.Tap(f"{name}-hidden"):
        with tapring.Tap(f"{name}-hidden") as refused:
            put_word(segment_name(refused.name, refused.lane), layout.FORMAT, 99)
            found = Scrape(text(registry(lambda engine: engine == f"{name}-shown"))[0].decode())
    assert found.values_of("engine") == {f"{name}-shown"}
    assert sum(found.of("lanes_refused")) == 0


def test_the_text_is_that_of_prometheus_and_openmetrics_for_those_who_ask(start, name) -> None:
    start()
    shown = registry(lambda engine: engine == name)
    assert text(shown)[1].startswith("text/plain; version=0.0.4")
    assert text(shown, OPENMETRICS)[1].startswith("application/openmetrics-text")
    strict = scrape(name, OPENMETRICS)
    assert strict.one("session_offered_events_total") == 100
    assert strict.samples.keys() == scrape(name).samples.keys()


@given(
    st.lists(
        st.sampled_from(["application/openmetrics-text", "text/plain", "version", "escaping"])
        | st.text(st.characters(max_codepoint=255), max_size=5)
    ).flatmap(
        lambda words: st.sampled_from([";", ",", "=", ";version="]).map(lambda by: by.join(words))
    )
)
def test_any_accept_header_is_answered(accept) -> None:
    exposed, content_type = text(registry(lambda _: False), accept)
    assert b"tapring_scrape_seconds" in exposed
    assert content_type.startswith(
        ("text/plain; version=", "application/openmetrics-text; version=")
    )
    assert content_type.isprintable()


def test_the_registry_has_nothing_but_the_engines(name) -> None:
    assert {family.name.partition("_")[0] for family in registry().collect()} == {"tapring"}
    assert EngineCollector(lambda _: False).collect()


def test_promtool_finds_no_fault_with_names_and_types(start, name) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    start()
    exposed, _ = text(registry(lambda engine: engine == name))
    done = subprocess.run(
        [promtool, "check", "metrics"], input=exposed, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(list(exported(Scrape(exposed.decode())))) > 30
