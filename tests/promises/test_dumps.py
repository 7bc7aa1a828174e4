"""Whoever reads a recording: its engine does not notice, and what others do costs an error."""

import os
import shutil
import signal
import subprocess

import pytest

import tapring
from tests.conftest import SHM
from tests.recorders import RecordedLane, numbered

pytestmark = pytest.mark.usefixtures("recordings")

# Each dump is counted in a page that the engine reads without a system call.
DUMPS = """
import mmap, os, sys, tapring
with open(sys.argv[2], "r+b") as file:
    page = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
word = 8 * int(sys.argv[3])
while os.getppid() == int(sys.argv[4]):
    past = tapring.past(sys.argv[1])
    assert sum(frame.count for frame in past.frames()) == past.read > 0
    assert not [each for each in past.recordings if each.damage]
    page[word] += 1
"""
ENGINE = """
import mmap, os, sys, tapring
with open(sys.argv[2], "r+b") as file:
    page = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
tap = tapring.Tap(sys.argv[1], recorder={"raw": 1 << 16, "decoded": 1 << 16})
batches = 0
def batch():
    global batches
    watched = tap.snapshot()
    watched.offer("raw", [b"x" * 200] * 64)
    watched.offer("decoded", [{"i": batches}] * 8)
    batches += 1
batch()
print("ready", flush=True)
while not (page[8] and page[16] and page[24]):
    batch()
os.path.exists("/mark-one")
begun = [page[8], page[16], page[24]]
while batches < 10_000 or min(page[8 * n + 8] - begun[n] for n in range(3)) < 10:
    batch()
os.path.exists("/mark-two")
print(batches, flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not on this machine")
def test_an_engine_that_records_makes_no_system_call_while_three_others_dump_it(
    name, spawn, tmp_path
) -> None:
    log, page = tmp_path / "strace.log", tmp_path / "page"
    page.write_bytes(bytes(4096))
    traced = ["strace", "-f", "-o", str(log)]
    engine = spawn(ENGINE, name, str(page), within=traced, stdout=subprocess.PIPE)
    assert engine.stdout.readline() == b"ready\n"
    dumpers = [spawn(DUMPS, name, str(page), str(n), str(os.getpid())) for n in (1, 2, 3)]
    assert int(engine.stdout.readline()) >= 10_000
    assert [each.poll() for each in dumpers] == [None] * 3
    assert engine.wait(60) == 0
    calls = log.read_text().splitlines()
    (first,) = [i for i, call in enumerate(calls) if "/mark-one" in call]
    (second,) = [i for i, call in enumerate(calls) if "/mark-two" in call]
    # malloc may ask for more memory now and then, whatever is done with it.
    assert [call for call in calls[first + 1 : second] if " brk(" not in call] == []


def test_a_dump_changes_nothing_of_a_recording(name, run_cli) -> None:
    with RecordedLane(name) as lane:
        lane.offer(numbered(range(100)))
        path = SHM / lane.segment()
        before, status = path.read_bytes(), path.stat()
        assert run_cli("dump", name, "--last", "3").returncode == 0
        after = path.stat()
        assert path.read_bytes() == before
        assert (after.st_mtime_ns, after.st_ctime_ns) == (status.st_mtime_ns, status.st_ctime_ns)
        path.chmod(0o400)  # nothing of it needs to be writable
        assert run_cli("dump", name, "--last", "3").returncode == 0


# It changes the recording while others read it: cuts it, gives it back, replaces its name.
CUTTER = """
import os, random, sys
path, whole = sys.argv[1], open(sys.argv[1], "rb").read()
rng = random.Random(1)
print("ready", flush=True)
while True:
    fd = os.open(path, os.O_RDWR)
    os.ftruncate(fd, rng.choice((0, 8, 4095, 4096, 8192, 9000, len(whole) - 1, len(whole) + 4096)))
    os.ftruncate(fd, len(whole))
    os.pwrite(fd, whole, 0)
    os.close(fd)
    if rng.random() < 0.2:
        with open(path + ".new", "wb") as file:
            file.write(whole if rng.random() < 0.5 else b"something else" * 1000)
        os.rename(path + ".new", path)
        os.truncate(path, len(whole))
"""
READER = """
import collections, sys, tapring
found = collections.Counter()
while sum(found.values()) < 1000 or len(found) < 2:
    try:
        past = tapring.past(sys.argv[1])
        numbers = [event["n"] for frame in past.frames() for event in frame.events()]
        assert numbers == list(range(len(numbers)))
        found["damaged" if past.recordings[0].damage else len(numbers)] += 1
    except tapring.TapError as error:
        found[type(error).__name__] += 1
