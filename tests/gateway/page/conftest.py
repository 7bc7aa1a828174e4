"""A real browser that reads real engines through a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tapring.shm.names import requests_prefix
from tapring.shm.sweep import lanes_of, sweep
from tests.conftest import ROOT, shm_of_this_run, wait_until

ARGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
WITHIN_MS = 30_000
SERVE = "from tapring.cli import main; main()"

# It offers what it is told on standard input: events of stage decoded are JSON texts.
ENGINE = """
import json, sys, msgspec, tapring
recorder = sys.argv[2:] or None
tap = tapring.Tap(sys.argv[1], recorder=recorder)
print(tap.lane, flush=True)
for line in sys.stdin:
    stage, events = json.loads(line)
    watched = tap.snapshot()
    if watched:
        watched.offer(stage, [msgspec.Raw(each.encode()) for each in events]
                      if stage == "decoded" else events)
    print("offered" if watched else "", flush=True)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, one for the tests of a module."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, headless=True, args=list(ARGS))
        yield chromium
        chromium.close()


class Server:
    """``tapring serve`` as a process."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-c", SERVE, "serve", "--listen", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(
            [*command, "--audit", os.devnull], stderr=subprocess.PIPE, cwd=ROOT
        )
        assert self.process.stderr is not None
        greeting = self.process.stderr.readline().decode()
        found = re.search(r"(http://127\.0\.0\.1:(\d+))(?:/#token=(\S+))?", greeting)
        assert found, greeting
        self.base, self.port, self.token = found[1], int(found[2]), found[3]
        wait_until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Take nothing out of rings while the block lasts, as a machine that is too busy."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """As Ctrl-C does."""
        self.process.terminate()
        self.process.wait(30)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server for the tests of a module, with rings in which a test's events fit."""
    running = Server("--buffer", "16MiB")
    yield running
    running.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start a server with these options."""
    started: list[Server] = []

    def start(*options: str) -> Server:
        started.append(Server(*options))
        return started[-1]

    yield start
    for each in started:
        each.stop()
        each.close()
    for engine, _ in lanes_of(None):  # those that were killed while such a server read them
        if engine.startswith(f"t-{os.getpid()}-"):
            sweep(engine)


class Engine:
    """An engine that offers what a test tells it."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.process = process
        self.name = name
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self.lane = self._stdout.readline().decode().strip()

    def offer(self, *texts: str, stage: str = "decoded") -> None:
        """Offer a batch of JSON texts, or of lines; somebody must be watching."""
        self._stdin.write(json.dumps([stage, texts]).encode() + b"\n")
        self._stdin.flush()
        assert self._stdout.readline() == b"offered\n"

    def offer_numbers(self, first: int, count: int, batch: int = 100) -> None:
        """Offer ``{"n": first}`` and the next ones."""
        for begin in range(first, first + count, batch):
            end = min(begin + batch, first + count)
            self.offer(*[f'{{"n":{n}}}' for n in range(begin, end)])

    def end(self) -> None:
        """Exit in good order."""
        self._stdin.close()
        self.process.wait(30)


@pytest.fixture
def start_engine(spawn: Callable[..., Any]) -> Callable[..., Engine]:
    """Start an engine: its name, and the stages that it records."""

    def start(name: str, *recorded: str) -> Engine:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return Engine(spawn(ENGINE, name, *recorded, **pipes), name)

    return start


@pytest.fixture
def engine(start_engine: Callable[..., Engine], name: str) -> Engine:
    """An engine that records nothing."""
    return start_engine(name)


