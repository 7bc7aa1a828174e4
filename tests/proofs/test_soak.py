"""A short soak, and the accountant itself: an account that does not close is found."""

import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import msgspec
import pytest

import tapring
from tapring.shm.info import StageInfo
from tapring.shm.segment import Segment, names, unlink
from tapring.shm.sweep import sweep
from tests.conftest import ROOT
from tests.proofs.soak import events, recycling_plan, witness
from tests.proofs.soak.accountant import Difference, check
from tests.proofs.soak.besieged import SiegeOrders
from tests.proofs.soak.evidence import Consumer, Lane, Part, Position
from tests.proofs.soak.inspection import ordeals_met
from tests.proofs.soak.plan import draw
from tests.proofs.soak.players import Engine
from tests.proofs.soak.recycling import Departure
from tests.proofs.soak.refusals import ERRORS, POSSIBLE, Refusals, refuse
from tests.proofs.soak.remains import Recorded, Remains
from tests.proofs.soak.turnover import Recycled, Turnover, Witnessed
from tests.proofs.soak.witness import HeldRing
from tests.recorders import RecordedLane


def test_a_short_soak_closes_every_ledger() -> None:
    arguments = ["--seed", "3", "--minutes", "0.07", "--recyclings", "30", "--engine-kills", "1"]
    command = [sys.executable, "-m", "tests.proofs.soak", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("soak: seed 3\n")
    assert "all ledgers closed" in done.stdout
    for what in (
        r"(\d+) were killed",
        r"(\d+) engines killed",
        r"= ([\d,]+) delivered",
        r"(\d+) workers recycled",
        r"([\d,]+) events noted, 0 unaccounted",
        r"recordings of ([\d,]+) dead lanes",
        r"([\d,]+) dumps of engines at work",
    ):
        assert int(re.search(what, done.stdout)[1].replace(",", "")) > 0, done.stdout
    assert re.search(r"in the middle of offers: [1-9]", done.stdout), done.stdout


def test_a_seed_makes_the_same_plan_again() -> None:
    assert draw("7", 3) == draw("7", 3)
    assert draw("7", 3) != draw("7", 4)
    assert recycling_plan.draw("7", 1) == recycling_plan.draw("7", 1)
    assert recycling_plan.draw("7", 1) != recycling_plan.draw("7", 4)


# What is planted into tapring here, in all processes of a round of recycled workers, is found.

PLANT = """
import sys
{fault}
from tests.proofs.soak.__main__ import main
sys.exit(main())
"""
OVERLOOKS = """
import os
from tapring.shm import granting
find = granting.requests_for
granting.requests_for = lambda engine: [] if os.getpid() % 4 == 0 else find(engine)
"""
LOSES_A_FRAME = """
from tapring.wire.reader import Reader
take, taken = Reader.take, []
def lose(self, **how):
    taken.append(None)
    if len(taken) == 9:
        take(self, **how)
    return take(self, **how)
Reader.take = lose
"""
SENDS_TWICE = """
from tests.proofs.soak.recycling import Worker
note = Worker._note_offer
def repeat(self, watched, stage, index):
    note(self, watched, stage, index)
    if self._next[0][index] > 20:
        self._next[0][index] -= 1
Worker._note_offer = repeat
"""
NOTES_TOO_MUCH = """
from tests.proofs.soak import witness
from tests.proofs.soak.recycling import Worker
end = Worker.end
def forget(self):
    for base in (witness.BEGUN, witness.DONE):
        for stage in range(4 if self._next[0][0] else 0):
            self._words[witness.progress(base, 0, stage)] += 1
    end(self)
Worker.end = forget
"""
SKIPS_A_FRAME = """
from tapring.wire.overwrite import PastReader
take, taken = PastReader.take, []
def lose(self):
    taken.append(None)
    if len(taken) % 50 == 0:
        take(self)
    return take(self)
PastReader.take = lose
"""
LEAVES_REQUESTS = """
from tapring.shm import sweep
sweep._sweep_request = lambda *_: []
"""


@pytest.mark.parametrize(
    ("fault", "round_", "found"),
    [
        (OVERLOOKS, 7, "opened no session for c|offered .* events before c"),
        (LOSES_A_FRAME, 7, r"c\d was given \d+ events after 0, not"),
        (SENDS_TWICE, 7, r"c\d has \d+ events, not \d+ to \d+"),
        (NOTES_TOO_MUCH, 7, r"c\d has \d+ events, not \d+ to \d+"),
        (SKIPS_A_FRAME, 7, r"raw: event \d+ after \d+ missed; \d+ was the last|add up|ends before"),
        (LEAVES_REQUESTS, 4, "left in /dev/shm after a sweep: .*~"),
    ],
    ids=["overlooked", "lost", "twice", "noted", "skipped", "left"],
)
def test_a_fault_of_recycled_workers_is_found(fault, round_, found, tmp_path) -> None:
    arguments = ["--seed", "3", "--round", str(round_), "--host-shm"]
    done = subprocess.run(
        [sys.executable, "-c", PLANT.format(fault=fault), *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    sweep(f"t-{os.getpid()}-*")  # the requests that were planted
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(found, done.stdout), done.stdout


# The accountant gets real evidence here, except for what each test removes or adds.


@pytest.fixture
def evidence(name, tmp_path):
    """A session of four batches of three: the third found no room, the last was not read."""
    with tapring.Tap(name, strict=True) as tap:
        handle = tap.register("raw", buffer_bytes=2 * 256)
        kept = tmp_path / "ring"
        ring = Path(f"/dev/shm/tapring.{name}.{tap.lane}.{handle.id}")
        lane, stream = int(tap.lane, 16), []

        def offer(first: int) -> None:
            tap.snapshot().offer("raw", events.make("raw", lane, 0, first, [9] * 3, False))

        with tapring.attach_session(name, handle.id) as session:
            for first in (0, 3, 6):
                offer(first)
            for frame in session.frames(limit=6):
                stream.append((frame.missed, events.runs("lines", frame.events())))
        offer(9)
        kept.write_bytes(ring.read_bytes())
        counts = {"offered": 12, "captured": 9, "dropped": 3, "oversize": 0, "errors": 0}
        counts |= {"sampled_out": 0, "shed": 0}
        lane = Lane(
            pid=1,
            lane=tap.lane,
            threads=1,
            batch=3,
            descriptors=0,
            memory=0,
            ups={handle.id: {"stage": 0, "at": 0, "whole": True}},
            downs={handle.id: {"at": 12, **counts}},
            handles=[],
            end={},
            vanished=False,
            workers={},
            words=[],
        )
        part = Part("consumer", 0, Position(0, 0, 0), stream, True, True, 3)
        return handle.id, kept.read_bytes(), lane, [part]


def account(evidence):
    return check("session", *evidence)


def test_an_account_that_closes_is_summed_up(evidence) -> None:
    totals = account(evidence)
    assert msgspec.structs.astuple(totals) == (1, 12, 6, 3, 3, 0)


def test_an_event_that_was_counted_and_not_handed_out_is_found(evidence) -> None:
    evidence[3][0].stream[-1][1][-1][3] -= 1
    with pytest.raises(Difference, match="delivered to consumer: 6, not 5"):
        account(evidence)


def test_an_event_that_was_handed_out_twice_is_found(evidence) -> None:
    (part,) = evidence[3]
    part.stream[-1][1][-1][2:] = [2, 4]
    with pytest.raises(Difference, match="got event 2 of thread 0 again"):
        account(evidence)


def test_a_gap_that_nobody_was_told_of_is_found(evidence) -> None:
    (part,) = evidence[3]
    part.stream[-1][1][-1][2:] = [4, 6]
    with pytest.raises(Difference, match="got event 4 after 0 missed; 3 was next"):
        account(evidence)


def test_an_event_that_the_ring_never_heard_of_is_found(evidence) -> None:
    (down,) = evidence[2].downs.values()
    down["at"] += 1
    with pytest.raises(Difference, match="events offered or left out: 13, not 12"):
        account(evidence)


def test_events_that_were_left_out_and_not_counted_are_found(evidence) -> None:
    session, ring, lane, parts = evidence
    lane.ups[session]["whole"] = False
    lane.downs[session]["at"] += 1
    with pytest.raises(Difference, match="events offered or left out: 13, not 12"):
        check("it", session, ring, lane, parts)


@pytest.mark.parametrize(
    ("lost", "is_found"), [(0, False), (3, False), (4, True)], ids=["none", "in hand", "more"]
)
def test_a_killed_consumer_may_have_had_one_frame_in_hand_and_no_more(
    evidence, lost, is_found
) -> None:
    (part,) = evidence[3]
    part.clean = False
    lane = int(evidence[2].lane, 16)
    part.stream = [(0, [[lane, 0, 0, 5 - lost]])]
    if is_found:
        with pytest.raises(Difference, match="released and not logged by consumer: 4, not 0 to 3"):
            account(evidence)
    else:
        account(evidence)


def test_a_batch_that_was_counted_in_part_is_found(evidence) -> None:
    evidence[2].unit = 7
    with pytest.raises(Difference, match="batches that were counted in part: 5, not 0"):
        account(evidence)


def test_a_batch_whose_offer_returned_and_that_was_not_counted_is_found(evidence) -> None:
    (down,) = evidence[2].downs.values()
    down |= {"least": 13, "most": 20}
    with pytest.raises(Difference, match="events offered or left out: 12, not 13 to 20"):
        account(evidence)


# Workers that are recycled


def turnover(**planted) -> Recycled:
    """Two workers offered ten events each; a kill cut short a batch of two of the second one."""
    lanes, joined = [], []
    for number, (done, begun) in enumerate(((10, 10), (10, 12))):
        words = [0] * 512
        words[witness.progress(witness.DONE, 0, 0)] = done
        words[witness.progress(witness.BEGUN, 0, 0)] = begun
        facts = {"threads": 1, "batch": 2, "descriptors": 0, "memory": 0, "handles": []}
        facts |= {"downs": {}, "end": None, "vanished": False, "workers": {}, "words": words}
        up = {1: {"at": 0}} | planted.get("ups", {})
        facts |= {"pid": number, "lane": f"{number:08x}", "ups": up, "began_ns": 5, "ready_ns": 6}
        lanes.append(Lane(**facts))
        joined.append({"lane": f"{number:08x}", "session": 1, "from_start": True})
    stats = {"offered": 21, "sampled_out": 0, "shed": 0, "unread": 0, "lanes_joined": joined}
    ended = [{"lane": each["lane"], "reason": "engine-death"} for each in joined]
    stats |= {"lanes_ended": ended} | planted.get("stats", {})
    reading = SimpleNamespace(orders=SimpleNamespace(stage="raw", follow=True))
    end = {"stats": stats}
    consumer = Consumer("c0", reading, False, [], {7: 4}, None, [], None, end, None)
    kept = {number: HeldRing(f"{number:08x}", 1, 7, Path()) for number in range(2)}
    kept |= planted.get("rings", {})
    left = [Departure(0, "exit", planted.get("status", 0)), Departure(1, "kill", -9)]
    return Turnover("it", left, lanes, [Witnessed(consumer, 9)], kept.values()).check()


def test_recycled_workers_and_their_events_are_summed_up() -> None:
    found = turnover()
    assert (found.workers, found.ends) == (2, {"exit": 1, "kill": 1})
    assert (found.followed, found.noted, found.uncertain) == (2, 20, 2)


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        ({"status": 70}, "worker 0 ended with 70, not by exit"),
        ({"status": -9}, "worker 0 ended with -9, not by exit"),
        ({"rings": {1: HeldRing("00000001", 1, 8, Path())}}, "00000001 opened no session for c0"),
        ({"ups": {1: {"at": 2}}}, "offered 2 events before c0 came"),
        ({"stats": {"offered": 19}}, "c0 has 19 events, not 20 to 22"),
        ({"stats": {"offered": 23}}, "c0 has 23 events, not 20 to 22"),
        ({"stats": {"unread": 1}}, "c0 left events of lanes that it read to their end"),
        ({"stats": {"lanes_joined": []}}, "c0 did not read .* from the start"),
    ],
)
def test_an_event_or_a_worker_that_is_unaccounted_for_is_found(planted, what) -> None:
    with pytest.raises(Difference, match=what):
        turnover(**planted)


# What lanes have recorded


@pytest.fixture
def remains(name, recordings):
    """A dead lane that recorded four batches of three, and what it noted; changed as planted."""

    def check(
        *, words=(12, 12), seqs=(0, 3, 6, 9), fails=0, ends="die", end=None, orders=(None, 4)
    ) -> Recorded:
        with RecordedLane(name, StageInfo("raw", "lines")) as recorded:
            for seq in seqs:
                batch = events.make("raw", int(recorded.lane, 16), 0, seq, [9] * 3, False)
                recorded.offer(batch, stage="raw")
            if fails:
                recorded.writer("raw").fail(fails)
            getattr(recorded, ends)()
        noted = [0] * 512
        for base, count in zip((witness.DONE, witness.BEGUN), words, strict=True):
            noted[witness.progress(base, 0, 0)] = count
        facts = {"threads": 1, "batch": 3, "descriptors": 0, "memory": 0, "handles": []}
        facts |= {"ups": {}, "downs": {}, "vanished": False, "workers": {}, "words": noted}
        lane = Lane(**facts, pid=os.getpid(), lane=recorded.lane, end=end)
        asked = SimpleNamespace(recorder={"raw": 1}, budget=orders[0], recorder_keep=orders[1])
        found = Remains(name, asked, poor=False)
        found.check([lane])
        return found.found

    return check


def test_what_a_killed_lane_recorded_is_summed_up(remains) -> None:
    found = remains()
    assert (found.lanes, found.killed, found.there, found.overwritten) == (1, 1, 12, 0)
    assert remains(words=(9, 12)).there == remains(words=(12, 15)).there == 12
    assert remains(ends="close", end={}).killed == 0
    assert remains(fails=3, words=(15, 15)).there == 12
    assert remains(words=(15, 15), orders=(0.1, 4)).there == 12, "skipped, and not counted yet"


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        ({"words": (15, 15)}, "was offered 12 events, not 15 to 15"),
        ({"words": (9, 9)}, "was offered 12 events, not 9 to 9"),
        ({"seqs": (0, 3, 3, 9)}, "event 3 of thread 0 comes after 5"),
        ({"seqs": (0, 3, 9, 6)}, "event 9 after 0 missed; 5 was the last"),
        ({"seqs": (0, 6, 9, 12), "words": (15, 15)}, "event 6 after 0 missed; 2 was the last"),
        ({"seqs": (3, 6, 9, 12)}, "ends before event 15 with 0 missing behind it"),
        ({"end": {}}, "was closed, and does not say so"),
    ],
)
def test_an_event_that_is_not_recorded_as_it_was_offered_is_found(remains, planted, what) -> None:
    with pytest.raises(Difference, match=what):
        remains(**planted)


