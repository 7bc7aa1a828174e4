"""Readers of real engines: killed at random moments, in turn with tapring's own consumer.

Every event is numbered, so that what was lost, came twice, out of order or torn can be told. The
account is taken from the ring's words, never from what a reader says.
"""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import tapring
from tapring.shm.sweep import sweep
from tapring.wire import layout

from .engine import STAGE
from .image import SHM
from .numbered import number_of, printed
from .running import PATIENCE_S, Failed, ends, expect, started, wait_until

ENDS: Final = ("close", "end", "kill", "expire")
TURNS: Final = 6
_ROOT: Final = Path(__file__).resolve().parents[3]
_MOST_SLOTS: Final = 400
_MOST_EVENTS: Final = 40
_SHORT_S: Final = 0.05
_LONG_NS: Final = 1 << 50


class _Live:
    """A session of a real engine, as the kit sees it, and what its readers printed."""

    def __init__(
        self, engine: subprocess.Popen[bytes], name: str, kind: str, delivery: str
    ) -> None:
        self.engine, self.kind, self.delivery = engine, kind, delivery
        self.lane = f"{name}.{self.answer()}"
        self.address = ""
        self.words = memoryview(b"")
        self.came: list[int] = []

    def answer(self) -> str:
        """The next line that the engine says."""
        assert self.engine.stdout is not None
        line = self.engine.stdout.readline().decode().strip()
        if not line:
            raise Failed(f"the kit's own engine ended: {self.engine.wait(PATIENCE_S)}")
        return line

    def tell(self, line: str) -> None:
        """Tell the engine something."""
        assert self.engine.stdin is not None
        self.engine.stdin.write(f"{line}\n".encode())
        self.engine.stdin.flush()

    def watch(self, session: str) -> None:
        """Map the ring of a session, to look at its words even when its name is gone."""
        self.address = f"{self.lane}:{session}"
        fd = os.open(SHM / f"{layout.NAME_PREFIX}.{self.lane}.{session}", os.O_RDONLY)
        try:
            self.words = memoryview(mmap.mmap(fd, layout.SLOTS, prot=mmap.PROT_READ)).cast("Q")
        finally:
            os.close(fd)

    def consumer(self, word: int) -> int:
        """A word of the consumer's page."""
        return self.words[layout.CONSUMER_PAGE // layout.WORD + word]

    # ---- turns -----------------------------------------------------------------------------------

    def read_and_kill(self, command: Sequence[str], slots: int) -> None:
        """Let a reader read so many slots, and kill it."""
        with tempfile.TemporaryFile() as output:
            with started(command, self.address, output) as process:
                self._reads_on(process, slots)
            self._note(output, cut=True)

    def read_to_the_end(self, command: Sequence[str], end: str) -> None:
        """Let a reader read until the session ends in this way."""
        with tempfile.TemporaryFile() as output:
            with started(command, self.address, output) as process:
                if end == "expire":
                    wait_until(self._is_empty, "all events to be released", process)
                else:
                    self._reads_on(process, 1)
                if end == "kill":
                    self.engine.kill()
                    self.engine.wait()
                else:
                    self.tell(end)
                expect("exit code at the session's end", 0, ends(process))
            self._note(output, cut=False)

    def read_with_tapring(self, events: int) -> None:
        """Let tapring's own consumer read so many events."""
        with tapring.attach_session(self.address, delivery=self.delivery) as session:
            left = events
            while left > 0:
                got = session.read(left, timeout=PATIENCE_S)
                if not got:
                    raise Failed("expected events for tapring's own consumer, none came")
                self._check(b"".join(map(self._as_printed, got)), cut=False)
                left -= len(got)

    def _as_printed(self, event: Any) -> bytes:
        if self.kind == "array":
            return b"".join(record.tobytes().hex().encode() + b"\n" for record in event)
        if self.kind == "json":
            return printed("json", event["number"]) + b"\n"
        return (event.hex().encode() if self.kind == "bytes" else event) + b"\n"

    def _reads_on(self, process: subprocess.Popen[bytes], slots: int) -> None:
        begin = self.consumer(layout.HEAD)
        wait_until(
            lambda: self.consumer(layout.HEAD) >= begin + slots,
            f"{slots} slots to be released",
            process,
        )

    def _is_empty(self) -> bool:
        return self.consumer(layout.HEAD) == self.words[layout.TAIL] > 0

    def _note(self, output, *, cut: bool) -> None:
        output.seek(0)
        self._check(output.read(), cut=cut)

    # ---- what must be so -------------------------------------------------------------------------

    def _check(self, output: bytes, *, cut: bool) -> None:
        """Note the events of a turn. ``cut``: its last line may be incomplete."""
        *lines, rest = output.split(b"\n")
        if rest and not cut:
            raise Failed(f"expected a whole last line, came {rest!r}")
        seen, last = set(self.came), -1
        latest = max(self.came, default=-1)
        for line in lines:
            number = number_of(self.kind, line)
            if number is None:
                raise Failed(f"an event is torn, or none that was offered: {line[:200]!r}")
            if number <= last:
                raise Failed(f"out of order: event {number} came after event {last}")
            if number in seen and self.delivery == "at-most-once":
                raise Failed(f"at most once: event {number} came twice")
            if number not in seen and number < latest:
                raise Failed(f"out of order: event {number} came first after event {latest}")
            last = number
            self.came.append(number)

    def check_account(self, end: str) -> None:
        """Raise Failed unless the ring's account closes, and all that was captured came."""
        words = self.words
        released = self.consumer(layout.RELEASED)
        lost = sum(words[layout.DROPPED : layout.ENDED])
        expect("HEAD at the end", words[layout.TAIL], self.consumer(layout.HEAD))
        expect("MISSED at the end", lost, self.consumer(layout.MISSED))
        if end != "kill":  # a killed engine may have counted a frame that it did not publish
            expect("RELEASED at the end", words[layout.CAPTURED], released)
        elif released > words[layout.CAPTURED]:
            raise Failed(f"RELEASED is {released}, but CAPTURED {words[layout.CAPTURED]}")
        delivered = released - self.consumer(layout.ABANDONED)
        different = len(set(self.came))
        if self.delivery == "at-least-once":
            expect("at least once: events that came", released, different)
        elif different > delivered:
            raise Failed(f"{different} events came, but only {delivered} are delivered")


def check_live(kind: str, end: str, command: Sequence[str], delivery: str, seed: int) -> None:
    """Let readers and consumers take turns at an engine that ends like this. Raises Failed."""
    chance = random.Random(f"{seed} {kind} {end} {delivery}")
    try:
        with _engine(kind, delivery) as live:
            if end == "expire":
                _open_for_a_moment(live)
            else:
                live.tell("register")
                live.watch(live.answer())
                for turn in range(TURNS):
                    if turn % 3 == 2:
                        live.read_with_tapring(chance.randint(1, _MOST_EVENTS))
                    else:
                        live.read_and_kill(command, chance.randint(1, _MOST_SLOTS))
            live.read_to_the_end(command, end)
            live.check_account(end)
    except Failed as failure:
        raise Failed(f"{failure} (--seed {seed})") from None


def _open_for_a_moment(live: _Live) -> None:
    """Open a session that is over at the engine's next batch, and that its reader waits for."""
    live.tell("expire")
    with tapring.capture(
        live.lane, stage=STAGE, duration=_SHORT_S, keep=True, buffer_bytes=1 << 16
    ) as session:
        address = session.addresses[0]
    expect("the kit's own engine", "offered", live.answer())
    live.watch(address.rpartition(":")[2])
    # The engine goes by what it has read, the reader by this: it may not leave before.
    fd = os.open(SHM / f"{layout.NAME_PREFIX}.{live.lane}", os.O_RDWR)
    offset = (layout.row(0) + layout.ROW_DURATION_NS) * layout.WORD
    os.pwrite(fd, _LONG_NS.to_bytes(layout.WORD, sys.byteorder), offset)
    os.close(fd)


@contextmanager
def _engine(kind: str, delivery: str) -> Iterator[_Live]:
    name = f"kit-{os.getpid()}-live"
    module = "tests.proofs.conformance.engine"
    command = [sys.executable, "-W", "ignore", "-m", module, name, kind]
    pipe = subprocess.PIPE
    engine = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=_ROOT)
    try:
        yield _Live(engine, name, kind, delivery)
    finally:
        engine.kill()
        engine.wait()
        for stream in (engine.stdin, engine.stdout):
            if stream:
                stream.close()
        sweep(name)
