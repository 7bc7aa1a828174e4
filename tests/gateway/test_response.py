"""A response: its client gets the end, or is given up a second after the deadline."""

from __future__ import annotations

import asyncio
import time

from tapring.ended_by import EndedBy
from tapring.gateway.encoding import encoding_of
from tapring.gateway.problem import Problem
from tapring.gateway.response import CHUNK, Response
from tapring.gateway.sent import Sent


class Counting(Response):
    """Sends ``parts``, and then waits until it is told to stop, if ``waits``."""

    def __init__(self, parts: list[bytes], *, waits: bool = False, deadline_s: float = 60) -> None:
        super().__init__(encoding_of("ndjson", envelope=False), Sent("ndjson"), deadline_s)
        self.parts = parts
        self.reason: str | None = None
        self.closed = 0
        self._stopped = asyncio.Event()
        self._waits = waits

    def stop(self, reason: EndedBy = EndedBy.INTERRUPT) -> None:
        self.reason = self.reason or reason
        self._stopped.set()

    @property
    def ended_by(self) -> str | None:
        return self.reason

    @property
    def lost(self) -> int:
        return 0

    async def carry(self, send) -> None:
        for part in self.parts:
            await self.send(send, part)
        if self._waits:
            await self._stopped.wait()

    async def close(self) -> None:
        self.closed += 1

    def last_records(self) -> bytes:
        return b"end\n"


async def never() -> dict:
    await asyncio.Event().wait()
    return {}


def test_a_part_is_sent_in_chunks_and_the_end_follows() -> None:
    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(dict(message))

    async def main() -> tuple[bool, Counting]:
        response = Counting([b"x" * (2 * CHUNK + 1), b"", b"y"])
        return await response.run(never, send), response

    in_time, response = asyncio.run(main())
    assert in_time
    assert [len(each["body"]) for each in sent] == [CHUNK, CHUNK, 1, 1, 4, 0]
    assert [each["more_body"] for each in sent] == [True] * 5 + [False]
    assert response.sent.bytes == 2 * CHUNK + 6
    assert response.closed


def test_a_failure_stands_before_the_end() -> None:
    sent = []

    async def send(message) -> None:
        sent.append(message["body"])

    async def main() -> None:
        response = Counting([])
        response.failure = Problem(502, "what", "do")
        await response.run(never, send)

    asyncio.run(main())
    assert b"".join(sent) == b'{"tapring_error":{"error":"what","hint":"do"}}\nend\n'


def test_a_client_that_takes_nothing_is_given_up_a_second_after_the_deadline() -> None:
    async def main() -> tuple[bool, Counting, float]:
        response = Counting([b"x"], deadline_s=0.1)
        began = time.monotonic()
        return await response.run(never, lambda _: asyncio.Event().wait()), response, began

    in_time, response, began = asyncio.run(main())
    assert not in_time
    assert response.closed
    assert time.monotonic() - began >= 1.1


def test_a_client_that_leaves_stops_it_and_gets_no_end() -> None:
    sent = []

    async def leaves() -> dict:
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message) -> None:
        sent.append(message["body"])

    async def main() -> Counting:
        response = Counting([b"x"], waits=True)
        assert await response.run(leaves, send)
        return response

    assert asyncio.run(main()).ended_by == EndedBy.OUTPUT_CLOSED
    assert b"end\n" not in sent


def test_a_connection_that_breaks_stops_it() -> None:
    async def send(message) -> None:
        raise ConnectionResetError

    async def main() -> Counting:
        response = Counting([b"x"])
        assert await response.run(never, send)
        return response

    response = asyncio.run(main())
    assert response.ended_by == EndedBy.OUTPUT_CLOSED
    assert response.closed
