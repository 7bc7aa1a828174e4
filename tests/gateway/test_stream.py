"""Live events over HTTP: each comes once or is counted, and a client costs what it takes."""

from __future__ import annotations

import json
import signal
import socket
import time
from urllib.parse import quote

import psutil
import pytest

import tapring
from tests.conftest import unique_name, wait_until

from .conftest import sessions
from .serving import messages

MIB = 1 << 20


def numbers(events: list[dict]) -> list[int]:
    return [each["n"] for each in events]


def test_events_come_in_order_and_the_last_record_is_the_account(serve, engine, name) -> None:
    engine(name)
    answer = serve().get(f"/api/v1/tap/{name}?limit=500")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    found = numbers(answer.events)
    assert found == list(range(found[0], found[0] + 500))
    summary = answer.summary
    assert summary["written"] == 500
    assert summary["ended_by"] == "limit"
    assert summary["offered"] == summary["delivered"] + summary["unread"]
    wait_until(lambda: sessions(name) == 0)


def test_a_stream_selects_and_redacts(serve, engine, name) -> None:
    engine(name)
    query = "limit=20&where=level%3D%3D'error'&fields=n,user&redact=user.email&sample=2"
    answer = serve().get(f"/api/v1/tap/{name}?{query}")
    assert all(set(each) == {"n", "user"} for each in answer.events)
    assert all(each["n"] % 5 == 0 for each in answer.events)
    assert b"example.org" not in answer.body
    assert all("tapring:redacted:" in each["user"]["email"] for each in answer.events)
    assert answer.summary["filtered_by"]["where"] > 0


def test_several_stages_come_in_envelopes_in_the_order_of_each_batch(serve, engine, name) -> None:
    process = engine(name)
    answer = serve().get(f"/api/v1/tap/{name}?stage=*&limit=60")
    assert answer.headers["tapring-stages"] == "raw=lines,decoded=json"
    records = answer.records[:-1]
    assert {each["stage"] for each in records} == {"raw", "decoded"}
    assert {each["lane"] for each in records} == {process.lane}
    assert all(set(each) == set(records[0]) for each in records)


def test_server_sent_events_hold_a_batch_each_and_the_account_so_far(serve, engine, name) -> None:
    engine(name)
    headers = {"Accept": "text/event-stream"}
    with serve().open(f"/api/v1/tap/{name}?duration=3s", headers) as response:
        assert response.getheader("content-type").startswith("text/event-stream")
        found = list(messages(response))
    batches = [each for each in found if each.name == "message"]
    assert all(len(each.data) == 10 and each.id for each in batches)
    events = [event["n"] for each in batches for event in each.records]
    assert events == list(range(events[0], events[0] + len(events)))
    accounts = [each for each in found if each.name == "account"]
    written = [each.records[0]["tapring_account"]["written"] for each in accounts]
    assert written == sorted(written)
    assert 0 == written[0] < written[-1] <= len(events)
    assert all(each.id for each in accounts)
    assert found[-1].name == "summary"
    assert found[-1].records[0]["tapring_summary"]["ended_by"] == "duration"


@pytest.mark.usefixtures("recordings")
def test_a_stream_that_broke_resumes_behind_its_last_batch_if_the_engine_records(
    serve, engine, name
) -> None:
    engine(name, recorder="decoded")
    server = serve()
    found: list[int] = []
    last_id = ""
    for _ in range(4):
        headers = {"Last-Event-ID": last_id} if last_id else {}
        with server.open(f"/api/v1/tap/{name}?format=sse", headers) as response:
            for message in messages(response):
                if message.name == "message":
                    found += numbers(message.records)
                    last_id = message.id
                    if len(found) % 400 == 0:
                        break
                else:
                    assert message.name == "account"
        wait_until(lambda: sessions(name) == 0)
    assert found == list(range(found[0], found[0] + len(found)))
    assert len(found) == 1600


