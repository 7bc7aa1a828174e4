"""The sessions that a capture begins with: one on each lane that there is, for each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic_ns
from typing import Final

from msgspec.structs import replace

from ..errors import EngineNotFound, NotRecorded, SessionBusy, SharedMemoryFull, TapError
from ..in_any_case import do_all
from ..shm.discovery import Lanes, find
from ..shm.names import matches
from ..shm.refusals import LaneRefused, error_for, refusal
from ..shm.registry import Registry
from ..shm.requests import ALL_STAGES
from ..shm.room import check_room, fair_share
from ..wire import layout
from .asked import Asked, Requests, open_session
from .attachment import Attachment
from .joining import Following
from .past_ring import HOW
from .stages import Stages

_NS: Final = 1_000_000_000
_FIND_POLL_S: Final = 0.05
OnWait = Callable[[], object]


class Beginning:
    """Opens the sessions of a capture.

    lane: only this one of the engine's. stages: of which stages, or ``ALL_STAGES`` alone. asked:
    what is asked of each lane, besides the stage. joins: lanes that start later are part of it.
    ``refused``: the lanes that cannot be read, and why.
    """

    def __init__(
        self, engine: str, lane: str | None, stages: tuple[str, ...], asked: Asked, *, joins: bool
    ) -> None:
        self.refused: list[LaneRefused] = []
        self._engine = engine
        self._lane = lane
        self._stages = stages
        self._asked = {each: replace(asked, stage=each) for each in stages}
        self._requests: dict[str, Requests] = {}
        if joins:
            wanted = {each: asked.request(engine) for each, asked in self._asked.items()}
            self._requests = {each: Requests(request) for each, request in wanted.items()}
        self._seen: list[tuple[str, str]] = []
        self._first: dict[str, Attachment] = {}
        self._attachments: list[Attachment] = []
        self._busy: dict[str, SessionBusy] = {}

    def open(self, wait: float, on_wait: OnWait | None = None) -> list[Attachment]:
        """Open them; wait so many seconds for the first lane. Returns what was opened.

        on_wait: see ``find_lanes``.

        Raises if no lane can be read, or none of one of the stages.
        """
        with suppress(SharedMemoryFull):  # raised below, unless there is no engine
            self._publish()  # before the lanes are listed: see ``requests``
        began_ns = monotonic_ns()
        lanes, waited = find_lanes(
            self._engine, self._lane, wait, self._has_opened_for_this, on_wait
        )
        self.refused += lanes.refused
        if not matches(lanes.registries[0].info.engine, self._engine):
            self._withdraw()  # the address is the pid of one process
        try:
            self._publish(lanes.registries)
            self._know_stages(lanes.registries)
        except BaseException:
            _detach(lanes.registries)
            raise
        self._seen = [(each.info.engine, each.info.lane) for each in lanes.registries]
        found: list[Registry] | None = lanes.registries
        for stage in self._asked:
            registries = self._again() if found is None else found
            found = None
            self._open_stage(stage, registries)
        self._seen += [(each.engine, each.lane) for each in lanes.refused]
        if not self._attachments:
            if self.refused:
                raise error_for(self.refused)
            raise EngineNotFound(f"the engine {self._engine} has just ended")
        self._check_recorded()
        for each in self._attachments if waited else ():
            each.note_beginning(began_ns)
        return self._attachments

    def _check_recorded(self) -> None:
        """Raise NotRecorded if the past is asked for, and no lane has recorded what is read."""
        missing = [each.no_past for each in self._attachments if each.no_past is not None]
        if missing and len(missing) == len(self._attachments):
            raise NotRecorded(f"{missing[0].problem}. An engine records with {HOW}")

    def following(self, linger_ns: float) -> Following | Stages | None:
        """Return what finds the lanes that join; None if none may."""
        if not self._requests:
            return None
        of_all = self._requests.get(ALL_STAGES)

        def follow(stage: str, met: Callable[[Registry], object] = _ignore) -> Following:
            return Following(
                of_all or self._requests[stage],
                self._asked.get(stage) or self._optional(stage),
                self._seen if stage in self._asked else (),
                self._first.get(stage),
                linger_ns,
                met,
            )

        if of_all is None and len(self._asked) == 1:
            return follow(next(iter(self._asked)))
        return Stages(tuple(self._asked), follow, open_ended=of_all is not None)

    def undo(self) -> None:
        """End the sessions, and take the requests back.

        A Session that was made of them may have been destroyed by now, and so have closed them.
        """
        do_all([*(each.end for each in self._attachments), self._withdraw])

    def _publish(self, registries: Sequence[Registry] = ()) -> None:
        for each in self._requests.values():
            each.publish([registry.segment.owner for registry in registries])

    def _withdraw(self) -> None:
        for each in self._requests.values():
            each.withdraw()
        self._requests = {}

    def _has_opened_for_this(self, registry: Registry) -> bool:
        return any(each.row_in(registry) is not None for each in self._requests.values())

    def _optional(self, stage: str) -> Asked:
        return replace(next(iter(self._asked.values())), stage=stage, optional=True)

    def _know_stages(self, registries: Sequence[Registry]) -> None:
        """If all stages are asked for, find out which there are."""
        if self._stages == (ALL_STAGES,):
            names = dict.fromkeys(each.name for lane in registries for each in lane.info.stages)
            self._asked = {name: self._optional(name) for name in names}

    def _again(self) -> list[Registry]:
        """Open the registries of the lanes again: each session has its own."""
        registries = []
        for engine, lane in self._seen:
            try:
                registries.append(Registry.attach(engine, lane, patience_s=0.0))
            except EngineNotFound:
                continue
            except TapError as error:
                self.refused.append(refusal(engine, lane, error))
            except BaseException:
                _detach(registries)
                raise
        return registries

    def _open_stage(self, stage: str, registries: list[Registry]) -> None:
        """Open the session of one stage on each lane; name those that cannot be read.

        A lane that closes meanwhile is skipped. Raises if no lane can be read.
        """
        asked = self._asked[stage]
        requests = self._requests.get(stage) or self._requests.get(ALL_STAGES)
        refused: list[LaneRefused] = []
        none_left = not registries and bool(self.refused)  # of those that there were
        gone: EngineNotFound | None = None
        first: Attachment | None = None
        opened = self._attachments
        try:
            # Wait for a table that is held first: rings that were open already could fill.
            registries.sort(key=lambda each: not each.segment.is_locked(layout.LOCK_TABLE))
            rings = len(registries) * len(self._asked)
            if asked.buffer_bytes is not None and not self._attachments:
                check_room(asked.buffer_bytes, rings)
            asked = replace(asked, share=fair_share(rings))
            while registries:
                registry = registries[0]
                before = len(opened)
                try:
                    if registry.address in self._busy:  # it was waited for with another stage
                        raise self._busy[registry.address]
                    # In one step: an interrupt in between would lose a session that is open.
                    opened += filter(None, (open_session(registry, asked, requests, first),))
                except EngineNotFound as error:
                    gone = error
                    registry.close()
                except TapError as error:
                    refused.append(asked.refusal(registry.info.engine, registry.info.lane, error))
                    if isinstance(error, SessionBusy):
                        self._busy[registry.address] = error
                    registry.detach()
                else:
                    if len(opened) == before:
                        registry.close()
                    first = first or (opened[before] if opened[before:] else None)
                del registries[0]
        except BaseException:
            held = [each.registry for each in opened]
            _detach([each for each in registries if each not in held])
            raise
        if first is not None:
            self._first[stage] = first
        elif (refused or none_left) and not asked.optional:
            raise error_for([*(each for each in self.refused if not each.stage), *refused])
        elif gone is not None and not opened:
            raise gone
        self.refused += refused


def find_lanes(
    engine: str,
    lane: str | None,
    wait: float,
    also: Callable[[Registry], object] | None,
    on_wait: OnWait | None = None,
) -> tuple[Lanes, bool]:
    """Return the lanes, and whether there was none at first; wait so many seconds for one.

    also: see ``find``. on_wait: called before each look while there is none. Raises EngineNotFound,
    and what ``find`` raises.
    """
    deadline = time.monotonic() + wait
    waited = False
    while True:
        try:
            return find(engine, lane, also), waited
        except EngineNotFound:
            if time.monotonic() >= deadline:
                raise
        waited = True
        if on_wait is not None:
            on_wait()
        time.sleep(_FIND_POLL_S)


def wait_for_the_engine(attachments: Sequence[Attachment]) -> None:
    """Wait until the engine offers every new batch to the session, and rings for it."""
    left_ns = max(
        each.row.opened_ns + layout.TAKE_UP_NS - each.clock.now_ns() for each in attachments
    )
    if left_ns > 0:
        time.sleep(min(left_ns, layout.TAKE_UP_NS) / _NS)  # more is left only by an unknown clock


def _ignore(_: Registry) -> None:
    """Learn nothing of a lane."""


def _detach(registries: Sequence[Registry]) -> None:
    for each in registries:
        each.detach()