class Reader:
    """A reader: a tab of the browser, and what is on it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        page.set_default_timeout(WITHIN_MS)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", self._console)
        page.on("dialog", self._dialog)

    def _console(self, message: Any) -> None:
        # A refused request is no fault of the page, and neither is a connection that is cut.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.problems.append(f"{message.type}: {message.text}")

    def _dialog(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, server: Server, state: str = "", base: str = "") -> None:
        """Open the page with a token, and with a state behind the #."""
        self.page.goto(f"{base or server.base}/#token={server.token}{'&' * bool(state)}{state}")

    def watch(self, server: Server, engine: Engine, more: str = "", base: str = "") -> None:
        """Open the page at an engine, and wait until its events come."""
        self.open(server, f"engine={engine.name}{'&' * bool(more)}{more}", base)
        self.wait_for_state("Live")

    def wait_for_state(self, text: str) -> None:
        self.wait("document.getElementById('state').textContent", text)

    def wait(self, script: str, wanted: Any) -> None:
        """Wait until an expression has this value."""
        deadline = time.monotonic() + WITHIN_MS / 1000
        while (found := self.page.evaluate(script)) != wanted:
            if time.monotonic() > deadline:
                pytest.fail(f"{script} is still {found!r} instead of {wanted!r}")
            self.page.wait_for_timeout(30)  # other than a sleep, it lets the browser's news in

    def count(self, name: str) -> int:
        """A number of the account."""
        exact = self.page.get_attribute(f"#count-{name}", "title") or "0"
        return int(exact.replace(",", ""))

    def wait_for_count(self, name: str, wanted: int) -> None:
        found = f"+(document.getElementById('count-{name}').title || '0').replaceAll(',', '')"
        self.wait(found, wanted)

    def hurry(self) -> None:
        """Press "Reconnect now", which is there between two attempts alone."""
        self.page.evaluate("document.getElementById('hurry').click()")

    def wait_for_row(self, text: str) -> None:
        """Wait until a row with this text can be seen."""
        self.page.locator(".event-row:not([hidden]) .text").get_by_text(text, exact=True).wait_for()

    @property
    def shown(self) -> list[str]:
        """The texts of the rows that can be seen, from the top."""
        return self.page.evaluate(  # type: ignore[no-any-return]
            """() => {
              const box = document.getElementById("list").getBoundingClientRect();
              return [...document.querySelectorAll(".event-row:not([hidden])")]
                .map((row) => [row.getBoundingClientRect(), row.querySelector(".text").textContent])
                .filter(([place]) => place.bottom > box.top + 1 && place.top < box.bottom - 1)
                .sort(([one], [other]) => one.top - other.top).map(([, text]) => text);
            }"""
        )

    @property
    def selected(self) -> str | None:
        """The text of the row that is selected, if it can be seen."""
        found = self.page.query_selector(".event-row[aria-selected=true]:not([hidden]) .text")
        return None if found is None else found.text_content()

    def show_newest(self) -> None:
        """Open the newest event beside the list."""
        self.page.keyboard.press("j")
        self.page.keyboard.press("Enter")

    def wait_for_selection(self) -> None:
        """Wait until a row is shown as selected: the page does so with its next frame."""
        self.page.locator(".event-row[aria-selected=true]:not([hidden])").wait_for()

    def downloaded(self) -> list[dict[str, Any]]:
        """The records of what is shown, as its file has them."""
        with self.page.expect_download() as begun:
            self.page.click("#download")
        with open(begun.value.path(), encoding="utf-8") as file:
            return [json.loads(line) for line in file]


@contextmanager
def reading(browser: Any, **options: Any) -> Iterator[Reader]:
    """A reader with a new context, who must have met no fault of the page at the end."""
    context = browser.new_context(**options)
    try:
        reader = Reader(context.new_page())
        yield reader
        assert reader.problems == []
    finally:
        context.close()
        # The server notices that the reader has left, and takes its standing request back.
        wait_until(lambda: not [each for each in shm_of_this_run() if is_request(each)])


def is_request(segment: str) -> bool:
    return segment.startswith(requests_prefix())


@pytest.fixture
def reader(browser: Any) -> Iterator[Reader]:
    """A reader of the page."""
    with reading(browser, viewport={"width": 1200, "height": 760}) as each:
        yield each
