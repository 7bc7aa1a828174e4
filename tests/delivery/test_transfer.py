"""A session carried into a sink: what ends it, what is kept of the failure, and what is closed."""

import errno
from types import SimpleNamespace

import pytest

from tapring.delivery.transfer import Transfer
from tapring.ended_by import EndedBy
from tapring.errors import RingCorrupt


class FakeSession:
    """Yields frames, then perhaps raises; remembers how it was closed."""

    def __init__(self, frames: int = 3, error: BaseException | None = None) -> None:
        self.ended_by = None
        self.on_idle = None
        self.handled = None
        self.limit = None
        self.final_gaps = ()
        self._frames = frames
        self._error = error

    def frames(self, *, limit: int | None):
        self.limit = limit
        for number in range(self._frames):
            yield SimpleNamespace(number=number)
        if self._error is not None:
            raise self._error
        self.on_idle()
        self.ended_by = EndedBy.ENGINE_EXIT

    def close(self, *, handled: bool) -> None:
        self.handled = handled


class FakeSink:
    """Takes frames, or fails; remembers its calls."""

    def __init__(self, path: str = "out.ndjson", **errors: BaseException) -> None:
        self.path = path
        self.calls: list[str] = []
        self.complete = None
        self._errors = errors

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self._errors:
            raise self._errors[name]

    def write(self, frame) -> None:
        self._call("write")

    def flush(self) -> None:
        self._call("flush")

    def tick(self) -> None:
        self._call("tick")

    def close(self, *, complete: bool) -> None:
        self.complete = complete
        self._call("close")


def carry(session: FakeSession, sink: FakeSink, **more) -> Transfer:
    transfer = Transfer(session, sink, **more)
    transfer.run()
    assert sink.calls[-1] == "close"
    return transfer


def test_every_frame_is_written_and_both_sides_are_closed() -> None:
    session, sink = FakeSession(), FakeSink()
    transfer = carry(session, sink, limit=7)
    assert transfer.failure is None
    assert sink.calls == ["write"] * 3 + ["tick", "close"]
    assert (session.limit, session.handled, sink.complete) == (7, True, True)
    assert session.ended_by == "engine-exit"


def test_gaps_behind_the_last_frames_are_written_once_the_session_is_closed() -> None:
    session, sink = FakeSession(), FakeSink()
    session.close = lambda handled: setattr(session, "final_gaps", ("gap", "gap"))
    carry(session, sink)
    assert sink.calls == ["write"] * 3 + ["tick", "write", "write", "close"]


def test_a_reader_that_has_gone_is_told_of_nothing_more() -> None:
    session, sink = FakeSession(), FakeSink(write=BrokenPipeError())
    session.final_gaps = ("gap",)
    carry(session, sink)
    assert sink.calls == ["write", "close"]
    assert session.ended_by == "output-closed"


def test_a_frame_is_flushed_before_the_session_releases_it() -> None:
    sink = FakeSink()
    carry(FakeSession(), sink, flush_each=True)
    assert sink.calls[:6] == ["write", "flush"] * 3


def test_progress_is_told_before_and_after_each_frame_and_while_no_frame_is_there() -> None:
    sink = FakeSink()
    progress = SimpleNamespace(
        make_way=lambda: sink.calls.append("make way"), update=lambda: sink.calls.append("update")
    )
    carry(FakeSession(), sink, progress=progress)
    assert sink.calls == [*["make way", "write", "update"] * 3, "tick", "update", "close"]


@pytest.mark.parametrize(
    "error", [RingCorrupt("bad"), OSError(errno.ENOSPC, "full"), MemoryError(), ValueError("x")]
)
def test_a_failure_is_kept_and_nothing_counts_as_handled(error) -> None:
    session, sink = FakeSession(), FakeSink(write=error)
    assert carry(session, sink).failure is error
    assert (session.ended_by, session.handled, sink.complete) == ("error", False, False)


def test_a_failure_of_the_session_leaves_what_was_written_incomplete() -> None:
    session, sink = FakeSession(error=RingCorrupt("bad")), FakeSink()
    assert isinstance(carry(session, sink).failure, RingCorrupt)
    assert (session.ended_by, sink.complete) == ("error", False)


def test_the_first_failure_is_the_one_that_is_kept() -> None:
    first, second = OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken")
    assert carry(FakeSession(), FakeSink(write=first, close=second)).failure is first


@pytest.mark.parametrize(("path", "filename"), [("out.gz", "out.gz"), ("-", None)])
def test_an_error_without_a_name_gets_that_of_the_output(path, filename) -> None:
    failure = carry(FakeSession(), FakeSink(path, close=OSError(errno.EIO, "broken"))).failure
    assert failure.filename == filename


def test_a_reader_that_left_is_an_end_and_no_failure() -> None:
    session, sink = FakeSession(), FakeSink(write=BrokenPipeError())
    assert carry(session, sink).failure is None
    assert (session.ended_by, session.handled, sink.complete) == ("output-closed", True, True)


def test_an_interrupt_is_an_end_and_no_failure() -> None:
    session, sink = FakeSession(error=KeyboardInterrupt()), FakeSink()
    assert carry(session, sink).failure is None
    assert (session.ended_by, sink.complete) == ("interrupt", True)


def test_an_error_that_is_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        Transfer(FakeSession(error=ZeroDivisionError()), FakeSink()).run()
