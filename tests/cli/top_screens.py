"""Shared by the tests of ``tapring top``: fixed lanes, a screen without a terminal, its text.

``TAPRING_SNAPSHOTS=write`` in the environment writes the snapshots anew.
"""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual._context import visible_screen_stack
from textual.pilot import Pilot

from tapring.cli.top_app import Top
from tapring.cli.top_table import Sort
from tapring.cli.top_view import View
from tapring.shm.discovery import EngineInfo, EngineList, SessionInfo
from tapring.shm.evidence import DeadLane, DeadLanes
from tapring.shm.info import StageInfo
from tapring.shm.looks import Looked, Looking
from tapring.shm.refusals import LaneRefused

SNAPSHOTS = Path(__file__).parent / "snapshots"
HOSTILE = "[red]x[/] \x1b[31mred\x1b[0m \x1b]0;pwned\x07 \u202eback [@click=app.quit]y[/]"
HOSTILE_SHOWN = (
    "[red]x[/] \\x1b[31mred\\x1b[0m \\x1b]0;pwned\\x07 \\u202eback [@click=app.quit]y[/]"
)


def session(number: int, stage: str, **facts: object) -> SessionInfo:
    """A session that a consumer reads, of which ``facts`` are known."""
    usual = dict.fromkeys(
        ("offered", "captured", "delivered", "unread", "dropped", "oversize", "errors", "shed"), 0
    )
    usual |= dict.fromkeys(("sampled_out", "overwritten"), 0)
    known = {name: value for name, value in usual.items() if name in SessionInfo.__struct_fields__}
    shape = {"sample": 1, "served": 1.0, "cost_ns": 0, "fill": 0.0, "buffer_bytes": 1 << 20}
    shape["released"] = 0
    given = {"id": number, "stage": stage, "owner": "consumer", "read": True, "age_s": 5.0}
    return SessionInfo(**(known | shape | given | facts))


def lane(name: str, number: str, *sessions: SessionInfo, **facts: object) -> EngineInfo:
    """A lane with the stages raw and decoded."""
    stages = {each.name: each for each in (StageInfo("raw", "lines"), StageInfo("decoded", "json"))}
    usual: dict[str, object] = {
        "pid": 4711,
        "uptime_s": 7200.0,
        "max_sessions": 8,
        "max_duration_s": 86400.0,
    }
    usual |= {"max_buffer_bytes": 1 << 26, "faults": 0, "misuse": 0, "idle_ns": 50, "batch_ns": 0}
    usual |= {"share": 0.0, "budget": None, "recorders": {}, "remote": True}
    return EngineInfo(name=name, lane=number, stages=stages, sessions=sessions, **(usual | facts))


def fixed() -> Looked:
    """Lanes of three engines, one of which loses events, and one that cannot be read."""
    shop = lane(
        "shop",
        "0a1b2c3d",
        session(7, "decoded", offered=1256, captured=1000, dropped=256, fill=1.0, cost_ns=14200),
        session(12, "raw", offered=98765, captured=98765, fill=0.02, age_s=90000.0, cost_ns=900),
        share=0.034,
        budget=0.02,
    )
    other = lane("shop", "1a1b2c3d", pid=4712, recorders={"decoded": 1 << 20})
    web = lane(
        "web-frontend-of-the-payments-team",
        "2a1b2c3d",
        session(3, "raw", offered=5, captured=5, owner="kept", read=False, served=0.5, shed=5),
        pid=99999,
        share=0.001,
    )
    refused = LaneRefused("old", "3a1b2c3d", "version", "uses version 99, and this is version 4")
    dead = DeadLane("shop", "4a1b2c3d", 7, ("raw",), 4096, 1.5, closed=False)
    rates = {("0a1b2c3d", 7): 1234.5, ("0a1b2c3d", 12): 2_345_678.0, ("2a1b2c3d", 3): 0.0}
    return Looked(
        EngineList([shop, other, web], [refused]),
        rates,
        {4711: 2, 4712: 0, 99999: 0},
        DeadLanes([dead]),
    )


class Fixed(Looking):
    """Looks at nothing, and sees the lanes that it was given."""

    def __init__(self, looked: Looked) -> None:
        super().__init__(None, sweeps=False)
        self.looked = looked

    def look(self, wait: Callable[[], object]) -> Looked:
        return self.looked


def top(name: str = "", looking: Looking | None = None, every_s: float = 0.05) -> Top:
    """The program, which looks often."""
    return Top(looking or Looking(None, sweeps=False), View(name, Sort(), every_s), every_s)


def drive(
    app: Top, steps: Callable[[Pilot], Awaitable[None]], size: tuple[int, int] = (80, 24)
) -> None:
    """Run the program without a terminal, and take steps in it."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await steps(pilot)

    try:
        asyncio.run(run())
    finally:
        app.close_session()


async def until(pilot: Pilot, condition: Callable[[], object], timeout: float = 30) -> None:
    """Wait for a condition; fail with the text of the screen."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"gave up after {timeout} s:\n{text_of(pilot.app)}"
        await pilot.pause(0.02)
    await pilot.pause()


async def shows(pilot: Pilot, text: str, timeout: float = 30) -> None:
    """Wait until a text is on the screen."""
    await until(pilot, lambda: text in text_of(pilot.app), timeout)


def lines_of(app: Top) -> list[str]:
    """What is on the screen, without styles."""
    visible_screen_stack.set(app._background_screens)  # as textual does before it draws
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


def text_of(app: Top) -> str:
    return "\n".join(lines_of(app))


def check_snapshot(name: str, shown: str) -> None:
    """Compare with the text file ``name``; the clock is always 12:00:00."""
    shown = re.sub(r"\b\d\d:\d\d:\d\d\b", "12:00:00", shown) + "\n"
    path = SNAPSHOTS / name
    if os.environ.get("TAPRING_SNAPSHOTS") == "write":
        path.write_text(shown)
    assert shown == path.read_text()
