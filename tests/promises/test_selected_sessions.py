"""Sessions that select and redact: what comes out, what is counted, what the next reader gets."""

import asyncio
import re
import subprocess

import msgspec
import numpy as np
import pytest

import tapring
from tapring import Redactor, Select
from tapring.events.kinds import Json

POINT = np.dtype([("t", "i8"), ("x", "f8"), ("name", "S4")])
TOKEN = re.compile(r"tapring:redacted:[0-9a-f]{16}")
USERS = ("root", "www", "bin")


class Event(msgspec.Struct):
    n: int
    user: str


@pytest.fixture
def tap(name):
    with tapring.Tap(
        name, strict=True, stages={"blobs": "bytes", "points": tapring.array(POINT)}
    ) as tap:
        yield tap


def event(n: int) -> dict:
    return {"n": n, "user": USERS[n % 3], "ok": n % 2 == 0}


def offer(tap, batches: int = 4, size: int = 5) -> list[dict]:
    events = [event(n) for n in range(batches * size)]
    for start in range(0, len(events), size):
        batch = events[start : start + size]
        watched = tap.snapshot()
        watched.offer("decoded", batch)
        watched.offer("raw", [msgspec.json.encode(each) for each in batch])
        watched.offer("blobs", [each["user"].encode() for each in batch])
        watched.offer("points", np.array([(e["n"], 0.5, e["user"]) for e in batch], POINT))
    return events


def ends(session, tap) -> list:
    tap.close()
    return list(session)


def test_selected_events_come_and_the_others_are_counted_by_their_step(tap, name) -> None:
    select = Select(grep="w", where="n > `3`", sample=2, rate="1000/s")
    with tapring.capture(name, select=select) as session:
        events = offer(tap)
        left = [e for e in events if e["user"] == "www"]
        assert ends(session, tap) == [e for e in left if e["n"] > 3][::2]
        away = session.away
        assert (away.grep, away.where, away.sample, away.rate) == (13, 1, 3, 0)
        stats = session.stats
    assert stats.filtered == 17
    assert stats.delivered == stats.offered == 20


def test_redaction_comes_after_selection_and_before_the_fields(tap, name) -> None:
    select, redact = Select(where="user=='root'", fields="user,n"), Redactor("user,usr")
    with tapring.capture(name, select=select, redact=redact) as session:
        offer(tap)
        events = ends(session, tap)
    assert len(events) == 7
    assert len({e["user"] for e in events}) == 1
    assert all(TOKEN.fullmatch(e["user"]) and set(e) == {"user", "n"} for e in events)
    assert redact.unmatched == ("usr",)


@pytest.mark.parametrize("stage", ["decoded", "raw", "blobs", "points"])
def test_every_way_of_reading_gives_the_same(tap, name, stage) -> None:
    select = {"blobs": {"grep": "www"}, "points": {"grep": "www"}}.get(
        stage, {"where": "user=='www'"}
    )
    sessions = [tapring.capture(name, stage=stage, select=Select(**select)) for _ in range(4)]
    offer(tap)
    tap.close()
    iterated = list(sessions[0])
    framed = [e for frame in sessions[1].frames() for e in frame.events()]
    read = []
    while part := sessions[2].read(2, timeout=5):
        read += part
    limited = [e for frame in sessions[3].frames(limit=4) for e in frame.events()]
    for session in sessions:
        session.close()
    if stage == "points":
        iterated, framed, read, limited = (
            [tuple(r) for part in parts for r in part]
            for parts in (iterated, framed, read, limited)
        )
    assert len(iterated) == 7
    assert iterated == framed == read
    assert limited == iterated[:4]
    assert sessions[3].ended_by == "limit"
    stats = [session.stats for session in sessions]
    assert [s.delivered for s in stats[:3]] == [20] * 3
    assert stats[0].filtered == 13
    assert stats[0].bytes == stats[1].bytes == stats[2].bytes


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
@pytest.mark.parametrize("how", ["read", "limit"])
def test_the_next_consumer_begins_behind_the_last_selected_event(tap, name, delivery, how) -> None:
    handle = tap.register("decoded")
    events = offer(tap, batches=3, size=10)
    found = []
    for n in (2, 1, 3, 20):
        select = Select(where="user=='www'")
        with tapring.attach_session(name, handle.id, delivery=delivery, select=select) as session:
            if how == "read":
                found += session.read(n, timeout=0)
            else:
                found += [e for f in session.frames(limit=n) for e in f.events()] if n < 20 else []
    with tapring.attach_session(name, handle.id) as session:
        rest = session.read(100, timeout=0)
    expected = [e for e in events if e["user"] == "www"]
    assert found + [e for e in rest if e["user"] == "www"] == expected
    assert rest == events[-len(rest) :] or not rest


