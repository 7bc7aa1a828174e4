"""Incidents into files: what a lane has recorded around each, with a meta that says why."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from ..consumer.gathering import Gathering
from ..consumer.incidents import Incident
from ..consumer.past import Past
from ..events.redaction import Redactor
from ..events.selection import Select
from ..events.sieve import Sieves
from ..files.meta import CaptureMeta, IncidentMeta
from ..files.part import META
from ..files.writing import open_sink
from ..wire import layout
from .past_report import PastReport, PastSummary
from .transfer import Transfer

_SUFFIXES: Final = {"raw": "log"}
_NAME: Final = re.compile(
    rf"\d{{8}}T\d{{6}}\.\d{{3}}Z-[a-z]+-{layout.ENGINE_PATTERN}\.{layout.LANE_PATTERN}(-\d+)?\.[a-z]+"
)


class WrittenIncident:
    """An incident that was written. path: its file. failure: why it could not be; None if it was.

    summary: what was found.
    """

    def __init__(
        self, incident: Incident, path: str, summary: PastSummary, failure: Exception | None
    ) -> None:
        self.incident = incident
        self.path = path
        self.summary = summary
        self.failure = failure


@dataclass(frozen=True, kw_only=True)
class IncidentFiles:
    """Where incidents are written, and how.

    folder: it is made if it is not there. format: of the files; None is ndjson. keep: only so many
    files stay, the newest; None keeps all. fields, redact: as for a session; each file has tokens
    of its own.
    """

    folder: str
    format: str
    keep: int | None
    select: Select
    redact: Redactor | None

    def prepare(self) -> None:
        """Make the folder. Raises OSError if it cannot be written to."""
        os.makedirs(self.folder, exist_ok=True)
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.folder)

    def write(
        self, incident: Incident, gathering: Gathering, *, coalesced: int, missed: int
    ) -> WrittenIncident:
        """Write what was gathered. Never raises what writing raises: see ``failure``.

        coalesced: how many incidents this one stands for, besides itself. missed: events that the
        watching command could not look at.
        """
        past = Past(gathering.rings, Sieves(self.select, self.redact))
        path = self._free_path(incident)
        several = len(past.kinds) > 1
        meta_of = IncidentMeta(
            kind=incident.kind,
            why=incident.why,
            time=_time(incident.time_ns, "microseconds"),
            lane=incident.address,
            pid=incident.pid,
            coalesced=coalesced,
            missed=missed,
            problems=list(gathering.problems),
        )

        def describe() -> CaptureMeta:
            return replace(report.meta(), incident=meta_of)

        kind = next(iter(past.kinds.values()))
        sink = open_sink(
            path,
            self.format,
            envelope=several,
            kind=kind.name,
            dtype=getattr(kind, "dtype", None),
            describe=describe,
        )
        report = PastReport(past, self.select, self.redact, sink)
        transfer = Transfer(past, sink)
        transfer.run()
        self._keep_newest()
        return WrittenIncident(incident, path, report.facts(), transfer.failure)

    def _free_path(self, incident: Incident) -> str:
        stem = f"{_time(incident.time_ns)}-{incident.kind}-{incident.address}"
        suffix = _SUFFIXES.get(self.format, self.format)
        for number in range(1, 1 << 20):
            again = f"-{number}" if number > 1 else ""
            path = os.path.join(self.folder, f"{stem}{again}.{suffix}")
            if not os.path.lexists(path):
                return path
        raise FileExistsError(f"too many files are called {stem}")

    def _keep_newest(self) -> None:
        """Remove the oldest incidents. Their names begin with their times."""
        if self.keep is None:
            return
        for path in list(self._written())[: -self.keep]:
            for name in (path, path + META):
                with suppress(OSError):
                    os.unlink(name)

    def _written(self) -> Iterator[str]:
        for name in sorted(os.listdir(self.folder)):
            if _NAME.fullmatch(name):  # other files are not ours to remove
                yield os.path.join(self.folder, name)


def _time(time_ns: int, timespec: str = "milliseconds") -> str:
    at = datetime.fromtimestamp(time_ns / 1e9, UTC)
    if timespec == "milliseconds":
        return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")
