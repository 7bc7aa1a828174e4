"""Prometheus metrics of the engines on this machine, read from their segments at each scrape.

A scrape looks and leaves no trace: it opens no session, removes nothing, and writes nothing. It
keeps nothing either, so whatever has ended has no series in the next scrape.

A session's counters carry its id as a label, although each new session then makes new series. Added
up over sessions, a counter would fall whenever a session ends. Prometheus takes a fall for a
restart from zero, and would count all that is left once more. With its id, each session is a series
that only grows and then ends, and ``sum by (engine, stage) (rate(...))`` is right. An id is never
used twice in a lane, and a lane's id never again.

What needs prometheus_client stands in this module alone: import it only to serve metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from .._version import __version__
from ..literals import RefusalReason
from ..shm.discovery import EngineInfo, RecorderInfo, SessionInfo, engines, recorders_of
from ..shm.evidence import DeadLane, dead_lanes
from ..shm.refusals import LaneRefused
from .tally import Tally, TallyCollector

Family = CounterMetricFamily | GaugeMetricFamily
Of = TypeVar("Of")

_PREFIX: Final = "tapring_"
_TOTAL: Final = "_total"
_UNITS: Final = ("bytes", "events", "ratio", "seconds")
_NS: Final = 1e9
_LANE_LABELS: Final = ("engine", "lane")
_STAGE_LABELS: Final = (*_LANE_LABELS, "stage")
_SESSION_LABELS: Final = (*_STAGE_LABELS, "session")
# Each is there from the start, at 0, so that an alert sees the first refusal as a change.
_REASONS: Final[tuple[RefusalReason, ...]] = ("damaged", "no-memory", "not-permitted", "version")
_ENDED: Final = {True: "exited", False: "died"}  # by ``DeadLane.closed``


@dataclass(frozen=True, slots=True)
class _Metric(Generic[Of]):
    """One metric, without the prefix, and its value of a lane, session or recorder.

    A name that ends in ``_total`` is a counter. ``of`` returns None if there is no value.
    """

    name: str
    help: str
    of: Callable[[Of], float | None]

    def family(self, labels: Sequence[str], seen: Iterable[tuple[Sequence[str], Of]]) -> Family:
        """Return the values of all that was seen, each with the values of its labels."""
        made = _family(self.name, self.help, labels)
        for place, each in seen:
            value = self.of(each)
            if value is not None:
                made.add_metric(place, value)
        return made


_LANE: Final[tuple[_Metric[EngineInfo], ...]] = (
    _Metric("lane_up", "1 while the lane, a process of the engine, runs.", lambda _: 1),
    _Metric("lane_uptime_seconds", "How long ago the lane started.", lambda lane: lane.uptime_s),
    _Metric(
        "lane_cost_ratio",
        "Share of the engine's time that its tap takes, over the last 0.1 s that was watched.",
        lambda lane: lane.share,
    ),
    _Metric(
        "lane_budget_ratio",
        "Highest share of its time that the engine allows; absent without a limit.",
        lambda lane: lane.budget,
    ),
    _Metric(
        "lane_batch_seconds",
        "Engine time per batch for the offers to all stages, while a session is open.",
        lambda lane: lane.batch_ns / _NS,
    ),
    _Metric(
        "lane_idle_batch_seconds",
        "Engine time per batch while no session is open.",
        lambda lane: lane.idle_ns / _NS,
    ),
    _Metric("lane_sessions", "Open sessions.", lambda lane: len(lane.sessions)),
    _Metric("lane_max_sessions", "Most sessions at a time.", lambda lane: lane.max_sessions),
    _Metric(
        "lane_max_duration_seconds",
        "How long the engine lets a session last.",
        lambda lane: lane.max_duration_s,
    ),
    _Metric(
        "lane_max_buffer_bytes",
        "Largest ring that a consumer may ask for.",
        lambda lane: lane.max_buffer_bytes,
    ),
    _Metric(
        "lane_faults_total",
        "Sessions that the engine evicted or refused because their ring or row was damaged.",
        lambda lane: lane.faults,
    ),
    _Metric(
        "lane_misuse_total",
        "Offers that were ignored: to unknown stages, or of something that is not a batch.",
        lambda lane: lane.misuse,
    ),
)

_SESSION: Final[tuple[_Metric[SessionInfo], ...]] = (
    _Metric(
        "session_offered_events_total",
        "Events offered to the session: captured, dropped, oversize and error events.",
        lambda session: session.offered,
    ),
    _Metric(
        "session_captured_events_total",
        "Events written into the ring.",
        lambda session: session.captured,
    ),
    _Metric(
        "session_delivered_events_total",
        "Events that a consumer has taken out of the ring.",
        lambda session: session.released,
    ),
    _Metric(
        "session_dropped_events_total",
        "Events lost because the ring was full.",
        lambda session: session.dropped,
    ),
    _Metric(
        "session_oversize_events_total",
        "Events lost because they are larger than the whole ring.",
        lambda session: session.oversize,
    ),
    _Metric(
        "session_error_events_total",
        "Events lost because they could not be serialized.",
        lambda session: session.errors,
    ),
    _Metric(
        "session_sampled_out_events_total",
        "Events in batches that the session's sampling left out; never offered.",
        lambda session: session.sampled_out,
    ),
    _Metric(
        "session_skipped_events_total",
        "Events in batches skipped to keep the engine within its budget; never offered.",
        lambda session: session.shed,
    ),
    _Metric("session_fill_ratio", "How full the ring is, 0 to 1.", lambda session: session.fill),
    _Metric("session_buffer_bytes", "Size of the ring.", lambda session: session.buffer_bytes),
    _Metric(
        "session_served_ratio",
        "Share of its batches that the session is offered; the budget skips the others.",
        lambda session: session.served,
    ),
    _Metric(
        "session_batch_seconds",
        "Engine time per batch that the session is offered.",
        lambda session: session.cost_ns / _NS,
    ),
    _Metric(
        "session_age_seconds", "How long ago the session was opened.", lambda session: session.age_s
    ),
    _Metric("session_read", "1 if a consumer reads the session now.", lambda session: session.read),
)

_RECORDER: Final[tuple[_Metric[RecorderInfo], ...]] = (
    _Metric(
        "recorder_buffer_bytes",
        "Size of the recorder's ring.",
        lambda recorder: recorder.buffer_bytes,
    ),
    _Metric(
        "recorder_captured_events_total",
        "Events that the recorder has written.",
        lambda recorder: recorder.captured,
    ),
    _Metric(
        "recorder_overwritten_events_total",
        "Recorded events that newer ones have replaced.",
        lambda recorder: recorder.overwritten,
    ),
    _Metric(
        "recorder_dropped_events_total",
        "Events that an interrupted offer kept from being recorded.",
        lambda recorder: recorder.dropped,
    ),
    _Metric(
        "recorder_oversize_events_total",
        "Events not recorded because they are larger than the whole ring.",
        lambda recorder: recorder.oversize,
    ),
    _Metric(
        "recorder_error_events_total",
        "Events not recorded because they could not be serialized.",
        lambda recorder: recorder.errors,
    ),
    _Metric(
        "recorder_skipped_events_total",
        "Events not recorded, to keep the engine within its budget.",
        lambda recorder: recorder.shed,
    ),
)


class EngineCollector:
    """What prometheus_client collects: every metric of every engine that can be read.

    allows: tells of an engine's name whether to show it, its refused lanes and its dead ones; None
    shows all. Any number of threads may collect at a time.
    """

    def __init__(self, allows: Callable[[str], bool] | None = None) -> None:
        self._allows = allows

    def collect(self) -> Iterable[Metric]:
        """Look at all engines; return every metric.

        Raises SharedMemoryFull if this process cannot look at all, because it may not open more
        files, say. That scrape then fails, which Prometheus shows as ``up == 0``: values that are
        missing without a reason would look as if the engines were gone.
        """
        began = perf_counter()
        listing = engines(sweep=False, patience_s=0.0)
        dead = dead_lanes()
        families = [
            *_lane_families([each for each in listing if self._shows(each.name)]),
            _refusals("lanes_refused", "Lanes that cannot be read.", self._shown(listing.refused)),
            *_dead_families([each for each in dead if self._shows(each.engine)]),
            _refusals(
                "dead_lanes_refused",
                "Dead lanes of which a recording cannot be read.",
                self._shown(dead.refused),
            ),
            InfoMetricFamily(f"{_PREFIX}build", "Tapring itself.", {"version": __version__}),
        ]
        took = _family("scrape_seconds", "How long looking at all of this took.", ())
        took.add_metric((), perf_counter() - began)
        return [*families, took]

    def _shown(self, refused: Iterable[LaneRefused]) -> list[LaneRefused]:
        return [each for each in refused if self._shows(each.engine)]

    def _shows(self, engine: str) -> bool:
        return self._allows is None or self._allows(engine)


def registry(
    allows: Callable[[str], bool] | None = None, tally: Tally | None = None
) -> CollectorRegistry:
    """Return a registry that has an EngineCollector, and nothing of prometheus_client's own.

    tally: of the server whose metrics these are.
    """
    made = CollectorRegistry()
    made.register(EngineCollector(allows))
    if tally is not None:
        made.register(TallyCollector(tally))
    return made


def text(of: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """Collect; return the exposition and its content type.

    accept: the Accept header of the request: OpenMetrics for those who ask for it, and otherwise
    Prometheus' text format. Raises as ``EngineCollector.collect`` does.
    """
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it asks for a version that is not a number
        encode, content_type = choose_encoder("")
    return encode(of), content_type


def _family(name: str, text: str, labels: Sequence[str]) -> Family:
    """A family without values yet: of a counter if its name ends in ``_total``."""
    bare = name.removesuffix(_TOTAL)
    kind = GaugeMetricFamily if bare == name else CounterMetricFamily
    unit = bare.rpartition("_")[2]
    return kind(_PREFIX + bare, text, labels=labels, unit=unit if unit in _UNITS else "")


def _lane_families(lanes: Sequence[EngineInfo]) -> Iterator[Metric]:
    """What there is of lanes, their stages, sessions and recorders."""
    by_lane = [((lane.name, lane.lane), lane) for lane in lanes]
    by_session = [
        ((lane.name, lane.lane, each.stage, str(each.id)), each)
        for lane in lanes
        # By its id: a damaged table may hold one twice, and no series may come twice.
        for each in {each.id: each for each in lane.sessions}.values()
    ]
    by_recorder = [
        ((lane.name, lane.lane, each.stage), each) for lane in lanes for each in recorders_of(lane)
    ]
    kinds = [
        ((*place, stage.name), {"kind": stage.kind})
        for place, lane in by_lane
        for stage in lane.stages.values()
    ]
    pids = [(place, {"pid": str(lane.pid)}) for place, lane in by_lane]
    owners = [(place, {"owner": each.owner}) for place, each in by_session]
    yield _info("lane", "A lane, and its process.", _LANE_LABELS, pids)
    yield from [metric.family(_LANE_LABELS, by_lane) for metric in _LANE]
    yield _info("stage", "A stage of a lane, and its kind.", _STAGE_LABELS, kinds)
    yield _info("session", "A session, and who opened it.", _SESSION_LABELS, owners)
    yield from [metric.family(_SESSION_LABELS, by_session) for metric in _SESSION]
    yield from [metric.family(_STAGE_LABELS, by_recorder) for metric in _RECORDER]


def _dead_families(lanes: Sequence[DeadLane]) -> tuple[Metric, Metric]:
    count = _family("dead_lanes", "Dead lanes that have left recordings.", ("engine", "ended"))
    size = _family(
        "dead_lanes_bytes", "Shared memory that the recordings of dead lanes take.", ("engine",)
    )
    ends = Counter((each.engine, _ENDED[each.closed]) for each in lanes)
    for place, number in ends.items():
        count.add_metric(place, number)
    sizes: Counter[str] = Counter()
    for each in lanes:
        sizes[each.engine] += each.bytes
    for engine, number in sizes.items():
        size.add_metric((engine,), number)
    return count, size


def _refusals(name: str, text: str, refused: Iterable[LaneRefused]) -> Metric:
    """How many were refused, by the reason.

    Neither names nor texts become labels: any user may put a file of any name into /dev/shm.
    """
    made = _family(name, text, ("reason",))
    counts = Counter(dict.fromkeys(_REASONS, 0))
    counts.update(each.reason for each in refused)
    for reason, number in counts.items():
        made.add_metric((reason,), number)
    return made


def _info(
    name: str,
    text: str,
    labels: Sequence[str],
    seen: Iterable[tuple[Sequence[str], dict[str, str]]],
) -> Metric:
    made = InfoMetricFamily(_PREFIX + name, text, labels=labels)
    for place, facts in seen:
        made.add_metric(place, facts)
    return made
