"""examples/reader.c, compiled here, beside engines and tapring's own consumers."""

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapring
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.docs.readers import (
    ENDS,
    compile_reader,
    is_attached,
    numbered,
    offer,
    read_a_full_ring,
    released,
    unread_of_pipe,
)

SHM = Path("/dev/shm")
RUN = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
POINT = np.dtype([("t", "<f8"), ("", "V4"), ("x", "<i2", (3,))])
STAGES = {"blobs": "bytes", "track": tapring.array(POINT)}
BATCHES: dict[str, list[Any]] = {
    "raw": [[b"a", b"", "\N{SNOWMAN}"], [b"two\nlines", b"\0\xff\n"], b"one\n\nblock", b"\n"],
    "decoded": [[{"user": 7}, None, ["a\nb"]], [1]],
    "blobs": [[b"", b"\0\n", bytes(range(256))], [b"x" * 5000]],
    "track": [np.zeros(3, POINT), np.frombuffer(bytes(range(18)) * 70, POINT)],
}
# One batch for a session of its own, and then nothing, until its input ends.
IDLE = """
import sys, tapring
tap = tapring.Tap(sys.argv[1], max_duration=float(sys.argv[2]))
handle = tap.register("raw", buffer_bytes=2048)
tap.snapshot().offer("raw", [b"one", b"two"])
print(f"{tap.name}.{tap.lane}:{handle.id}", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    return compile_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def reader(spawn, compiled):
    """Start the program with these arguments; its output is piped unless ``stdout`` is given."""

    def start(*args: str, **options):
        return spawn(RUN, str(compiled), *args, **{"stdout": -1, "stderr": -1, **options})

    return start


@pytest.fixture
def tap(name):
    with tapring.Tap(name, stages=STAGES, strict=True, slot_bytes=64) as made:
        yield made


def address(tap, handle) -> str:
    return f"{tap.name}.{tap.lane}:{handle.id}"


def account(process) -> dict:
    """The account of a reader that has ended well; its parts must add up."""
    found = json.loads(process.stderr.read())
    parts = ("delivered", "unread", "dropped", "oversize", "errors")
    assert found["offered"] == sum(found[part] for part in parts)
    assert process.wait(30) == 0
    return found


def refusal(process) -> str:
    """The one line of a reader that found an error."""
    (line,) = process.stderr.read().decode().splitlines()
    assert process.wait(30) == 1
    assert line.startswith("reader: ")
    return line


def printed(session, stage: str) -> bytes:
    """What the reader prints for what tapring's own consumer takes."""
    if stage in ("raw", "decoded"):
        return b"".join(frame.payload for frame in session.frames())
    if stage == "track":  # it hands out arrays
        events = [record.tobytes() for array in session for record in array]
    else:
        events = list(session)
    return b"".join(event.hex().encode() + b"\n" for event in events)


@pytest.mark.parametrize("delivery", [[], ["--at-least-once"]], ids=["at-most", "at-least"])
@pytest.mark.parametrize("stage", BATCHES)
def test_each_kind_comes_out_as_tapring_s_consumer_gives_it(tap, reader, stage, delivery) -> None:
    ours, theirs = tap.register(stage), tap.register(stage)
    for batch in BATCHES[stage]:
        offer(tap, batch, stage)
    with tapring.attach_session(tap.name, ours.id) as session:
        ours.close()
        expected = printed(session, stage)
        delivered = session.stats.delivered
    process = reader(*delivery, address(tap, theirs))
    assert process.stdout.read(len(expected)) == expected
    theirs.close()
    counts = account(process)
    assert (counts["delivered"], counts["gaps"], counts["ended_by"]) == (delivered, 0, "closed")
    assert process.stdout.read() == b""


@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
def test_consumers_that_take_turns_and_are_killed_skip_or_repeat_as_they_chose(
    tap, reader, wait_for, tmp_path, delivery
) -> None:
    handle = tap.register("raw", buffer_bytes=1 << 20)
    lines = [b"%d %s" % (i, b"." * 1000) for i in range(900)]
    for i in range(0, 900, 10):
        offer(tap, lines[i : i + 10])
    options = ["--at-least-once"] if delivery == "at-least-once" else []
    came: list[bytes] = []
    for _ in range(4):
        process = reader(*options, address(tap, handle))  # it blocks once its pipe is full
        wait_for(lambda stream=process.stdout: unread_of_pipe(stream) > 1 << 15)
        process.kill()
        process.wait()
        came += process.stdout.read().split(b"\n")[:-1]  # the last one was cut
        with tapring.attach_session(tap.name, handle.id, delivery=delivery) as session:
            came += session.read(7)  # this leaves off in the middle of a frame
    rest = tmp_path / "rest"
    with rest.open("wb") as file:
        process = reader(*options, address(tap, handle), stdout=file)
        wait_for(lambda: released(tap.name, tap.lane, handle.id) == len(lines))
    handle.close()
    assert account(process)["delivered"] == len(lines)
    came += rest.read_bytes().splitlines()
    if delivery == "at-least-once":
        assert list(dict.fromkeys(came)) == lines
        assert len(came) > len(lines)
    else:
        assert len(set(came)) == len(came) < len(lines)
        assert came == [line for line in lines if line in set(came)]