print(dict(found))
"""


def test_a_recording_that_is_cut_or_replaced_meanwhile_costs_its_reader_an_error_at_most(
    name, spawn
) -> None:
    with RecordedLane(name) as lane:
        for n in range(100):
            lane.offer(numbered([n]))
        lane.die()
        cutter = spawn(CUTTER, str(SHM / lane.segment()), stdout=subprocess.PIPE)
        assert cutter.stdout.readline() == b"ready\n"
        reader = spawn(READER, name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = reader.communicate(timeout=100)
        assert (reader.returncode, err) == (0, b""), "no SIGBUS"
        assert b"RingCorrupt" in out
        cutter.kill()
        cutter.wait()
        (SHM / f"{lane.segment()}.new").unlink(missing_ok=True)


# Dumps it in a fork of its own for each call that reads it, before which it is cut.
CUT_AT_EACH_CALL = """
import contextlib, os, sys, tempfile
from tapring.cli import main
path, name = sys.argv[1:]
whole = open(path, "rb").read()
sys.argv = ["tapring", "dump", name, "--summary", "none"]
pread, preadv = os.pread, os.preadv

def dump(step, length):
    def cut(call):
        def cutting(*arguments):
            nonlocal step
            step -= 1
            if not step:
                os.truncate(path, length)
            return call(*arguments)
        return cutting
    with open(path, "r+b") as file:
        file.write(whole)
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    pid = os.fork()
    if not pid:
        os.pread, os.preadv = cut(pread), cut(preadv)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        main()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = pread(err.fileno(), 9999, 0)
    if code == 3:
        assert said.startswith(b"tapring: error: ") and said.count(b"\\n") == 1, said
    else:
        assert (code, said) == (0, b""), (code, said)
        assert pread(out.fileno(), 9999, 0).count(b"\\n") == 10
    return code

with contextlib.suppress(SystemExit), contextlib.redirect_stdout(open(os.devnull, "w")):
    main()  # once, so that the forks need not import anything
step, codes = 0, []
while not codes[-3:] == [0, 0, 0]:
    step += 1
    codes.append(dump(step, 0 if step % 2 else 4096))
print(codes.count(3))
"""


def test_a_recording_that_is_cut_while_it_is_dumped_is_a_line_and_exit_3(name, spawn) -> None:
    with RecordedLane(name) as lane:
        lane.offer(numbered(range(10)))
        lane.die()
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        dumps = spawn(CUT_AT_EACH_CALL, str(SHM / lane.segment()), name, **pipes)
        out, err = dumps.communicate(timeout=100)
        assert (dumps.returncode, err) == (0, b"")
        assert int(out) > 10


def test_an_engine_that_is_stopped_in_the_middle_of_a_batch_is_dumped_whole(name, spawn) -> None:
    source = """
import os, signal, sys, tapring
stop_at = int(sys.argv[2])
tap = tapring.Tap(sys.argv[1], recorder={"raw": 1 << 14})
for n in range(500):
    tap.emit("raw", b"%d %s" % (n, b"x" * (n % 300)))
count = 0
def at_line(frame, event, arg):
    global count
    if event == "line":
        count += 1
        if count == stop_at:
            print(tap.lane, flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
    return at_line
def at_call(frame, event, arg):
    return at_line if "tapring" in frame.f_code.co_filename else None
sys.settrace(at_call)
for n in range(500, 520):
    tap.emit("raw", b"%d %s" % (n, b"x" * (n % 300)))
sys.settrace(None)
print("never", flush=True)
sys.stdin.read()
"""
    for stop_at in range(60, 200, 35):
        engine = spawn(source, name, str(stop_at), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        lane = engine.stdout.readline().decode().strip()
        assert lane != "never"
        os.waitpid(engine.pid, os.WUNTRACED)  # until it has stopped
        past = tapring.past(f"{name}.{lane}")
        numbers = []
        for frame in past.frames():
            for event in frame.events():
                number, _, text = event.partition(b" ")
                numbers.append(int(number))
                assert text == b"x" * (int(number) % 300)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert 499 <= numbers[-1] < 520
        (recording,) = past.recordings
        assert recording.alive
        assert recording.overwritten == numbers[0]
        engine.send_signal(signal.SIGKILL)
        engine.wait()