RARE = "grep=" + quote('"n":[0-9]*00,')


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(
    ("query", "apart", "times"),
    [("where=level%3D%3D'error'", 5, 40), (RARE, 100, 4)],
    ids=["some-of-each-batch", "one-batch-in-ten"],
)
def test_a_filtered_stream_resumes_without_a_gap_that_the_filter_made(
    serve, engine, name, query, apart, times
) -> None:
    engine(name, recorder="decoded")
    server = serve()
    found: list[int] = []
    last_id = ""
    for _ in range(3):
        headers = {"Last-Event-ID": last_id} if last_id else {}
        with server.open(f"/api/v1/tap/{name}?format=sse&{query}", headers) as response:
            for message in messages(response):
                assert message.name in ("message", "account")
                if message.name == "message":
                    found += numbers(message.records)
                    last_id = message.id
                    if len(found) % times == 0:
                        break
        wait_until(lambda: sessions(name) == 0)
    assert found == list(range(found[0], found[0] + apart * len(found), apart))


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(
    ("query", "apart"), [("", 1), ("&where=level%3D%3D'error'", 5)], ids=["all", "filtered"]
)
@pytest.mark.parametrize("limit", [1, 3, 12])
def test_streams_with_a_limit_resume_one_after_the_other_also_inside_of_a_batch(
    serve, engine, name, query, apart, limit
) -> None:
    engine(name, recorder="decoded")
    server = serve()
    found: list[int] = []
    headers: dict[str, str] = {}
    for _ in range(4):
        with server.open(f"/api/v1/tap/{name}?format=sse&limit={limit}{query}", headers) as answer:
            came = [each for each in messages(answer) if each.name != "account"]
        assert [each.name for each in came] == ["message"] * (len(came) - 1) + ["summary"]
        assert came[-1].records[0]["tapring_summary"]["written"] == limit
        found += [n for each in came[:-1] for n in numbers(each.records)]
        headers = {"Last-Event-ID": came[-2].id}
    assert found == list(range(found[0], found[0] + apart * 4 * limit, apart))


class Reader:
    """A reader that comes again and again with the last id that it has got."""

    def __init__(self, server, path: str) -> None:
        self.server, self.path = server, path
        self.last_id = ""
        self.events: list[int] = []
        self.accounts: list[dict] = []

    def read(self, offer, until) -> None:
        """Read from when the stream is open and ``offer`` was called, until ``until`` holds."""
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        self.accounts.append({})
        with self.server.open(self.path, headers) as response:
            told = messages(response)
            for message in told:
                self.last_id = message.id or self.last_id
                if message.name == "message":
                    self.events += numbers(message.records)
                elif not self.accounts[-1]:
                    offer()
                if message.name == "account":
                    self.accounts[-1] = message.records[0]["tapring_account"]
                if until():
                    return

    def sum_of(self, name: str) -> int:
        return sum(each[name] for each in self.accounts)


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("filtered", [False, True])
def test_the_accounts_of_streams_that_resume_add_up(serve, name, filtered) -> None:
    with tapring.Tap(name, recorder="decoded") as tap:
        said = 0

        def offer(count: int = 10) -> None:
            nonlocal said
            for _ in range(count):
                tap.snapshot().offer("decoded", [{"n": said}])
                said += 1

        query = "&where=n<`0`" if filtered else ""
        reader = Reader(serve(), quote(f"/api/v1/tap/{name}?format=sse{query}", "/?=&"))
        counted = "filtered" if filtered else "written"
        for _ in range(4):
            wait_until(lambda: sessions(name) == 0)
            offer()  # while the reader is away; before the first stream, nobody wants it
            reader.read(offer, lambda: reader.sum_of(counted) >= said - 10)
        assert reader.sum_of(counted) == said - 10
        assert reader.sum_of("offered") + reader.sum_of("recorded") == said - 10
        assert reader.events == ([] if filtered else list(range(10, said)))


@pytest.mark.usefixtures("recordings")
def test_a_stream_that_breaks_before_its_first_event_resumes_where_it_began(serve, name) -> None:
    with tapring.Tap(name, recorder="decoded") as tap:
        tap.snapshot().offer("decoded", [{"n": 0}])
        reader = Reader(serve(), f"/api/v1/tap/{name}?format=sse")
        reader.read(lambda: None, lambda: reader.last_id)
        assert reader.events == []
        wait_until(lambda: sessions(name) == 0)
        tap.snapshot().offer("decoded", [{"n": 1}])
        reader.read(lambda: None, lambda: reader.events)
        assert reader.events == [1]