def test_a_recording_that_is_gone_is_found(name) -> None:
    lane = SimpleNamespace(lane="0" * 8, blind=False)
    asked = SimpleNamespace(recorder={"raw": 1}, budget=None, recorder_keep=4)
    with pytest.raises(Difference, match="of 1 dead lanes, 0 have recordings"):
        Remains(name, asked, poor=False).check([lane])
    Remains(name, asked, poor=True).check([lane])


# What happens to a besieged engine


def besieged(**endured) -> tuple[Engine, Lane]:
    """An engine that was to meet two ordeals and was not killed, as the inspection sees it."""
    orders = next(
        orders
        for number in range(20)
        for orders in draw("1", number).engines.values()
        if isinstance(orders, SiegeOrders)
    )
    orders = msgspec.structs.replace(orders, groups=(("lists", "hooks"),))
    facts = {"pid": 1, "lane": "0" * 8, "threads": 6, "batch": 70, "descriptors": 0, "memory": 0}
    facts |= {"ups": {}, "downs": {}, "handles": [], "vanished": False, "workers": {}, "words": []}
    endured = {"met": {"lists": 3, "hooks": 9}, "swallowed": [], "wrong": []} | endured
    return SimpleNamespace(name="it", orders=orders), Lane(**facts, end={}, endured=endured)


