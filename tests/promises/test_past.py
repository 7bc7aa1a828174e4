"""What an engine recorded before it died comes back, however it died: whole, and in order.

An engine notes each batch in a file as soon as its offer has returned. What the recorders hold is
compared with that. A batch that was being offered may be there as well.
"""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import tapring
from tapring.shm.evidence import dead_lanes, recordings_of
from tests.conftest import SHM

pytestmark = [
    pytest.mark.usefixtures("recordings"),
    pytest.mark.leftovers,
]

BATCH = 8
ENGINE = """
import ctypes, os, signal, sys, tapring
name, path = sys.argv[1:3]
size, batches, BATCH = map(int, sys.argv[3:])
notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
tap = tapring.Tap(name, recorder={"raw": size, "decoded": size})
os.write(notes, f"{tap.lane}\\n".encode())

def offer(number):
    watched = tap.snapshot()
    ns = range(number * BATCH, (number + 1) * BATCH)
    watched.offer("raw", [b"%015d %s" % (n, b"x" * (n % 200)) for n in ns])
    watched.offer("decoded", [{"n": n, "text": "x" * (n % 200)} for n in ns])
    os.write(notes, b"%d\\n" % number)

number = 0
while not batches or number < batches:
    offer(number)
    number += 1
"""


class Engine:
    """An engine that offers so many batches, or all the time, and notes each of them.

    last_words: what it does then. size: of its recorders, in bytes.
    """

    def __init__(
        self,
        spawn: Callable[..., subprocess.Popen[bytes]],
        name: str,
        path: Path,
        last_words: str = "",
        *,
        size: int = 1 << 20,
        batches: int = 100,
    ) -> None:
        self.name = name
        self._path = path
        arguments = name, str(path), str(size), str(batches), str(BATCH)
        self.process = spawn(f"{ENGINE}\n{last_words}", *arguments, stderr=subprocess.PIPE)

    def notes(self) -> list[str]:
        """What it has noted: its lane, and the numbers of the batches whose offers returned."""
        text = self._path.read_text() if self._path.exists() else ""
        return text.split("\n")[:-1]

    def has_noted(self, batches: int) -> bool:
        """Whether it has offered so many."""
        return len(self.notes()) > batches

    def check(self, *, closed: bool = False) -> dict[str, int]:
        """Compare what is recorded with its notes; return how many batches are left, by stage."""
        lane, *noted = self.notes()
        assert noted == [str(number) for number in range(len(noted))]
        past = tapring.past(f"{self.name}.{lane}")
        found = events_of(past)
        left = {}
        for recording in past.recordings:
            events = found[recording.stage]
            assert (recording.alive, recording.closed) == (False, closed)
            assert (recording.pid, recording.damage) == (self.process.pid, None)
            first = recording.overwritten
            end = first + len(events)
            assert [event["n"] for event in events] == list(range(first, end))
            assert all(event["text"] == "x" * (event["n"] % 200) for event in events)
            assert end % BATCH == 0, "a batch is there in part"
            assert end // BATCH in (len(noted), len(noted) + 1)
            left[recording.stage] = len(events) // BATCH
        assert left.keys() == {"raw", "decoded"}
        assert past.ledger.captured == past.ledger.overwritten + sum(map(len, found.values()))
        return left


@pytest.fixture
def start(spawn, name, tmp_path):
    """Start an ``Engine``; each has notes of its own."""
    started = []

    def make(last_words: str = "", **how) -> Engine:
        started.append(Engine(spawn, name, tmp_path / f"notes{len(started)}", last_words, **how))
        return started[-1]

    return make


def events_of(past: tapring.Past) -> dict[str, list[dict]]:
    """The events of each stage, all alike."""
    found: dict[str, list[dict]] = {"raw": [], "decoded": []}
    for frame in past.frames():
        for event in frame.events():
            if frame.stage == "raw":
                event = {"n": int(event[:15]), "text": event[16:].decode()}
            found[frame.stage].append(event)
    return found