@pytest.mark.usefixtures("recordings")
def test_a_lane_that_has_ended_is_told_of_once(serve, engine, name) -> None:
    first = engine(name, recorder="decoded")
    server = serve()
    path = f"/api/v1/tap/{name}?format=sse&limit=1"
    with server.open(path) as answer:
        last_id = next(each.id for each in messages(answer) if each.name == "message")
    first.kill()
    first.wait()
    engine(name, recorder="decoded")
    told = []
    for _ in range(2):
        with server.open(path, {"Last-Event-ID": last_id}) as answer:
            came = list(messages(answer))
        told += [each.records[0]["tapring_gap"]["lane"] for each in came if each.name == "gap"]
        last_id = [each.id for each in came if each.id][-1]
    assert told.count(first.lane) == 1
    assert first.lane not in last_id


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("comes_again", [True, False])
def test_a_filtered_stream_that_resumes_tells_what_it_never_looked_at(
    serve, name, comes_again
) -> None:
    with tapring.Tap(name, recorder="decoded", recorder_bytes=8192) as tap:
        server = serve()

        def offer(first: int, last: int, match: int = -1) -> None:
            for n in range(first, last):
                event = {"n": n, "match": n == match, "x": "." * 50}
                tap.snapshot().offer("decoded", [event])

        path = f"/api/v1/tap/{name}?format=sse&where=match"
        with server.open(path) as response:
            wait_until(lambda: sessions(name) == 1)
            offer(0, 10, match=5)
            message = next(each for each in messages(response) if each.name == "message")
        wait_until(lambda: sessions(name) == 0)
        offer(10, 1000)  # the recorder holds some of them
        with server.open(path, {"Last-Event-ID": message.id}) as response:
            wait_until(lambda: sessions(name) == 1)
            offer(1000, 1010, match=1005 if comes_again else -1)
            told = iter(messages(response))
            gap = next(each for each in told if each.name != "account")
            if comes_again:
                assert numbers(next(each for each in told if each.name != "account").records) == [
                    1005
                ]
        missed = gap.records[0]["tapring_gap"]["missed"]
        (held,) = tapring.past(name).recordings
        assert gap.name == "gap"
        assert 800 < missed < 1000 - 6
        assert abs(6 + missed + held.events - 1000) <= 1  # it held as many then


def test_without_a_recorder_a_resumed_stream_says_how_many_events_it_missed(serve, name) -> None:
    with tapring.Tap(name) as tap:
        server = serve()

        def offer(first: int) -> None:
            tap.snapshot().offer("decoded", [{"n": first}, {"n": first + 1}])

        def one_message(last_id: str, first: int) -> list:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            with server.open(f"/api/v1/tap/{name}?format=sse", headers) as response:
                wait_until(tap.snapshot)
                offer(first)
                found = []
                for message in messages(response):
                    found += [message] if message.name != "account" else []
                    if message.name == "message":
                        return found
                raise AssertionError(found)

        (first,) = one_message("", 0)
        assert numbers(first.records) == [0, 1]
        with tapring.capture(name):  # somebody else watches meanwhile
            wait_until(tap.snapshot)
            for n in range(2, 42, 2):
                offer(n)
        uncounted, gap, message = one_message(first.id, 42)
        assert numbers(message.records) == [42, 43]
        assert uncounted.name == gap.name == "gap"
        assert uncounted.records[0]["tapring_gap"]["uncounted"]
        assert gap.records[0]["tapring_gap"]["missed"] == 40


@pytest.mark.usefixtures("recordings")
def test_a_lane_that_has_ended_meanwhile_is_told_when_a_stream_resumes(serve, engine, name) -> None:
    first = engine(name, recorder="decoded")
    server = serve()
    path = f"/api/v1/tap/{name}?format=sse"
    with server.open(path) as response:
        message = next(each for each in messages(response) if each.name == "message")
    first.kill()
    first.wait()
    engine(name, recorder="decoded")
    with server.open(path, {"Last-Event-ID": message.id}) as response:
        gap = next(each for each in messages(response) if each.name != "account")
    told = gap.records[0]["tapring_gap"]
    assert (gap.name, told["lane"], told["uncounted"]) == ("gap", first.lane, True)


def test_a_client_that_has_said_more_than_its_request_is_let_go(serve, engine, name) -> None:
    """uvicorn would not notice that it has left."""
    engine(name)
    server = serve()
    with server.open(f"/api/v1/tap/{name}?grep=nothing") as response:
        wait_until(lambda: sessions(name) == 1)
        response.fp.raw._sock.sendall(b"x")
    wait_until(lambda: sessions(name) == 0)


