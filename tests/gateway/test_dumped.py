"""The past to one client: to its end, or until the client leaves."""

from __future__ import annotations

import asyncio

import pytest

import tapring
from tapring.delivery.past_report import PastReport
from tapring.ended_by import EndedBy
from tapring.events.selection import Select
from tapring.gateway.dumped import Dumped
from tapring.gateway.encoding import encoding_of
from tapring.gateway.sent import Sent

pytestmark = pytest.mark.usefixtures("recordings")


def dumped(name: str, limit: int | None = None) -> Dumped:
    found = tapring.past(name)
    sent = Sent("ndjson")
    report = PastReport(found, Select(), None, sent)
    return Dumped(
        found,
        encoding_of("ndjson", envelope=False),
        sent,
        report,
        still_allowed=lambda: None,
        limit=limit,
    )


def run(response: Dumped, leave_after: int | None = None) -> tuple[bool, bytes]:
    parts: list[bytes] = []
    left = asyncio.Event()

    async def receive() -> dict:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message) -> None:
        parts.append(message["body"])
        if leave_after is not None and len(parts) == leave_after:
            left.set()
        await asyncio.sleep(0)

    return asyncio.run(response.run(receive, send)), b"".join(parts)


def test_all_that_is_there_comes_and_then_the_account(name) -> None:
    with tapring.Tap(name, recorder="decoded") as tap:
        for n in range(300):
            tap.snapshot().offer("decoded", [{"n": n, "x": "." * 500}])
        in_time, body = run(dumped(name))
        assert in_time
        assert body.count(b'{"n":') == 300
        assert b'"tapring_summary"' in body.splitlines()[-1]
        assert run(dumped(name, limit=7))[1].count(b'{"n":') == 7


def test_a_client_that_leaves_ends_it(name) -> None:
    with tapring.Tap(name, recorder="decoded") as tap:
        for n in range(3000):
            tap.snapshot().offer("decoded", [{"n": n, "x": "." * 500}])
        response = dumped(name)
        _, body = run(response, leave_after=1)
        assert body.count(b'{"n":') < 3000
        assert response.ended_by == EndedBy.OUTPUT_CLOSED
