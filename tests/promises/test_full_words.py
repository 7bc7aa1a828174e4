"""Words of shared memory that are full: the engine goes on, and who reads them gets an answer.

No word gets there by counting. One that is damaged may, and sums of such words are larger than any
reader of MessagePack, and most readers of JSON, can hold.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
import pytest
from click.testing import CliRunner

import tapring
from tapring.cli import ls, summary
from tapring.delivery.report import Report
from tapring.events.selection import Select
from tapring.files.writing import open_sink
from tapring.shm.names import segment_name
from tapring.wire import layout
from tapring.wire.ledger import COUNTER_WORDS
from tests.conftest import SHM
from tests.helpers import offer, put_word
from tests.wire.protocol import TEXT, rows

VALUES = {"full": layout.MAX_WORD, "one below": layout.MAX_WORD - 1, "half": 1 << 63}


def every_word() -> list[tuple[str, str, int]]:
    """Each word of the protocol: the segment it is in, its name, and its index there."""
    found = []
    for heading, (offset, name, *_) in rows(TEXT, "offset", "word"):
        segment = "ring" if heading.startswith("Ring") else "registry"
        word = int(offset) // layout.WORD
        if heading.startswith("Session row"):
            word += layout.row(0)
        found.append((segment, name, word))
    return [*found, ("registry", "verdict", layout.verdict(0))]


WORDS = every_word()


def tells(ask: Callable[[], object]) -> None:
    """Assert that ``ask`` raises a TapError, or answers numbers that a word could hold."""
    with suppress(tapring.TapError):
        answer = msgspec.to_builtins(ask())
        impossible = [n for n in numbers(answer) if not 0 <= n <= layout.MAX_WORD]
        assert not impossible, answer


def numbers(answer: object) -> Iterator[float]:
    if isinstance(answer, dict | list | tuple):
        for each in answer.values() if isinstance(answer, dict) else answer:
            yield from numbers(each)
    elif isinstance(answer, int | float):
        yield answer


def remove(name: str) -> None:
    """Remove what a damaged registry no longer names."""
    for path in SHM.glob(f"*tapring.{name}.*"):
        path.unlink()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize(
    ("segment", "word"),
    [(segment, word) for segment, _, word in WORDS],
    ids=[f"{segment} {name}" for segment, name, _ in WORDS],
)
def test_a_full_word_stops_no_engine_and_every_reader_gets_an_answer(
    name, segment, word, value
) -> None:
    with tapring.Tap(name, max_sessions=2) as tap:
        session, other = tapring.capture(name, stage="raw"), tap.register("raw")
        offer(tap, "raw", [b"a"] * 3)
        where = segment_name(name, tap.lane, session.id if segment == "ring" else None)
        put_word(where, word, value)

        tells(lambda: tapring.engines(name, sweep=False))
        listed = CliRunner().invoke(ls.command, [name, "--interval", "0"])
        assert listed.exception is None or isinstance(listed.exception, SystemExit)
        tells(lambda: tapring.attach_session(name, session.id).close())
        for ask in (
            lambda: session.stats,
            lambda: session.remaining_s,
            lambda: session.fill,
            lambda: len(session.read(2, timeout=0)),
            lambda: session.stats,
        ):
            tells(ask)

        for _ in range(3):
            offer(tap, "raw", [b"b"])
        assert (other.captured, other.offered) == (6, 6), "it costs another session nothing"
        assert tap.faults < 2
        assert tap.misuse == 0
        tells(lambda: tap.cost)
        tells(lambda: len(session.read(9, timeout=0)))
        tells(session.close)
        tells(lambda: session.stats)
        other.close()
    remove(name)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_full_counters_of_several_lanes_add_up_to_what_a_word_can_hold(
    name, value, tmp_path
) -> None:
    page = layout.CONSUMER_PAGE // layout.WORD
    with tapring.Tap(name) as one, tapring.Tap(name) as two, tapring.Tap(name) as three:
        session = tapring.capture(name, stage="raw")
        for tap in (one, two, three):
            offer(tap, "raw", [b"a"] * 3)
        assert session.read(2, timeout=0) == [b"a"] * 2
        sink = open_sink(str(tmp_path / "capture.log"), None, kind="lines")
        report = Report(session, Select(), None, sink)
        for words in (COUNTER_WORDS.values(), [page + layout.ABANDONED], [page + layout.RELEASED]):
            for lane, number in zip(session.lanes, session.ids, strict=True):
                for word in words:
                    put_word(segment_name(name, lane, number), word, value)
            assert_told(report)
        tells(session.close)
        assert_told(report)
        sink.close()


def assert_told(report: Report) -> None:
    tells(report.facts)
    for style in ("json", "text"):
        summary.show(report, style)