def test_it_goes_on_in_the_middle_of_a_frame_of_each_kind(tap, reader) -> None:
    for stage, batches in BATCHES.items():
        if stage == "raw":  # a frame with an event of two lines is released whole
            batches = [[b"a", b"", b"b", b"c"]]
        whole, parted = tap.register(stage), tap.register(stage)
        offer(tap, batches[0], stage)
        process = reader(address(tap, whole))
        first = process.stdout.readline()
        whole.close()
        with tapring.attach_session(tap.name, parted.id) as session:
            assert len(session.read(1)) == 1
        process_of_rest = reader(address(tap, parted))
        rest = process.stdout.read()
        assert process_of_rest.stdout.read(len(rest)) == rest
        parted.close()
        assert account(process_of_rest)["delivered"] == account(process)["delivered"]
        assert first + rest


@ENDS
def test_a_full_ring_s_drops_are_in_its_account_and_each_end_is_named(
    spawn, reader, name, tmp_path, end, reason
) -> None:
    ring = read_a_full_ring(spawn, reader, name, tmp_path, size=2048, wanted=2000, end=end)
    counts = account(ring.reader)
    assert ring.printed.read_bytes() == ring.captured.read_bytes()
    assert counts.pop("gaps") >= 2  # where it was full, and the end, which could not be written
    assert counts == {**ring.counts, "ended_by": reason}
    assert ring.counts["dropped"] > 0


def test_a_session_that_the_engine_ends_at_its_limit_has_expired(tap, reader, wait_for) -> None:
    with tapring.capture(tap.name, stage="raw", duration=0.05, keep=True) as session:
        at = session.addresses[0]
    wait_for(tap.snapshot)  # the engine goes by what it has read here, the reader by what follows
    duration = (layout.row(0) + layout.ROW_DURATION_NS) * layout.WORD
    write(f"tapring.{tap.name}.{tap.lane}", duration, (1 << 40).to_bytes(8, sys.byteorder))
    process = reader(at)
    wait_for(lambda: is_attached(process))
    wait_for(lambda: tap.snapshot() is None)
    assert account(process)["ended_by"] == "expired"


def test_an_impossible_head_evicts_it(tap, reader, wait_for) -> None:
    handle = tap.register("raw", buffer_bytes=2048)
    offer(tap, [b"a"])
    process = reader(address(tap, handle))
    wait_for(lambda: unread_of_pipe(process.stdout))
    process.send_signal(signal.SIGSTOP)
    ring = segment_name(tap.name, tap.lane, handle.id)
    write(ring, layout.CONSUMER_PAGE + layout.HEAD * layout.WORD, b"\xff" * 8)
    with pytest.warns(tapring.TapWarning):
        while watched := tap.snapshot():
            watched.offer("raw", [b"a"])
    process.send_signal(signal.SIGCONT)
    counts = account(process)
    assert counts["ended_by"] == "evicted"
    assert counts["delivered"] == process.stdout.read().count(b"a\n") > 0


def test_it_keeps_a_deadline_of_its_own(spawn, reader, name) -> None:
    engine = spawn(IDLE, name, "0.5", stdin=-1, stdout=-1)
    process = reader(engine.stdout.readline().decode().strip())
    counts = account(process)
    assert (counts["delivered"], counts["ended_by"]) == (2, "deadline")
    assert process.stdout.read() == b"one\ntwo\n"
    assert engine.poll() is None


def test_a_session_has_one_consumer(tap, reader, wait_for) -> None:
    handle = tap.register("raw")
    first = reader(address(tap, handle))
    wait_for(lambda: is_attached(first))
    assert "another consumer reads this session" in refusal(reader(address(tap, handle)))
    with pytest.raises(tapring.SessionBusy):
        tapring.attach_session(tap.name, handle.id)
    handle.close()
    assert account(first)["ended_by"] == "closed"


def test_what_cannot_be_written_is_abandoned_or_comes_again(tap, reader) -> None:
    handle = tap.register("raw")
    offer(tap, numbered(0, 10))
    offer(tap, numbered(10, 20))
    with open("/dev/full", "wb") as full:
        for delivery, left in (["--at-least-once"], 0), ([], 10):
            assert "cannot write" in refusal(reader(*delivery, address(tap, handle), stdout=full))
            assert released(tap.name, tap.lane, handle.id) == left
    with tapring.attach_session(tap.name, handle.id) as session:
        assert session.read(20, timeout=0) == numbered(10, 20)
        assert (session.stats.delivered, session.stats.unread) == (10, 10)


@pytest.mark.parametrize("wrong", ["", "e", "e:1", "e.0a1b2c3d", "e.0a1b2c3:1", "E.0a1b2c3d:1"])
def test_a_wrong_address_is_one_line(reader, wrong) -> None:
    assert "usage" in refusal(reader(wrong))


