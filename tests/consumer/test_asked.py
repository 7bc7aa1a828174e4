"""What a session asks of each lane, by standing requests and as it opens one itself."""

import os

import pytest

import tapring
from tapring.consumer.asked import Asked, Requests, open_session
from tapring.errors import EngineNotFound
from tapring.events.redaction import Redactor
from tapring.events.sieve import Sieves
from tapring.shm.registry import Registry
from tapring.shm.requests import ALL_STAGES
from tapring.wire.layout import Owner


@pytest.fixture
def requests(name):
    made = Requests(Asked("raw").request(name))
    yield made
    made.withdraw()


def test_a_request_asks_for_what_the_sessions_of_the_lanes_there_are_asked_for() -> None:
    asked = Asked("raw", 1.5, 4096, Owner.CONSUMER, 3).request("shop")
    assert (asked.engines, asked.stage, asked.sample) == ("shop", "raw", 3)
    assert (asked.duration_ns, asked.buffer_bytes) == (1_500_000_000, 4096)
    assert (
        Asked("raw").request("shop").duration_ns == Asked("raw").request("shop").buffer_bytes == 0
    )


def test_each_user_is_asked_once(requests) -> None:
    assert requests.publish()
    assert not requests.publish([os.geteuid()])


def test_a_lane_that_has_ended_without_a_session_is_not_opened(name) -> None:
    with tapring.Tap(name) as tap:
        registry = Registry.attach(name, tap.lane)
    with registry, pytest.raises(EngineNotFound, match="just ended"):
        open_session(registry, Asked("raw"), None, None)


def test_of_a_request_for_all_stages_the_row_of_each_stage_is_found(name) -> None:
    requests = Requests(Asked(ALL_STAGES).request(name))
    requests.publish()
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        rows = [requests.row_in(registry, stage) for stage in (0, 1, 2)]
        assert [row and row.stage for row in rows] == [0, 1, None]
        requests.withdraw()
        requests.withdraw()
        assert requests.row_in(registry) is None


def test_a_lane_that_could_not_grant_a_request_is_known_for_each_stage(name) -> None:
    """The lane is told once that its consumer knows: it forgets it then."""
    requests = Requests(Asked(ALL_STAGES).request(name))
    requests.publish()
    with (
        tapring.Tap(name, max_sessions=1) as tap,
        Registry.attach(name, tap.lane) as registry,
    ):
        assert registry.table.denied()
        assert requests.were_denied_by(registry, 1.0)
        assert not registry.table.denied()
        assert requests.were_denied_by(registry, 1.0)
        requests.withdraw()


def test_a_stage_that_a_lane_need_not_have_is_left_out(name) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        assert open_session(registry, Asked("flow", optional=True), None, None) is None
        with pytest.raises(tapring.StageNotFound, match="no stage 'flow'"):
            open_session(registry, Asked("flow"), None, None)


def test_events_that_cannot_pass_the_sieve_are_refused_before_a_session_is_open(name) -> None:
    asked = Asked("blobs", sieves=Sieves(redact=Redactor("a")))
    with (
        tapring.Tap(name, stages={"blobs": "bytes"}) as tap,
        Registry.attach(name, tap.lane) as registry,
    ):
        with pytest.raises(ValueError, match="holds bytes"):
            open_session(registry, asked, None, None)
        with pytest.raises(tapring.StageNotFound, match="cannot be read as asked.*holds bytes"):
            open_session(registry, asked, None, None, joins=True)
        assert registry.table.rows() == []


def test_what_a_lane_has_opened_is_taken_though_its_table_is_held(requests, name) -> None:
    """By a stopped process, say: the lane's frames are read meanwhile."""
    requests.publish()
    with (
        tapring.Tap(name) as tap,
        Registry.attach(name, tap.lane) as holder,
        Registry.attach(name, tap.lane) as registry,
    ):
        with holder.table.held(1):
            attachment = open_session(registry, Asked("raw"), requests, None, joins=True)
        requests.withdraw()
        attachment.close()
