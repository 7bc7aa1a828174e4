"""Engines and consumers whose clocks differ: time namespaces, a wall clock that was set, a suspend.

This machine's own clocks are left alone. A wall clock that was set after an engine had started
looks to a consumer as if the engine had read another time then, so the tests change what it read.
A suspend leaves the same trace.
"""

import itertools
import json
import os
import signal
import time

import psutil
import pytest

import tapring
from tapring.shm.segment import DIRECTORY, names
from tapring.wire import layout

NS = 10**9
SOON_S = 60  # far less than any difference between clocks here, and more than a test takes
ENGINE = """
import sys, time, tapring
tap = tapring.Tap(sys.argv[1])
print(tap.lane, flush=True)
for line in sys.stdin:
    watched = tap.snapshot()
    if watched:
        watched.offer("decoded", [{"n": int(line), "wall_ns": time.time_ns()}])
    print("offered", flush=True)
"""
CONSUMER = """
import json, sys, tapring
from tapring.shm.clocks import own_offset_ns
if len(sys.argv) > 3:
    session = tapring.attach_session(sys.argv[3])
else:
    session = tapring.capture(sys.argv[1], duration=200)
with session:
    facts = {"remaining_s": session.remaining_s}
    print("open", flush=True)
    sys.stdin.readline()
    facts["lag_s"] = session.stats.lag_ns / 1e9
    facts["uptime_s"] = [engine.uptime_s for engine in tapring.engines(sys.argv[1])]
    facts["age_s"] = [s.age_s for engine in tapring.engines(sys.argv[1]) for s in engine.sessions]
    facts["unknown_clocks"] = session.unknown_clocks
    frames = list(session.frames(limit=int(sys.argv[2])))
    facts["timestamps"] = [frame.timestamp for frame in frames]
    facts["events"] = [event for frame in frames for event in frame.events()]
print(json.dumps(facts))
"""
REPLAY = """
from tapring.cli import main
main()
"""
AHEAD_S = [(0, -300), (0, 300), (300, 0), (-300, 300), (0, 0)]  # of an engine, of a consumer


class Process:
    """A process that answers each line with a line."""

    def __init__(self, process) -> None:
        self.process = process
        self.first = self.answer()

    def answer(self) -> str:
        return self.process.stdout.readline().decode().strip()

    def ask(self, line: object = "") -> str:
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        return self.answer()


@pytest.fixture
def start(spawn, name, time_namespace):
    """Start an engine or a consumer with a clock that is so many seconds ahead.

    It ends when its input does. If it were killed, ``unshare`` would be dead before it is.
    """
    started = []

    def of(source: str, ahead_s: int, *args: str) -> Process:
        within = time_namespace(ahead_s)
        process = spawn(source, name, *args, within=within, stdin=-1, stdout=-1)
        started.append(process)
        return Process(process)

    yield of
    for process in started:
        process.stdin.close()
        process.wait(SOON_S)


def change_word(name: str, lane: str, word: int, change) -> None:
    """Change a word of a registry, which the engine writes only once."""
    with open(f"{DIRECTORY}/tapring.{name}.{lane}", "r+b") as registry:
        at = word * layout.WORD
        old = int.from_bytes(os.pread(registry.fileno(), layout.WORD, at), "little")
        os.pwrite(registry.fileno(), change(old).to_bytes(layout.WORD, "little"), at)


def set_the_wall_clock(name: str, lane: str, by_s: int) -> None:
    """Make it look as if the wall clock was set by so much after the engine had started."""
    change_word(name, lane, layout.CLOCK_WALL_NS, lambda wall_ns: wall_ns - by_s * NS)


def times_are_right(timestamps: list[int], events: list[dict]) -> bool:
    pairs = zip(timestamps, events, strict=True)
    return all(abs(ns - event["wall_ns"]) < SOON_S * NS for ns, event in pairs)


@pytest.mark.parametrize("set_by_s", [0, 3600, -3600])
@pytest.mark.parametrize(("engine_s", "consumer_s"), AHEAD_S)
def test_times_are_right_whatever_the_clocks(start, name, engine_s, consumer_s, set_by_s) -> None:
    engine = start(ENGINE, engine_s)
    set_the_wall_clock(name, engine.first, set_by_s)
    consumer = start(CONSUMER, consumer_s, "2")
    engine.ask(1)
    engine.ask(2)
    facts = json.loads(consumer.ask())
    assert [event["n"] for event in facts["events"]] == [1, 2]
    assert times_are_right(facts["timestamps"], facts["events"])
    assert 200 - SOON_S < facts["remaining_s"] <= 200
    for seconds in (facts["lag_s"], *facts["uptime_s"], *facts["age_s"]):
        assert 0 < seconds < SOON_S
    assert facts["unknown_clocks"] == []


