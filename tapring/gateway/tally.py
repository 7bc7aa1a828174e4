"""What the server itself has done: its streams, and what they have sent and lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class Counting(Protocol):
    """A response that is being sent."""

    @property
    def events(self) -> int:
        """The events that it has sent."""

    @property
    def lost(self) -> int:
        """The events that it should have sent, and that were lost."""


class Tally:
    """Counts over all responses. ``opened``: how many there were."""

    def __init__(self) -> None:
        self.opened: int = 0
        self._events = 0
        self._lost = 0
        self._running: set[Counting] = set()

    @contextmanager
    def one(self, response: Counting) -> Iterator[None]:
        """Count a response while the block lasts, and what it came to afterwards."""
        self.opened += 1
        self._running.add(response)
        try:
            yield
        finally:
            self._running.discard(response)
            self._events += response.events
            self._lost += response.lost

    @property
    def active(self) -> int:
        """How many responses there are."""
        return len(self._running)

    @property
    def events(self) -> int:
        """The events that were sent."""
        return self._events + sum(each.events for each in tuple(self._running))

    @property
    def lost(self) -> int:
        """The events that were lost on their way to a client, or withheld from it."""
        return self._lost + sum(each.lost for each in tuple(self._running))


class TallyCollector:
    """What prometheus_client collects of a Tally."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterable[Metric]:
        """Return every metric."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        tally = self._tally
        opened = "Streams and dumps that this server has begun to send."
        yield CounterMetricFamily("tapring_tap_sessions", opened, tally.opened)
        active = "Streams and dumps that this server is sending."
        yield GaugeMetricFamily("tapring_tap_active_sessions", active, tally.active)
        streamed = "Events that this server has sent."
        yield CounterMetricFamily("tapring_tap_events_streamed", streamed, tally.events)
        dropped = "Events that this server's streams have lost, or withheld."
        yield CounterMetricFamily("tapring_tap_events_dropped", dropped, tally.lost)
