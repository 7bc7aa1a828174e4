"""The server's own counts: of every response, while it runs and afterwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tapring.gateway.tally import Tally, TallyCollector
from tests.conftest import wait_until


class Sending:
    """A response that has sent and lost so many events."""

    def __init__(self) -> None:
        self.events = 0
        self.lost = 0


@given(st.lists(st.tuples(st.sampled_from("oecs"), st.integers(0, 9)), max_size=30))
def test_nothing_is_counted_twice_or_forgotten(steps) -> None:
    tally = Tally()
    running: list = []
    opened = sent = lost = 0
    for step, number in steps:
        if step == "o":
            response = Sending()
            running.append((response, tally.one(response)))
            running[-1][1].__enter__()
            opened += 1
        elif running and step == "e":
            running[0][0].events += number
            sent += number
        elif running and step == "s":
            running[-1][0].lost += number
            lost += number
        elif running:
            running.pop()[1].__exit__(None, None, None)
        assert (tally.opened, tally.active) == (opened, len(running))
        assert (tally.events, tally.lost) == (sent, lost)


def test_the_four_metrics_are_there_from_the_start() -> None:
    names = {each.name for each in TallyCollector(Tally()).collect()}
    assert names == {
        "tapring_tap_sessions",
        "tapring_tap_active_sessions",
        "tapring_tap_events_streamed",
        "tapring_tap_events_dropped",
    }


def test_a_server_counts_its_streams(serve, engine, name) -> None:
    engine(name)
    server = serve()

    def value(metric: str) -> float:
        text = server.get("/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == metric:
                    return sample.value
        raise AssertionError(text)

    server.get(f"/api/v1/tap/{name}?limit=25")
    wait_until(lambda: value("tapring_tap_active_sessions") == 0)
    assert value("tapring_tap_sessions_total") == 1
    assert value("tapring_tap_events_streamed_total") == 25
    with server.open(f"/api/v1/tap/{name}") as response:
        assert response.readline()
        wait_until(lambda: value("tapring_tap_events_streamed_total") > 25)
        assert value("tapring_tap_active_sessions") == 1
