"""Plausible bugs of standing requests. The explorer must find each one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tapring.consumer.asked import Requests
from tapring.engine import lane
from tapring.errors import TapError
from tapring.shm import granting, sweep
from tapring.shm.info import LaneInfo
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment
from tapring.shm.table import Table
from tapring.wire import layout

from .join_scenarios import JoinScenario
from .recording import replaced
from .turns import Bounds


@dataclass(frozen=True)
class PlantedJoin:
    """A bug, what of the code it replaces, a scenario in which it shows, the property it breaks."""

    name: str
    owner: Any
    function: str
    has: Any
    scenario: JoinScenario
    breaks: str

    def with_bug(self) -> JoinScenario:
        """The scenario, with the bug."""
        return replace(self.scenario, bug=partial(replaced, (self.owner, self.function, self.has)))


_create: Callable[[LaneInfo, float | None], Registry] = Registry.create
_publish = Requests.publish


@classmethod  # type: ignore[misc]
def _looks_before_it_has_a_name(
    cls: type[Registry], info: LaneInfo, budget: float | None = None
) -> Registry:
    found = granting.requests_for(info.engine)
    with replaced((granting, "requests_for", lambda _: found)):
        return _create(info, budget)


def _only_after_listing(requests: Requests, owners: Any = None) -> bool:
    return bool(owners) and _publish(requests, owners)


def _without_its_lock(name: str, dry_run: bool, own: bool) -> list[sweep.Removed]:
    with suppress(TapError, FileNotFoundError), Segment.attach(name, own=own) as segment:
        if not segment.is_locked(layout.LOCK_REQUEST):
            return sweep._remove([name], "its consumer has died", dry_run, own=own)
    return []


def _in(*scripts: str, stops: int = 1) -> JoinScenario:
    return JoinScenario("planted", scripts, Bounds(stops=stops))


UNSEEN = "every_lane_is_seen_from_its_start"
LOST = "no_batch_of_a_lane_is_unseen"
LEFT = "nothing_is_left_in_shared_memory"
PLANTED = [
    PlantedJoin(
        "a lane looks for requests before it has a name",
        *(Registry, "create", _looks_before_it_has_a_name),
        *(_in("capture", "lane stay"), UNSEEN),
    ),
    PlantedJoin(
        "a consumer lists the lanes before it publishes",
        *(Requests, "publish", _only_after_listing),
        *(_in("capture", "lane stay"), UNSEEN),
    ),
    PlantedJoin(
        "a sweep removes a request without its lock",
        *(sweep, "_sweep_request", _without_its_lock),
        *(_in("capture", "lane stay", stops=2), UNSEEN),
    ),
    PlantedJoin(
        "a sweep removes a lane that is awaited",
        *(sweep, "_is_awaited", lambda *_: False),
        *(_in("capture", "lane die", "sweep"), LOST),
    ),
    PlantedJoin(
        "a lane that exits takes what is awaited with it",
        *(Table, "awaited_rows", lambda _: []),
        *(_in("capture", "lane exit"), LOST),
    ),
    PlantedJoin(
        "a lane that has left something does not look again",
        *(lane, "sweep_lane", lambda *_, **__: None),
        *(_in("capture close", "lane exit", stops=2), LEFT),
    ),
]
