"""A dump into a file from within a program: of an engine's own lane, or of any address."""

from __future__ import annotations

from msgspec import UNSET
from msgspec.structs import replace

from ..consumer.past import past
from ..events.redaction import Redactor
from ..events.selection import Select
from ..files.meta import CaptureMeta, IncidentMeta
from ..files.writing import open_sink
from .past_report import PastReport, PastSummary
from .transfer import Transfer


def dump(
    address: str,
    path: str,
    *,
    last: float | None = None,
    select: Select | None = None,
    redact: Redactor | None = None,
    force: bool = False,
    incident: IncidentMeta | None = None,
) -> PastSummary:
    """Write what the recorders at ``address`` hold into the file ``path``; return what was found.

    The suffix of ``path`` is its format. PATH.meta.json describes it. last: only so many seconds.
    force: replace an older file. incident: why; it stands in the meta. Raises what ``past`` and
    ``open_sink`` raise, and OSError if the file cannot be written to its end.
    """
    select = select or Select()
    found = past(address, last=last, select=select, redact=redact)
    kind = next(iter(found.kinds.values()))

    def describe() -> CaptureMeta:
        return replace(report.meta(), incident=incident or UNSET)

    sink = open_sink(
        path,
        None,
        envelope=len(found.kinds) > 1,
        kind=kind.name,
        dtype=getattr(kind, "dtype", None),
        describe=describe,
        force=force,
    )
    report = PastReport(found, select, redact, sink)
    transfer = Transfer(found, sink)
    transfer.run()
    if transfer.failure is not None:
        raise transfer.failure
    return report.facts()