def test_lanes_in_several_time_namespaces_are_read_in_the_order_of_time(start, name) -> None:
    engines = [start(ENGINE, ahead_s) for ahead_s in (0, 300, -300)]
    set_the_wall_clock(name, engines[1].first, 3600)
    consumer = start(CONSUMER, 100, "9")
    for n, engine in zip(range(9), itertools.cycle(engines), strict=False):
        engine.ask(n)
    facts = json.loads(consumer.ask())
    assert [event["n"] for event in facts["events"]] == list(range(9))
    assert times_are_right(facts["timestamps"], facts["events"])
    assert facts["lag_s"] < SOON_S


def test_an_engine_that_cannot_tell_its_time_namespace_is_named(start, name) -> None:
    engine = start(ENGINE, 0)
    change_word(name, engine.first, layout.CLOCK_OFFSET_NS, lambda _: 0)
    set_the_wall_clock(name, engine.first, 3600)
    consumer = start(CONSUMER, 0, "1")
    engine.ask(1)
    facts = json.loads(consumer.ask())
    assert facts["unknown_clocks"] == [engine.first]
    (timestamp,), (event,) = facts["timestamps"], facts["events"]
    assert abs(event["wall_ns"] - timestamp - 3600 * NS) < SOON_S * NS


def test_consumers_that_attach_at_different_times_give_a_batch_the_same_time(start, name) -> None:
    engine = start(ENGINE, 300)
    set_the_wall_clock(name, engine.first, 3600)
    consumers = [start(CONSUMER, ahead_s, "1") for ahead_s in (0, -300)]
    engine.ask(1)
    first, second = (json.loads(consumer.ask()) for consumer in consumers)
    assert first["timestamps"] == second["timestamps"]


def test_a_kept_session_has_the_right_times_for_each_of_its_consumers(
    start, run_cli, name, time_namespace
) -> None:
    engine = start(ENGINE, 300)
    opened = run_cli("open", name, "--duration", "200s", within=time_namespace(-300))
    address = opened.stdout.decode().strip()
    for ahead_s in (0, 600, -600):
        consumer = start(CONSUMER, ahead_s, "1", address)
        engine.ask(ahead_s)
        facts = json.loads(consumer.ask())
        assert [event["n"] for event in facts["events"]] == [ahead_s]
        assert times_are_right(facts["timestamps"], facts["events"])
        assert 200 - SOON_S < facts["remaining_s"] <= 200
        assert 0 < facts["age_s"][0] < SOON_S
    assert run_cli("close", address, within=time_namespace(-300)).returncode == 0
    engine.ask(1)  # this batch ends the session
    assert names(f"tapring.{address}".replace(":", ".")) == []


def test_a_capture_has_the_right_times_in_its_files_and_so_has_its_replay(
    start, spawn, run_cli, name, time_namespace, tmp_path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    engine = start(ENGINE, 300)
    set_the_wall_clock(name, engine.first, 3600)
    address = run_cli("open", name).stdout.decode().strip()
    wall_ns = time.time_ns()
    engine.ask(1)
    engine.ask(2)
    for suffix in ("ndjson", "parquet"):
        output = ("-o", str(tmp_path / f"events.{suffix}"), "--limit", "1")
        attached = run_cli("attach", address, *output, within=time_namespace(-300))
        assert attached.returncode == 0, attached.stderr
    meta = json.loads((tmp_path / "events.ndjson.meta.json").read_bytes())
    (row,) = parquet.read_table(tmp_path / "events.parquet").column("tapring_time").cast("int64")
    for ns in (meta["start_ns"], meta["end_ns"], row.as_py()):
        assert abs(ns - wall_ns) < SOON_S * NS

    played, recorded = f"{name}-replay", str(tmp_path / "events.ndjson")
    options = ("--name", played, "--fast", "--wait", "--loop")  # it lasts until it is interrupted
    player = spawn(REPLAY, "replay", recorded, *options, within=time_namespace(300))
    with tapring.capture(played, wait=SOON_S) as session:
        (frame,) = session.frames(limit=1)
        assert frame.events()[0]["n"] == 1
        assert abs(frame.timestamp - time.time_ns()) < SOON_S * NS
    (replay,) = psutil.Process(player.pid).children()
    replay.send_signal(signal.SIGINT)
    assert player.wait(SOON_S) == 0


def test_tapring_ls_shows_ages_by_the_engines_clock(start, run_cli, name, time_namespace) -> None:
    start(ENGINE, 300)
    opened = run_cli("open", name, within=time_namespace(0))
    assert opened.returncode == 0
    for ahead_s in (0, -300, 600):
        listed = run_cli("ls", name, "--json", "--interval", "0", within=time_namespace(ahead_s))
        (lane,) = json.loads(listed.stdout)
        assert 0 < lane["uptime_s"] < SOON_S
        assert 0 < lane["sessions"][0]["age_s"] < SOON_S