DEATHS = {
    "segfault": ("ctypes.string_at(0)", -signal.SIGSEGV),
    "SIGSEGV": ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    "abort": ("os.abort()", -signal.SIGABRT),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "os._exit": ("os._exit(3)", 3),
}


@pytest.mark.parametrize("how", DEATHS)
def test_what_was_recorded_before_a_death_comes_back(start, how) -> None:
    last_words, code = DEATHS[how]
    engine = start(last_words)
    assert engine.process.wait(60) == code
    assert engine.has_noted(100)
    assert engine.check() == {"raw": 100, "decoded": 100}


@pytest.mark.parametrize(
    ("last_words", "code"),
    [("raise RuntimeError('a bug')", 1), ("sys.exit(4)", 4), ("", 0)],
    ids=["uncaught exception", "sys.exit", "end"],
)
def test_an_engine_that_ends_in_good_order_leaves_its_recordings_closed(
    start, last_words, code
) -> None:
    engine = start(last_words)
    said = engine.process.communicate(timeout=60)[1]
    assert (engine.process.returncode, b"RuntimeError: a bug" in said) == (code, code == 1)
    assert engine.check(closed=True) == {"raw": 100, "decoded": 100}


def test_what_newer_batches_replaced_is_all_that_is_missing(start) -> None:
    engine = start("os.abort()", size=1 << 16, batches=2000)
    engine.process.wait(60)
    left = engine.check()
    assert all(20 < batches < 100 for batches in left.values()), left


@pytest.mark.parametrize("size", [1 << 14, 1 << 16, 1 << 24])
def test_an_engine_killed_at_any_moment_leaves_each_batch_whose_offer_returned(
    start, wait_for, size
) -> None:
    for batches in (1, 30, 1000):
        engine = start(size=size, batches=0)
        wait_for(lambda engine=engine, batches=batches: engine.has_noted(batches))
        engine.process.kill()
        engine.process.wait()
        engine.check()


@pytest.fixture
def little_memory(name):
    """A memory cgroup of 64 MiB, in which the kernel kills who takes more."""
    for hierarchy, limits in (
        ("/sys/fs/cgroup", {"memory.max": 64 << 20, "memory.swap.max": 0}),
        ("/sys/fs/cgroup/memory", {"memory.limit_in_bytes": 64 << 20}),
    ):
        group = Path(hierarchy) / f"tapring-{name}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not all((group / file).exists() for file in ("cgroup.procs", *limits)):
                continue  # a folder and no group, or one without that controller
            for file, limit in limits.items():
                (group / file).write_text(str(limit))
            yield group
            return
        finally:
            group.rmdir()
    pytest.skip("no memory cgroup can be made here")


def test_what_an_engine_recorded_before_it_was_out_of_memory_comes_back(
    start, little_memory
) -> None:
    engine = start(
        f"""
open({str(little_memory / "cgroup.procs")!r}, "w").write(str(os.getpid()))
taken = []
for number in range(number, 500):
    taken.append(bytearray(b"x") * (1 << 20))
    offer(number)
""",
        batches=10,
        size=1 << 22,
    )
    assert engine.process.wait(60) == -signal.SIGKILL
    assert engine.has_noted(10 + 20)
    left = engine.check()
    assert left["raw"] == left["decoded"] >= 30