def test_what_a_besieged_engine_met_is_counted() -> None:
    assert ordeals_met(*besieged()) == {"lists": 3, "hooks": 9}


@pytest.mark.parametrize(
    ("endured", "what"),
    [
        ({"met": {"lists": 3, "hooks": 0}}, "it never met hooks"),
        ({"met": {}}, "it never met hooks, lists"),
        ({"swallowed": ["Limit()"]}, "it lost exceptions or files"),
        ({"wrong": ["7 is another file"]}, "it lost exceptions or files"),
    ],
)
def test_what_it_never_met_or_has_lost_is_found(endured, what) -> None:
    with pytest.raises(Difference, match=what):
        ordeals_met(*besieged(**endured))


@pytest.mark.skipif(not POSSIBLE, reason="this machine's system calls are not known")
@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("locks", lambda segment: segment.try_lock(0)),
        ("maps", lambda segment: segment.map(0, 4096, writable=True)),
        ("reserves", lambda segment: Segment.create(f"{segment.name}.1", 4096).close()),
    ],
)
def test_the_kernel_refuses_something_to_one_thread_alone(name, what, use) -> None:
    refusals, refused = Refusals(), []
    with Segment.create(f"tapring.{name}", 4096) as segment:

        def suffer() -> None:
            refuse(what, ERRORS[what][0])
            sys.setprofile(refusals.note)
            try:
                use(segment)
            except (OSError, tapring.SharedMemoryFull) as error:
                refused.append(error)
            sys.setprofile(None)

        thread = Thread(target=suffer)
        thread.start()
        thread.join()
        assert refused
        assert refusals.met == 1
        use(segment)
    for each in names(f"tapring.{name}"):
        unlink(each)
