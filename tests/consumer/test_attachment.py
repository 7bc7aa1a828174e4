"""One ring that a session reads: what ended it, and what remains of it afterwards."""

import os

import pytest

import tapring
from tapring.consumer.attachment import Attachment
from tapring.ended_by import EndedBy
from tapring.shm.registry import Registry
from tapring.shm.segment import names, unlink
from tapring.wire.layout import Ended


@pytest.fixture
def tap(name):
    with tapring.Tap(name, max_duration=100) as tap:
        yield tap


@pytest.fixture
def attach(name, tap):
    """Attach to a registered session, as ``attach_session`` would."""
    attached = []

    def start(handle, *, owned: bool = False) -> Attachment:
        registry = Registry.attach(name, tap.lane)
        (row,) = [row for row in registry.table.rows() if row.id == handle.id]
        try:
            attachment = Attachment(registry, row, owned=owned)
        except BaseException:
            registry.close()
            raise
        attached.append(attachment)
        return attachment

    yield start
    for each in attached:
        each.close()


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (Ended.CLOSED, EndedBy.CLOSED),
        (Ended.EXPIRED, EndedBy.EXPIRED),
        (Ended.EVICTED, EndedBy.EVICTED),
        (Ended.ENGINE_EXIT, EndedBy.ENGINE_EXIT),
    ],
)
def test_the_engine_says_in_the_ring_why_it_ended(tap, attach, monkeypatch, ended, reason) -> None:
    attachment = attach(tap.register("raw"))
    assert attachment.ended_by() is None
    monkeypatch.setattr(type(attachment.reader), "ended", lambda _: ended)
    assert attachment.ended_by() == reason


def test_an_engine_that_closes_has_exited(tap, attach) -> None:
    attachment = attach(tap.register("raw"))
    tap.close()
    assert attachment.ended_by() == EndedBy.ENGINE_EXIT


def test_an_engine_that_is_not_alive_and_has_not_closed_has_died(tap, attach, monkeypatch) -> None:
    attachment = attach(tap.register("raw"))
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "engine_is_alive", lambda _: False)
        assert attachment.ended_by() == EndedBy.ENGINE_DEATH


def test_it_ends_at_its_own_duration_or_the_engines_whichever_is_shorter(tap, attach) -> None:
    short, longest = attach(tap.register("raw", duration=5)), attach(tap.register("raw"))
    assert short.ends_ns() - short.row.opened_ns == 5 * 10**9
    assert longest.ends_ns() - longest.row.opened_ns == 100 * 10**9


def test_a_ring_that_is_missing_is_corrupt_while_its_engine_runs(tap, attach, name) -> None:
    handle = tap.register("raw")
    unlink(f"tapring.{name}.{tap.lane}.{handle.id}")
    with pytest.raises(tapring.RingCorrupt, match="is missing"):
        attach(handle)


def test_only_an_owned_session_goes_with_its_consumer(tap, attach, name) -> None:
    for owned in (False, True):
        attachment = attach(tap.register("raw"), owned=owned)
        assert attachment.registry.table.is_open(attachment.row)
        attachment.free()
        assert attachment.registry.table.is_open(attachment.row) is not owned
    assert len(names(f"tapring.{name}.")) >= 2, "the session that is not owned goes on"


def test_a_child_that_detaches_frees_nothing(tap, attach) -> None:
    attachment = attach(tap.register("raw"), owned=True)
    pid = os.fork()
    if pid == 0:
        attachment.detach()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert attachment.registry.table.is_open(attachment.row)
