"""examples/reader.py, run without site-packages, beside engines and tapring's own consumers."""

import ast
import os
import re
import signal
import sys

import pytest

import tapring
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.docs.readers import (
    ENDS,
    EXAMPLES,
    is_attached,
    numbered,
    offer,
    read_a_full_ring,
    released,
    unread_of_pipe,
)

READER = EXAMPLES / "reader.py"
ACCOUNT = "offered", "delivered", "unread", "dropped", "oversize", "errors"
# -I -S: nothing that is installed can be imported, so tapring cannot either.
RUN = "import os, sys; os.execv(sys.executable, [sys.executable, '-I', '-S', *sys.argv[1:]])"


@pytest.fixture
def reader(spawn):
    """Start examples/reader.py for an address; its output is piped unless ``stdout`` is given."""

    def start(address: str, **options):
        return spawn(RUN, str(READER), address, **{"stdout": -1, "stderr": -1, **options})

    return start


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True, slot_bytes=64) as made:
        yield made


def account(process) -> tuple[dict[str, int], str]:
    """The counts and the reason of a reader's one line of account."""
    (line,) = process.stderr.read().decode().splitlines()
    pattern = "reader: " + ", ".join(rf"{word} (\d+)" for word in ACCOUNT) + "; ended by (.+)"
    *counts, reason = re.fullmatch(pattern, line).groups()
    return dict(zip(ACCOUNT, map(int, counts), strict=True)), reason


def test_it_is_100_lines_of_standard_library() -> None:
    source = READER.read_text()
    assert len(source.splitlines()) <= 100
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module)])
    }
    assert imported <= sys.stdlib_module_names


@ENDS
def test_it_prints_what_a_full_ring_took_over_many_rounds(
    spawn, reader, name, tmp_path, end, reason
) -> None:
    size, wanted = 2048, 5000
    ring = read_a_full_ring(spawn, reader, name, tmp_path, size=size, wanted=wanted, end=end)
    counts, why = account(ring.reader)
    assert (ring.reader.wait(30), why) == (0, reason)
    assert ring.printed.read_bytes() == ring.captured.read_bytes()
    assert ring.captured.stat().st_size > 10 * size
    assert counts == ring.counts
    assert counts["dropped"] > 0
    assert counts["delivered"] >= wanted


def test_it_is_a_consumer_to_the_others(tap, reader, name) -> None:
    handle = tap.register("raw")
    offer(tap, [b"a"])
    process = reader(f"{name}:{handle.id}")
    assert process.stdout.readline() == b"a\n"
    with pytest.raises(tapring.SessionBusy, match="read by another consumer"):
        tapring.attach_session(name, handle.id)
    assert tapring.engines(name)[0].sessions[0].read
    second = reader(f"{name}:{handle.id}")
    assert second.wait(30) == 1
    assert second.stderr.read().endswith(b" is read by another consumer\n")
    handle.close()
    assert account(process)[1] == "closed"
    process.wait(30)


def test_it_understands_tapring_s_lock(tap, reader, name) -> None:
    handle = tap.register("raw")
    with tapring.attach_session(name, handle.id):
        process = reader(f"{name}:{handle.id}")
        assert process.wait(30) == 1
        assert b"read by another consumer" in process.stderr.read()


def test_after_it_was_killed_tapring_goes_on_at_the_very_event(tap, reader, name, wait_for) -> None:
    handle = tap.register("raw")
    offer(tap, numbered(0, 10))
    process = reader(f"{name}:{handle.id}")
    wait_for(lambda: released(name, tap.lane, handle.id) == 10)
    process.kill()
    assert process.stdout.read().splitlines() == numbered(0, 10)
    process.wait()
    offer(tap, numbered(10, 20))
    with tapring.attach_session(name, handle.id) as session:
        assert session.read(100) == numbered(10, 20)
        assert (session.stats.delivered, session.stats.gaps) == (20, 0)


def test_killed_while_it_writes_it_has_released_no_more_than_it_wrote(
    tap, reader, name, wait_for
) -> None:
    handle = tap.register("raw", buffer_bytes=1 << 20)
    lines = [b"%d %s" % (i, b"." * 1000) for i in range(300)]
    for i in range(0, 300, 10):
        offer(tap, lines[i : i + 10])
    process = reader(f"{name}:{handle.id}")  # it blocks once its pipe of 64 KiB is full
    wait_for(lambda: unread_of_pipe(process.stdout) > 1 << 15)
    process.kill()
    process.wait()
    done = released(name, tap.lane, handle.id)
    assert 0 < done < 300
    printed = process.stdout.read().splitlines()
    assert printed[:done] == lines[:done]
    with tapring.attach_session(name, handle.id) as session:
        assert session.read(300) == lines[done:]