def test_lost_events_are_a_record_where_they_are_missing(serve, name) -> None:
    with tapring.Tap(name, slot_bytes=64) as tap:
        server = serve("--buffer", "64KiB")
        with server.open(f"/api/v1/tap/{name}?duration=3s") as response:
            wait_until(tap.snapshot)
            for n in range(1_000):  # faster than any reader
                tap.snapshot().offer(
                    "decoded", [{"n": 100 * n + i, "x": "." * 99} for i in range(100)]
                )
            records = [json.loads(line) for line in response]
    summary = records.pop()["tapring_summary"]
    missed = expected = 0
    for each in records:
        if "tapring_gap" in each:
            missed += each["tapring_gap"]["missed"]
            expected += each["tapring_gap"]["missed"]
        else:
            assert each["n"] == expected
            expected += 1
    assert missed == summary["dropped"] > 0
    assert summary["written"] + missed == summary["offered"]


def test_a_client_that_leaves_frees_its_session_at_once(serve, engine, name) -> None:
    engine(name)
    server = serve()
    for leave in ("close", "reset"):
        with server.open(f"/api/v1/tap/{name}") as response:
            assert response.readline()
            assert sessions(name) == 1
            if leave == "reset":
                linger = b"\1\0\0\0\0\0\0\0"
                response.fp.raw._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        wait_until(lambda: sessions(name) == 0)
    wait_until(lambda: len(server.audit("ended")) == 2)
    assert {each["ended_by"] for each in server.audit("ended")} == {"output-closed"}


def test_a_client_that_stalls_costs_little_and_is_cut_off_a_second_after_its_deadline(
    serve, engine, name
) -> None:
    engine(name)
    server = serve()
    server.get(f"/api/v1/tap/{name}?limit=10")
    before = psutil.Process(server.process.pid).memory_info().rss
    stalled = []
    for _ in range(8):
        connection = server.connection()
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        headers = {"Authorization": f"Bearer {server.token}"}
        connection.request("GET", f"/api/v1/tap/{name}?duration=2s", headers=headers)
        stalled.append(connection)
    try:
        wait_until(lambda: sessions(name) == 8)
        grown = 0
        while sessions(name):
            grown = max(grown, psutil.Process(server.process.pid).memory_info().rss - before)
            time.sleep(0.05)
        assert grown < 8 * MIB
        wait_until(lambda: len(server.audit("ended")) == 9)
        assert all(each["seconds"] < 15 for each in server.audit("ended"))
        wait_until(lambda: not _established(server.process.pid))
    finally:
        for connection in stalled:
            connection.close()


def _established(pid: int) -> list:
    return [
        each
        for each in psutil.Process(pid).net_connections("tcp")
        if each.status == psutil.CONN_ESTABLISHED
    ]


def test_when_the_engine_dies_the_summary_says_so(serve, engine, name) -> None:
    process = engine(name)
    with serve().open(f"/api/v1/tap/{name}") as response:
        assert response.readline()
        process.kill()
        last = response.read().splitlines()[-1]
    assert json.loads(last)["tapring_summary"]["ended_by"] == "engine-death"


def test_a_hundred_streams_end_within_a_second_of_a_signal_each_with_its_summary(
    serve, engine
) -> None:
    names = [unique_name() for _ in range(2)]
    for each in names:
        engine(each, pause_s=0.2)
    server = serve("--max-streams-per-token", "100")
    opened = []
    try:
        for i in range(100):
            connection = server.connection()
            headers = {"Authorization": f"Bearer {server.token}"}
            path = f"/api/v1/tap/{names[i % 2]}"
            connection.request("GET", path, headers=headers)
            opened.append((connection, connection.getresponse()))
        assert server.get(f"/api/v1/tap/{names[0]}").status == 409
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        reasons = set()
        for _, response in opened:
            last = response.read().splitlines()[-1]
            reasons.add(json.loads(last)["tapring_summary"]["ended_by"])
        assert reasons == {"interrupt"}
        assert server.process.wait(timeout=30) == 0
        took = time.monotonic() - began
    finally:
        for connection, _ in opened:
            connection.close()
    assert took < 10  # a second on a quiet machine; the bound is for a busy one