@pytest.mark.timeout(900)  # with --long, thousands of deaths
def test_an_engine_killed_at_any_line_leaves_a_recording_that_is_whole(script, name, every) -> None:
    steps = script(
        """
        from tapring.shm.evidence import dead_lanes, remove_evidence, remove_unfinished
        tapring.engine.meter._CALLS = 1  # of the same few lines, to measure what they take
        notes = os.memfd_create("notes")

        def work(trace):
            os.ftruncate(notes, 0)
            os.lseek(notes, 0, 0)
            trace()
            tap = tapring.Tap(name, recorder={"raw": 8192, "decoded": 8192})
            for number in range(15):  # a ring holds ten
                watched = tap.snapshot()
                watched.offer("raw", [b"%d.%d.%s" % (number, i, b"x" * 150) for i in range(4)])
                watched.offer("decoded", [[number, i, "x" * 150] for i in range(4)])
                os.write(notes, b".")
            tap.close()
            os.write(notes, b"closed")

        def check():
            noted = os.pread(notes, 100, 0)
            offered = noted.count(b".")
            lanes = dead_lanes(name)
            assert len(lanes) <= 1, lanes
            stages = {}
            if lanes and lanes[0].stages:
                past = tapring.past(lanes[0].address)
                for frame in past.frames():
                    batches = stages.setdefault(frame.stage, [])
                    for event in frame.events():
                        if frame.stage == "raw":
                            number, i, text = event.decode().split(".")
                            event = [int(number), int(i), text]
                        batches.append(event)
                for each in past.recordings:
                    first = each.overwritten // 4
                    events = stages.get(each.stage, [])
                    end = first + len(events) // 4
                    expected = [[n, i, "x" * 150] for n in range(first, end) for i in range(4)]
                    assert events == expected, (events, expected)
                    assert end in (offered, offered + 1), (end, offered)
                    assert each.overwritten + each.events == 4 * end
                    assert each.damage is None and not each.alive
                    if noted.endswith(b"closed"):
                        assert each.closed
                assert past.ledger.captured == sum(
                    each.overwritten + each.events for each in past.recordings
                )
            assert len(stages) == 2 or not offered, (stages.keys(), offered)
            remove_evidence(lanes)
            remove_unfinished(name)
            sweep(name)
            assert not names(f"tapring.{name}."), names(f"tapring.{name}.")

        every_step(work, check)
        """,
        stride=1 if every == 1 else 61,
        timeout=800,
    )
    assert steps > 2000, steps
    print("STEPS", steps)


def test_a_restart_never_overwrites_its_predecessors_recording(start, name) -> None:
    engines = []
    for _ in range(4):
        engine = start("os.abort()")
        engine.process.wait(60)
        engines.append(engine)
        assert [each.check() for each in engines] == [{"raw": 100, "decoded": 100}] * len(engines)
    # Of the older ones, as many stay as the engine keeps.
    last = start("os.abort()")
    last.process.wait(60)
    assert last.check() == engines[-1].check() == {"raw": 100, "decoded": 100}
    assert len(dead_lanes(name)) == 5


def test_the_newest_recording_outlives_a_restart_that_keeps_none(start, name) -> None:
    engine = start("os.abort()")
    engine.process.wait(60)
    for _ in range(2):
        with tapring.Tap(name, recorder="raw", recorder_keep=0, recorder_keep_bytes=0) as tap:
            assert engine.check() == {"raw": 100, "decoded": 100}
            recordings = recordings_of(name, tap.lane)
            assert len(recordings) == 2, "of raw, and of triggers"
        for each in recordings:
            (SHM / each).unlink()


FORK = """
import os, signal, sys, tapring
tap = tapring.Tap(sys.argv[1], recorder="decoded")

def offer(ns, who):
    for n in ns:
        tap.emit("decoded", {"n": n, "who": who})
    print(who, os.getpid(), tap.lane, flush=True)

offer(range(5), "parent")
pid = os.fork()
if not pid:
    offer(range(5), "child")
    pid = os.fork()
    if not pid:
        offer(range(5), "grandchild")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    offer(range(5, 10), "child")
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(pid, 0)
offer(range(5, 10), "parent")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_recordings_of_a_parent_and_its_children_are_separate(spawn, name) -> None:
    process = spawn(FORK, name, stdout=subprocess.PIPE)
    said = [line.split() for line in process.communicate(timeout=60)[0].decode().splitlines()]
    lanes = {who: (int(pid), lane) for who, pid, lane in said}
    assert len(set(lanes.values())) == 3
    for who, count in (("parent", 10), ("child", 10), ("grandchild", 5)):
        pid, lane = lanes[who]
        past = tapring.past(f"{name}.{lane}")
        events = [event for frame in past.frames() for event in frame.events()]
        assert events == [{"n": n, "who": who} for n in range(count)]
        (recording,) = past.recordings
        assert (recording.pid, recording.alive, recording.closed) == (pid, False, False)
    assert len(tapring.past(name).recordings) == 3
