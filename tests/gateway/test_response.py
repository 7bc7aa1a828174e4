"""A response: its client gets the end, or is given up a second after the deadline."""

from __future__ import annotations

import asyncio
import time

from tapring.ended_by import EndedBy
from tapring.frame import Frame
from tapring.gateway.encoding import encoding_of
from tapring.gateway.problem import Problem, Told
from tapring.gateway.response import CHUNK, Response
from tapring.gateway.sent import Sent


class Ending:
    """What a response's events come from. Its facts are the reason why it ended."""

    def __init__(self) -> None:
        self.ended_by: str | None = None
        self.final_gaps: list[Frame] = []
        self.ended = asyncio.Event()

    def end(self, reason: EndedBy) -> None:
        self.ended_by = self.ended_by or reason
        self.ended.set()

    def facts(self) -> Told:
        return Told("end", self.ended_by or "")


class Counting(Response):
    """Sends ``parts``, and then raises ``problem``, or waits until it is stopped, if ``waits``."""

    def __init__(
        self,
        parts: list[bytes],
        *,
        waits: bool = False,
        problem: Problem | None = None,
        deadline_s: float = 60,
    ) -> None:
        self.source = Ending()
        encoding = encoding_of("ndjson", envelope=False)
        super().__init__(self.source, self.source, encoding, Sent("ndjson"), deadline_s)
        self.parts = parts
        self.closed = 0
        self._waits = waits
        self._problem = problem

    @property
    def lost(self) -> int:
        return 0

    async def carry(self, send) -> None:
        for part in self.parts:
            await self.send(send, part)
        if self._problem is not None:
            raise self._problem
        if self._waits:
            await self.source.ended.wait()

    async def close(self) -> None:
        self.closed += 1


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
    end = b'{"tapring_summary":{"error":"end","hint":""}}\n'
    assert [len(each["body"]) for each in sent] == [CHUNK, CHUNK, 1, 1, len(end), 0]
    assert sent[-2]["body"] == end
    assert [each["more_body"] for each in sent] == [True] * 5 + [False]
    assert response.sent.bytes == 2 * CHUNK + 2 + len(end)
    assert response.closed


def test_a_failure_stands_before_the_end() -> None:
    sent = []

    async def send(message) -> None:
        sent.append(message["body"])

    async def main() -> None:
        await Counting([b"x\n"], problem=Problem(502, "what", "do")).run(never, send)

    asyncio.run(main())
    assert b"".join(sent).splitlines() == [
        b"x",
        b'{"tapring_error":{"error":"what","hint":"do"}}',
        b'{"tapring_summary":{"error":"end","hint":"closed"}}',
    ]


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
    assert sent == [b"x", b""]


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