def test_a_gap_before_a_filtered_frame_is_reported_with_the_next_frame(tap, name) -> None:
    options = {"stage": "raw", "buffer_bytes": 512}
    with tapring.capture(name, select=Select(grep="^yes"), **options) as session:
        tap.snapshot().offer("raw", ["no" * 50] * 4)
        tap.snapshot().offer("raw", ["no" * 50] * 4)
        frames = session.frames()
        tap.close()
        assert list(frames) == []
        assert session.stats.dropped > 0
    session.close()


FLOOD = """
import sys, tapring
tap = tapring.Tap(sys.argv[1])
print(1, flush=True)
batch = ["nothing of interest"] * 50
while True:
    watched = tap.snapshot()
    if watched:
        watched.offer("raw", batch)
"""


def test_a_timeout_holds_while_every_event_is_filtered(name, spawn) -> None:
    spawn(FLOOD, name, stdout=subprocess.PIPE).stdout.readline()
    ticks = []
    # A regex without a literal is slower than the engine: the ring is never empty.
    with tapring.capture(name, stage="raw", select=Select(grep="n[aeiou]ver")) as session:
        session.on_idle = lambda: ticks.append(session.away.grep)
        assert session.read(1, timeout=0.2) == []
        assert session.ended_by is None
        assert session.stats.filtered > 10_000
    assert ticks[-1] > 10_000, "who shows how far it is has no turn"


def test_without_a_timeout_what_is_there_is_looked_through(tap, name) -> None:
    with tapring.capture(name, stage="raw", select=Select(grep="^yes")) as session:
        for line in ("no", "no", "yes"):
            tap.snapshot().offer("raw", [line] * 3)
        assert session.read(9, timeout=0) == [b"yes"] * 3


def test_events_that_cannot_be_decoded_are_withheld_if_redaction_is_asked_for(tap, name) -> None:
    lines = [
        b'{"user":"root"}',
        b"password of root",
        b'"root"',
        b'{"user":"roo',
        b'[{"user":"root"}]',
    ]
    with tapring.capture(name, stage="raw", redact=Redactor("user")) as session:
        tap.snapshot().offer("raw", lines)
        out = ends(session, tap)
    assert len(out) == 2
    assert b"root" not in b"".join(out)
    assert session.stats.redaction_dropped == 3
    assert session.stats.decode_errors == 0


def test_lines_that_are_not_json_are_withheld(tap, name) -> None:
    with tapring.capture(name, stage="raw", redact=Redactor("user", regex="root")) as session:
        tap.snapshot().offer("raw", ["user root", "user bin", '{"user":"bin"}'])
        (event,) = ends(session, tap)
        assert b"bin" not in event
        assert session.stats.redaction_dropped == 2


def test_lines_that_are_not_json_pass_if_that_is_asked_for(tap, name) -> None:
    redact = Redactor("user", regex=r"user (\w+)", pass_text=True)
    with tapring.capture(name, stage="raw", redact=redact) as session:
        tap.snapshot().offer("raw", ["user root", '{"user":"bin","t":"user root"}', "7"])
        first, second, third = ends(session, tap)
    assert re.fullmatch(rf"user {TOKEN.pattern}".encode(), first)
    assert b"root" not in second
    assert b"bin" not in second
    assert third == b"7"


def test_an_event_that_where_cannot_look_into_is_a_decode_error(tap, name) -> None:
    with tapring.capture(name, stage="raw", select=Select(fields="n")) as session:
        tap.snapshot().offer("raw", ['{"n":1,"m":2}', "plain", '{"m":2}'])
        assert ends(session, tap) == [b'{"n":1}', b"{}"]
    assert session.stats.decode_errors == 1


def test_events_are_decoded_into_a_type_and_a_bad_one_goes_to_the_callback(tap, name) -> None:
    bad: list = []
    with tapring.capture(
        name, type=Event, on_decode_error=lambda line, error: bad.append((line, str(error)))
    ) as session:
        tap.snapshot().offer("decoded", [event(0), {"n": "x", "user": "y"}, event(2), {"n": 1}])
        tap.snapshot().offer("decoded", [{"n": 1}])
        tap.snapshot().offer("decoded", [event(3)])
        assert session.read(2, timeout=5) == [Event(0, "root"), Event(2, "bin")]
        assert ends(session, tap) == [Event(3, "root")]
    assert session.stats.decode_errors == 3
    assert bad[0][0] == b'{"n":"x","user":"y"}'
    assert "$.n" in bad[0][1]


