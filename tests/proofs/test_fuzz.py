"""A seeded sample of the fuzzing in ``fuzz/``, and tests of what fuzzing once found.

The long run: ``python -m tests.proofs.fuzz TARGET --runs 1000000``.
"""

import importlib
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapring
from tapring.errors import RingCorrupt
from tapring.events.kinds import Json, Lines
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer
from tests.conftest import ROOT
from tests.proofs.fuzz import TARGETS
from tests.proofs.fuzz.driving import LONGEST_INPUT, Tally, run_random

SEED = 20_240_611
# Eight times as many with --long.
SAMPLE = {"reader": 1_000, "writer": 1_000, "registry": 400, "attach": 600}
SAMPLE |= {"recording": 400, "batches": 300, "hooks": 300}
GUIDED = {"reader": 3_200, "writer": 3_200, "registry": 1_200, "attach": 2_000}
GUIDED |= {"recording": 1_200, "batches": 800, "hooks": 800}
ONE_INPUT = {
    target: importlib.import_module(f"tests.proofs.fuzz.{target}").one_input for target in TARGETS
}
LINES = Lines()


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=300)
@given(data=st.binary(min_size=8, max_size=LONGEST_INPUT))
def test_no_bytes_at_all_break_either_side(target, data) -> None:
    ONE_INPUT[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_a_seeded_sample_of_mutations_breaks_nothing_and_leaves_nothing_open(target, every) -> None:
    runs = 8 * SAMPLE[target] // every
    tally = Tally(target, ONE_INPUT[target], runs)
    run_random(tally, SEED)
    assert tally.done == runs
    assert len(tally.outcomes) > 3, "the mutations do not reach deep"


@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris is not installed")
@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_mutations_guided_by_coverage_break_nothing(target) -> None:
    runs = GUIDED[target]
    command = [sys.executable, "-m", "tests.proofs.fuzz", target, "--seed", str(SEED)]
    command += ["--runs", str(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert f"{runs} runs in" in done.stdout


# A process that scribbles while others work

SCRIBBLER = """
import mmap, os, random, sys
lane, spared, first, last, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
rng = random.Random(seed)
odd = 0, 1, 2, (1 << 31) - 1, 1 << 32, 1 << 55, 1 << 63, (1 << 64) - 1
print("ready", flush=True)
while True:
    for name in os.listdir("/dev/shm"):
        if not name.startswith(lane) or name == spared or (name == lane) != (spared == ""):
            continue
        try:
            fd = os.open("/dev/shm/" + name, os.O_RDWR)
        except FileNotFoundError:
            continue
        size = os.fstat(fd).st_size
        if not size:  # it is being made
            os.close(fd)
            continue
        with mmap.mmap(fd, size) as data, memoryview(data) as view, view.cast("Q") as words:
            os.close(fd)
            for _ in range(200):
                word = rng.randrange(first, last)
                near = (words[word] + rng.randrange(-3, 4)) % (1 << 64)
                words[word] = rng.choice((near, near, rng.choice(odd), rng.getrandbits(64)))
"""
WORD = layout.WORD
CONSUMERS_WORDS = layout.CONSUMER_PAGE // WORD, layout.CONSUMER_PAGE // WORD + 24
PRODUCERS_WORDS = layout.TAIL, layout.TAIL + 1
FRAMES_WORDS = layout.SLOTS // WORD, layout.SLOTS // WORD + 64
TABLES_WORDS = layout.GENERATION, layout.row(3)


@pytest.fixture
def scribble(spawn):
    """Overwrite words of every ring but one, or of the registry, until the test ends."""
    started = []

    def start(lane: str, spared: str, words: tuple[int, int]) -> None:
        arguments = [lane, spared, *map(str, words), str(SEED)]
        started.append(spawn(SCRIBBLER, *arguments, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "ready\n"

    yield start
    assert [process.poll() for process in started] == [None], "the scribbler has died"


@pytest.fixture
def engine(name):
    with tapring.Tap(name, max_sessions=3, buffer_bytes=8192, slot_bytes=64) as tap:
        yield tap


def offer(tap, i: int) -> None:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", [b"batch %d" % i, b"x" * (i % 300)])
    if not i % 2:
        time.sleep(1e-4)  # the scribbler's turn, where it has no core of its own


def test_positions_scribbled_over_end_that_session_alone(engine, scribble) -> None:
    good = engine.register("raw")
    lane = segment_name(engine.name, engine.lane)
    with tapring.attach_session(engine.name, good.id) as session:
        scribble(lane, f"{lane}.{good.id}", CONSUMERS_WORDS)
        delivered = offers = 0
        while offers < 3_000 or engine.faults < 20:
            engine.register("raw", duration=0.05)
            offer(engine, offers)
            offers += 1
            delivered += len(session.read(100, timeout=0))
        good.close()
        delivered += len(list(session))
        assert delivered + good.dropped == good.offered == 2 * offers


def test_a_table_scribbled_over_costs_sessions_and_never_the_engine(engine, scribble) -> None:
    lane = segment_name(engine.name, engine.lane)
    scribble(lane, "", TABLES_WORDS)
    sessions = set()
    longest = 0.0
    for i in range(5_000):
        started = time.monotonic()
        offer(engine, i)
        longest = max(longest, time.monotonic() - started)
        sessions.add(engine.active_sessions)
        engine.register("raw", duration=0.05)
    assert longest < 5  # it takes microseconds, but the machine may be busy
    assert len(sessions) > 1, "no session ever came or went"


@pytest.mark.parametrize("words", [PRODUCERS_WORDS, FRAMES_WORDS], ids=["positions", "frames"])
def test_a_ring_scribbled_over_is_corrupt_to_its_reader_and_no_worse(
    engine, scribble, words
) -> None:
    lane = segment_name(engine.name, engine.lane)
    scribble(lane, "nothing", words)
    corrupt = delivered = 0
    while corrupt < 20 or not delivered:
        handle = engine.register("raw")
        try:
            with tapring.attach_session(engine.name, handle.id) as session:
                for i in range(50):
                    offer(engine, i)
                    delivered += len(session.read(100, timeout=0))
        except RingCorrupt:
            corrupt += 1
        handle.close()


# What a consumer can write


CONSUMER = """
import sys, tapring
with tapring.capture(sys.argv[1], stage="raw") as session:
    print(session.addresses[0].partition(":")[2], flush=True)
    print(open("/proc/self/maps").read(), flush=True)
"""


def test_a_consumer_maps_the_ring_read_only_but_for_its_own_page(name, spawn) -> None:
    with tapring.Tap(name) as tap:
        consumer = spawn(CONSUMER, name, stdout=subprocess.PIPE, text=True)
        number, _, maps = consumer.communicate(timeout=30)[0].partition("\n")
        ring = segment_name(name, tap.lane, int(number))
        size = layout.ring_bytes(tap.buffer_bytes // 256, 256)
        assert sorted(mappings(maps, ring)) == [
            ("r--s", 0, size),
            ("rw-s", layout.CONSUMER_PAGE, layout.PAGE),
        ]
        registry = segment_name(name, tap.lane)
        for rights, offset, _ in mappings(maps, registry):
            assert (rights, offset) in {("r--s", 0), ("rw-s", layout.PAGE)}


def mappings(maps: str, segment: str) -> list[tuple[str, int, int]]:
    """Rights, offset and length of each mapping of a segment, from the kernel."""
    pattern = rf"^(\w+)-(\w+) (\S+) (\w+) \S+ \d+ +/dev/shm/{re.escape(segment)}$"
    return [
        (rights, int(offset, 16), int(end, 16) - int(start, 16))
        for start, end, rights, offset in re.findall(pattern, maps, re.MULTILINE)
    ]


def test_a_write_through_the_readers_view_of_the_ring_is_refused(name) -> None:
    with tapring.Tap(name), tapring.capture(name, stage="raw") as session:
        reader = session._merge.rings.attachments[0].reader
        with pytest.raises(TypeError, match="readonly|read-only"):
            reader._data[layout.SLOTS : layout.SLOTS + 1] = b"x"
        with pytest.raises(TypeError, match="read-only"):
            reader._words[layout.TAIL] = 7
        assert len(reader.page) * layout.WORD == layout.PAGE


# What fuzzing once found


@pytest.fixture
def ring():
    """The memory of a ring of lines, and a Writer and a Reader of it."""
    memory = bytearray(layout.ring_bytes(16, 64))
    buffers, shape = Buffers.of(memory), Shape(16, 64, 0, LINES.code, LINES)
    writer = Writer(buffers, shape)
    return writer, lambda: Reader(buffers, shape), buffers.words, buffers.page


def test_fewer_lines_than_the_header_says_do_not_stop_who_cuts_the_frame() -> None:
    assert LINES.split(b"one\ntwo", 9, 5) == (b"one\ntwo", b"")


def test_fewer_lines_than_were_released_do_not_stop_the_next_reader(ring) -> None:
    writer, new_reader, _, _ = ring
    writer.publish(b"one line of three\n", 3, 1, 0)
    reader = new_reader()
    assert reader.take(keep=True)
    reader.release(1)
    assert new_reader().take().payload == b""


@pytest.mark.parametrize("line", [b"[" * 5000, b'{"a":' * 5000])
def test_json_nested_too_deep_is_handed_out_as_it_is(line) -> None:
    assert Json().unpack(b"7\n" + line + b"\n", 2) == ([7, line], 0)


def test_more_lost_events_than_a_word_holds_are_refused(ring) -> None:
    _, new_reader, words, _ = ring
    words[layout.DROPPED] = words[layout.ERRORS] = (1 << 64) - 1
    with pytest.raises(RingCorrupt):
        new_reader().note_final_gap()


@pytest.mark.parametrize("word", [layout.GAPS, layout.RELEASED, layout.ABANDONED])
def test_a_consumers_page_that_cannot_be_right_is_refused(ring, word) -> None:
    writer, new_reader, _, page = ring
    writer.drop(1)
    writer.publish(b"line\n", 1, 1, 0)
    page[word] = (1 << 64) - 1
    with pytest.raises(RingCorrupt):
        reader = new_reader()
        reader.take()
        reader.note_abandoned(1)


def test_a_ring_of_impossible_shape_is_refused_as_such(name) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        owner = layout.Owner.NOBODY
        row = registry.register(stage=0, slots=1, slot_bytes=256, duration_ns=0, owner=owner)
        registry.table.unlock_reader(row)
        with pytest.raises(RingCorrupt, match="do not make a ring"):
            tapring.attach_session(name, row.id)


def test_a_registry_of_no_whole_number_of_words_is_refused(name) -> None:
    with tapring.Tap(name) as tap:
        lane = "0" * 8
        path = Path("/dev/shm") / segment_name(name, lane)
        whole = (path.parent / segment_name(name, tap.lane)).read_bytes()
        content = bytearray(whole.replace(tap.lane.encode(), lane.encode()).rstrip(b"\0") + b"\0")
        content += bytes(1 + -len(content) % layout.WORD)
        at = layout.SEGMENT_BYTES * layout.WORD
        content[at : at + layout.WORD] = len(content).to_bytes(layout.WORD, sys.byteorder)
        path.write_bytes(content)
        try:
            with pytest.raises(RingCorrupt, match="damaged"):
                Registry.attach(name, lane)
        finally:
            path.unlink()


def test_an_id_given_twice_does_not_end_a_session_in_silence(name) -> None:
    with tapring.Tap(name) as tap:
        first = tap.register("raw")
        with Registry.attach(name, tap.lane) as registry:
            registry.table._set(layout.NEXT_ID, first.id)
            tap.register("raw")
            registry.table._set(layout.NEXT_ID, first.id)
            tap.register("raw")
        offered = first.offered
        watched = tap.snapshot()
        if watched:
            watched.offer("raw", [b"line"])
        assert not first.open or first.offered == offered + 1