def test_it_goes_on_in_the_middle_of_a_frame(tap, spawn, reader, name, wait_for) -> None:
    source = (
        f"import tapring, time\n"
        f"s = tapring.capture({name!r}, stage='decoded', keep=True, delivery='at-least-once')\n"
        f"print(s.addresses[0], flush=True)\n"
        f"print(s.read(4), flush=True)\n"
        f"s.read(3)\n"  # this releases the four before it
        f"print('in hand', flush=True)\n"
        f"time.sleep(600)"
    )
    consumer = spawn(source, stdout=-1)
    address = consumer.stdout.readline().decode().strip()
    wait_for(tap.snapshot)
    offer(tap, list(range(10)), "decoded")
    assert consumer.stdout.readline() == b"[0, 1, 2, 3]\n"
    assert consumer.stdout.readline() == b"in hand\n"
    consumer.kill()
    consumer.wait()
    offer(tap, [{"next": True}], "decoded")
    process = reader(address)
    expected = [b"4", b"5", b"6", b"7", b"8", b"9", b'{"next":true}']
    assert [process.stdout.readline().rstrip() for _ in expected] == expected
    tap.close()
    counts, reason = account(process)
    assert (process.wait(30), reason) == (0, "engine-exit")
    assert (counts["offered"], counts["delivered"], counts["unread"]) == (11, 11, 0)


def test_an_interrupt_ends_it_normally_with_its_account(tap, reader, name, wait_for) -> None:
    handle = tap.register("raw")
    offer(tap, [b"a"])
    process = reader(f"{name}:{handle.id}")
    wait_for(lambda: released(name, tap.lane, handle.id) == 1)
    process.send_signal(signal.SIGINT)
    counts, reason = account(process)
    assert (process.wait(30), reason, counts["delivered"]) == (0, "interrupt", 1)
    with tapring.attach_session(name, handle.id) as session:
        assert session.read(1, timeout=0) == []


def test_it_ends_where_a_session_was_closed_before_the_engine_saw_it(
    tap, reader, name, wait_for
) -> None:
    with tapring.capture(name, stage="raw", keep=True) as session:
        address = session.addresses[0]
    process = reader(address)
    wait_for(lambda: is_attached(process))
    tapring.close_session(address)
    assert account(process) == (dict.fromkeys(ACCOUNT, 0), "closed")
    assert process.wait(30) == 0


def test_a_ring_that_the_engine_refuses_is_an_error(tap, reader, name, wait_for) -> None:
    with tapring.capture(name, stage="raw", keep=True) as session:
        address = session.addresses[0]
    process = reader(address)
    wait_for(lambda: is_attached(process))
    with Segment.attach(f"tapring.{address.replace(':', '.')}") as ring:
        os.pwrite(ring.fd, bytes(8), layout.EPOCH * layout.WORD)
    with pytest.warns(tapring.TapWarning, match="is refused"):
        assert tap.snapshot() is None
    assert process.wait(30) == 1
    assert process.stderr.read() == b"reader: the engine refuses this ring\n"


def test_a_session_that_it_cannot_read_is_one_line_and_exit_code_1(tap, reader, name) -> None:
    blobs = tapring.Tap(name, stages={"blobs": "bytes"}, strict=True)
    with blobs:
        handle = blobs.register("blobs")
        blobs.snapshot().offer("blobs", [b"a"])
        for address, message in (
            (f"{name}:7", f"there is no session {name}:7"),
            (f"{name}.00000000:1", "there is no session"),
            ("no-such-engine", "there is no session"),
            (f"{name}.{blobs.lane}:{handle.id}", "damaged or no text"),
        ):
            process = reader(address)
            assert process.wait(30) == 1
            (line,) = process.stderr.read().decode().splitlines()
            assert line.startswith("reader: ")
            assert message in line


@pytest.mark.parametrize(
    ("segment", "word", "value", "message"),
    [
        ("registry", layout.MAGIC, 7, "is no segment of tapring"),
        ("registry", layout.FORMAT, 99, f"is not of version {layout.MAJOR}"),
        ("ring", layout.MAGIC, 7, "is no segment of tapring"),
        ("ring", layout.EPOCH, 7, "is another's"),
        ("ring", layout.TAIL, 1 << 40, "damaged or no text"),
        ("ring", layout.SLOTS // 8, 7, "damaged or no text"),
    ],
)
def test_an_impossible_word_is_refused(tap, reader, name, segment, word, value, message) -> None:
    handle = tap.register("raw")
    offer(tap, [b"a"])
    session = handle.id if segment == "ring" else None
    with Segment.attach(segment_name(name, tap.lane, session)) as opened:
        os.pwrite(opened.fd, value.to_bytes(8, sys.byteorder), word * 8)
    process = reader(f"{name}:{handle.id}")
    assert process.wait(30) == 1
    (line,) = process.stderr.read().decode().splitlines()
    assert message in line
