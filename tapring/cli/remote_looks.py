"""``tapring ls`` of the engines on another machine, through its server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import msgspec

from ..gateway.asking import ServerError, parse_url
from ..shm.discovery import EngineInfo, EngineList, SessionInfo
from ..shm.info import StageInfo
from ..shm.listed import ListedLane, RefusedLane
from ..shm.looks import Looked
from ..shm.refusals import LaneRefused
from .remote import client_for


class LookingThere:
    """Looks at the engines of a server, as ``Looking`` does at those here.

    url: of a server, or of one of its engines. Raises click.UsageError for another.
    """

    def __init__(self, url: str) -> None:
        try:
            place = parse_url(url)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        self._client = client_for(place)
        self._path = "/api/v1/engines" + (f"/{place.address}" if place.address else "")

    def look(self, wait: Callable[[], object]) -> Looked:
        """Ask the server, which measures the rates. Raises TapError."""
        try:
            return _looked(self._client.get(self._path))
        except msgspec.ValidationError as error:
            raise ServerError(f"the server is of another version of tapring: {error}") from None


def _looked(listed: Any) -> Looked:
    """What a server lists, as ``tapring ls`` sees it."""
    found = msgspec.convert(listed, list[dict[str, Any]])
    lanes: list[EngineInfo] = []
    refused: list[LaneRefused] = []
    rates: dict[tuple[str, int], float] = {}
    children: dict[int, int] = {}
    for each in found:
        if each.get("refused"):
            lane = msgspec.convert(each, RefusedLane)
            why = lane.refused
            refused.append(LaneRefused(lane.name, lane.lane, why.reason, why.text))
            continue
        listed_lane = msgspec.convert(each, ListedLane)
        for session in listed_lane.sessions:
            if session.events_per_s is not None:
                rates[listed_lane.lane, session.id] = session.events_per_s
        children[listed_lane.pid] = listed_lane.forked_children
        lanes.append(_engine(listed_lane))
    return Looked(EngineList(lanes, refused), rates, children)


def _engine(lane: ListedLane) -> EngineInfo:
    facts = msgspec.structs.asdict(lane)
    del facts["forked_children"], facts["refused"]
    facts["stages"] = {
        each.name: StageInfo(each.name, each.kind, redact=each.redact) for each in lane.stages
    }
    facts["sessions"] = tuple(
        SessionInfo(**{name: getattr(session, name) for name in SessionInfo.__struct_fields__})
        for session in lane.sessions
    )
    return EngineInfo(**facts)