def test_names_that_are_no_segments_are_refused(reader, name) -> None:
    path = SHM / f"tapring.{name}.0a1b2c3d"
    for make in (lambda: path.symlink_to("/dev/zero"), lambda: os.mkfifo(path), path.mkdir):
        make()
        try:
            assert str(path) in refusal(reader(f"{name}.0a1b2c3d:1"))
        finally:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert "No such file" in refusal(reader(f"{name}.0a1b2c3d:1"))


@pytest.fixture
def dead(spawn, name):
    """The address, registry and ring of a session whose engine was killed: a reader drains it."""
    engine = spawn(IDLE, name, "300", stdin=-1, stdout=-1)
    found = engine.stdout.readline().decode().strip()
    lane, _, number = found.partition(":")
    with Segment.attach(f"tapring.{lane}") as registry:
        # The lock of a row that nobody reads keeps others from sweeping the lane.
        assert registry.try_lock(layout.LOCK_ROWS + layout.MAX_ROWS - 1)
        engine.kill()
        engine.wait()
        yield found, f"tapring.{lane}", f"tapring.{lane}.{number}"


def write(segment: str, offset: int, data: bytes) -> None:
    with Segment.attach(segment) as opened:
        os.pwrite(opened.fd, data, offset)


HEADER = (
    "MAGIC",
    "FORMAT",
    "SEGMENT_BYTES",
    "EPOCH",
    "FEATURES",
    "RING_ID",
    "RING_SLOTS",
    "RING_SLOT_BYTES",
)


@pytest.mark.parametrize("word", HEADER)
def test_a_ring_whose_header_is_damaged_is_refused(reader, dead, word) -> None:
    found, _, ring = dead
    at = getattr(layout, word) * layout.WORD
    right = int.from_bytes((SHM / ring).read_bytes()[at : at + 8], sys.byteorder)
    others = {right ^ 1, right * 2 & layout.MAX_WORD, (1 << 40) + 1, layout.MAX_WORD}
    for value in others - {right}:
        write(ring, at, value.to_bytes(8, sys.byteorder))
        assert ring in refusal(reader(found))


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (layout.TAIL * 8, b"\xff" * 8),
        (layout.TAIL * 8, b"\0\0\0\0\0\1\0\0"),
        (layout.CONSUMER_PAGE + layout.HEAD * 8, b"\xff" * 8),
        (layout.CONSUMER_PAGE + layout.RELEASED * 8, b"\3\0\0\0\0\0\0\0"),
        (layout.CONSUMER_PAGE + layout.MISSED * 8, b"\0\0\0\1\1\0\0\0"),
        (layout.SLOTS, b"\xff" * 8),  # pos
        (layout.SLOTS + 24, b"\xff" * 8),  # captured
        (layout.SLOTS + 40, b"\xff" * 4),  # length
        (layout.SLOTS + 44, b"\xff" * 4),  # count
        (layout.SLOTS + 44, bytes(4)),
        (layout.SLOTS + 48, b"\xff" * 2),  # stage
        (layout.SLOTS + 50, b"\xff" * 2),  # kind
        (layout.SLOTS + 56, b"." * 8),  # the payload, without a newline
    ],
)
def test_an_impossible_position_or_frame_is_refused(reader, dead, offset, value) -> None:
    found, _, ring = dead
    write(ring, offset, value)
    process = reader(found)
    assert "is damaged" in refusal(process)
    assert process.stdout.read() == b""


def test_no_damage_makes_it_crash(reader, dead, every) -> None:
    found, *files = dead
    chance = random.Random(4)
    whole = [(SHM / file).read_bytes() for file in files]
    endings = set()
    for _ in range(400 // every):
        for file, data in zip(files, whole, strict=True):
            write(file, 0, data)
        which = chance.randrange(2)
        # Mostly where something is: the words, the rows, the info block, the first frame.
        places = [i for i, byte in enumerate(whole[which]) if byte]
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            at = chance.choice(places) + chance.choice((0, 0, 0, 1, 8))
            value = bytes([chance.choice((0, 1, 255, chance.randrange(256)))])
            write(files[which], min(at, len(whole[which]) - 1), value)
        process = reader(found)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, 1), said
        assert len(said.splitlines()) == 1, said
        endings.add(process.returncode)
    assert endings == {0, 1}


def test_a_ring_that_is_made_shorter_meanwhile_is_an_error(spawn, reader, name, wait_for) -> None:
    engine = spawn(IDLE, name, "300", stdin=-1, stdout=-1)
    found = engine.stdout.readline().decode().strip()
    process = reader(found)
    wait_for(lambda: is_attached(process))
    engine.send_signal(signal.SIGSTOP)  # it would be killed by the same
    os.truncate(SHM / f"tapring.{found.replace(':', '.')}", 0)
    assert "was made shorter" in refusal(process)
