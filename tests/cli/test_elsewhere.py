"""The stages of an engine: which one is read if none is named, and which others get events."""

from types import SimpleNamespace

import pytest

import tapring
from tapring.cli.elsewhere import Elsewhere, Opened
from tapring.consumer.opening import capture
from tapring.ended_by import EndedBy
from tapring.events.selection import Select
from tests.conftest import wait_until


@pytest.fixture
def tap(name):
    with tapring.Tap(name, stages={"audit": "json"}) as tap:
        yield tap


def offer(tap: tapring.Tap, stage: str) -> None:
    watched = tap.snapshot()
    if watched is not None:
        watched.offer(stage, [b"x"] if stage == "raw" else [{"a": 1}])


@pytest.fixture
def watching(tap):
    """What watches the stages beside a session of ``decoded``."""
    with capture(tap.name) as session:

        def open_(stage: str) -> Opened:
            return Opened(capture(tap.name, stage=stage), Select(), None)

        def watch(*, switches: bool) -> Elsewhere:
            return Elsewhere(tap.name, session, open_, switches=switches)

        yield SimpleNamespace(session=session, watch=watch)


def sessions_of(tap: tapring.Tap) -> list[str]:
    return sorted(each.stage for lane in tapring.engines(tap.name) for each in lane.sessions)


def test_another_stage_that_gets_events_is_named_and_its_session_closed(tap, watching) -> None:
    with watching.watch(switches=False) as elsewhere:
        wait_until(lambda: elsewhere.look() or len(sessions_of(tap)) == 3)
        wait_until(lambda: offer(tap, "raw") or elsewhere.look() or elsewhere.busy)
        assert elsewhere.others == ("raw",)
        assert sessions_of(tap) == ["decoded"]
        assert elsewhere.instead is None
        assert watching.session.ended_by is None


def test_nothing_is_watched_once_the_stage_gets_events(tap, watching) -> None:
    offer(tap, "decoded")
    with watching.watch(switches=True) as elsewhere:
        wait_until(lambda: offer(tap, "decoded") or watching.session.stats.offered)
        elsewhere.look()
        offer(tap, "raw")
        elsewhere.look()
        assert elsewhere.busy == ()
        assert elsewhere.instead is None
        assert sessions_of(tap) == ["decoded"]


def test_a_session_without_events_gives_way_to_a_stage_that_has_some(tap, watching) -> None:
    with watching.watch(switches=True) as elsewhere:
        wait_until(lambda: offer(tap, "raw") or elsewhere.look() or elsewhere.busy)
        # The session is told to end after a while, because decoding may take its time.
        wait_until(
            lambda: (
                elsewhere.look()
                or watching.session.read(1, timeout=0.01) is None
                or watching.session.ended_by
            )
        )
        assert watching.session.ended_by == EndedBy.CLOSED
        assert elsewhere.instead == "raw"
        with elsewhere.take("raw").session as session:
            assert session.read(1, timeout=30) == [b"x"]


def test_a_stage_whose_events_come_first_is_not_named_beside_one_that_has_some(
    tap, watching
) -> None:
    with watching.watch(switches=True) as elsewhere:
        wait_until(lambda: offer(tap, "raw") or elsewhere.look() or elsewhere.busy)
        wait_until(lambda: offer(tap, "decoded") or watching.session.stats.offered)
        assert elsewhere.others == ()
        assert elsewhere.instead is None


def test_after_an_interrupt_nothing_else_is_read(tap, watching) -> None:
    with watching.watch(switches=True) as elsewhere:
        wait_until(lambda: offer(tap, "raw") or elsewhere.look() or elsewhere.busy)
        watching.session.end(EndedBy.INTERRUPT)
        assert watching.session.read(1, timeout=30) == []
        assert elsewhere.instead is None


def test_an_engine_without_room_for_more_sessions_is_left_alone(name) -> None:
    with tapring.Tap(name, max_sessions=1) as tap, capture(name) as session:

        def open_(stage: str) -> Opened:
            return Opened(capture(name, stage=stage), Select(), None)

        with Elsewhere(name, session, open_, switches=True) as elsewhere:
            for _ in range(3):
                offer(tap, "raw")
                elsewhere.look()
            assert elsewhere.busy == ()
            assert elsewhere.unseen == ("raw",)