@pytest.mark.parametrize(
    ("stage", "options", "said"),
    [
        ("blobs", {"select": Select(where="a")}, "of kind bytes.*grep, sample or rate"),
        ("blobs", {"redact": Redactor("a")}, "of kind bytes"),
        ("points", {"redact": Redactor("a")}, "--fields"),
        ("points", {"type": Event}, "needs JSON"),
        ("points", {"select": Select(fields="t,z")}, "'z'.*this one has t, x, name"),
    ],
)
def test_a_filter_that_cannot_apply_to_a_kind_is_refused_and_leaves_no_session(
    tap, name, stage, options, said
) -> None:
    with pytest.raises(ValueError, match=said):
        tapring.capture(name, stage=stage, **options)
    assert [engine.sessions for engine in tapring.engines(name)] == [()]


def test_fields_of_an_array_make_a_thinner_array(tap, name) -> None:
    select = Select(fields="name,t", where="t > `17`")
    with tapring.capture(name, stage="points", select=select) as session:
        offer(tap)
        (records,) = ends(session, tap)
        assert session.dtype == np.dtype([("t", "i8"), ("name", "S4")])
    assert records.tolist() == [(18, b"root"), (19, b"www")]


def test_the_engine_samples_whole_batches_before_it_serializes(tap, name) -> None:
    def batch(n: int) -> list:
        return [{"n": n}, {"n": -n}]

    with tapring.capture(name, sample=3) as session:
        for n in range(7):
            tap.snapshot().offer("decoded", batch(n))
        assert [e["n"] for e in ends(session, tap)] == [0, 0, 3, -3, 6, -6]
        stats = session.stats
    assert (stats.offered, stats.sampled_out, stats.gaps) == (6, 8, 0)
    assert session.sample == 3


def test_a_batch_that_no_session_is_due_for_is_not_serialized(tap, name, monkeypatch) -> None:
    packed = []
    pack = Json.pack
    monkeypatch.setattr(Json, "pack", lambda self, batch: packed.append(1) or pack(self, batch))
    handle = tap.register("decoded", sample=4)
    for _ in range(8):
        tap.snapshot().offer("decoded", [1, 2])
    assert len(packed) == 2
    other = tap.register("decoded")
    tap.snapshot().offer("decoded", [1, 2])
    assert (handle.offered, handle.sampled_out) == (6, 12)
    assert (other.offered, other.sampled_out) == (2, 0)
    handle.close()
    other.close()


@pytest.mark.parametrize("sample", [0, -1, 1.5, True, 1 << 63])
def test_an_invalid_sample_is_refused(tap, name, sample) -> None:
    for ask in (tap.register, lambda stage, sample: tapring.capture(name, sample=sample)):
        with pytest.raises(ValueError, match="sample must be a whole number"):
            ask("decoded", sample=sample)


def test_an_async_consumer_lets_others_run(tap, name) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def consume() -> list:
        ticking = asyncio.ensure_future(tick())
        async with tapring.capture(name, select=Select(where="user=='www'")) as session:
            asyncio.get_running_loop().call_later(0.02, offer, tap)
            first = await session.aread(2, timeout=30)
            asyncio.get_running_loop().call_later(0.02, tap.close)
            framed = [e async for f in session.aframes(limit=2) for e in f.events()]
            session.ended_by = None
            rest = [e async for e in session]
            ticking.cancel()
            assert await session.aread(1, timeout=30) == []
        return [*first, *framed, *rest]

    found = asyncio.run(consume())
    assert [e["n"] for e in found] == [1, 4, 7, 10, 13, 16, 19]
    assert ticks > 50


def test_an_idle_async_consumer_sleeps(name, spawn) -> None:
    source = """
import asyncio, resource, sys, tapring
async def main():
    with tapring.Tap(sys.argv[1]):
        async with tapring.capture(sys.argv[1]) as session:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            assert await session.aread(1, timeout=0.5) == []
            print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before)
asyncio.run(main())
"""
    sleeps = int(spawn(source, name, stdout=subprocess.PIPE).communicate(timeout=60)[0])
    assert 0 < sleeps < 1000  # three threads each 5 ms; 10,000 if it polled every 50 us
