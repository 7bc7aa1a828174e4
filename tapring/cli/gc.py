"""``tapring gc``: removes what dead processes left in shared memory, and accounts for it.

Recordings of dead lanes are wanted by those who look for what killed them, so it removes these only
if it is told to.
"""

from __future__ import annotations

from typing import Final

import click
import msgspec

from ..errors import TapError
from ..shm.evidence import DeadLane, DeadLanes, dead_lanes, remove_evidence, remove_unfinished
from ..shm.names import parse_recording_name
from ..shm.refusals import LaneRefused
from ..shm.sweep import Removed, sweep
from ..wire.ledger import Counters
from ..words import age_in_words, counted, size_in_words, visible
from .arguments import EngineName, offers
from .command import Command
from .dead_table import ended
from .messages import fail, print_json

_PATIENCE_S: Final = 1.0
_EXAMPLES: Final = (
    "tapring gc --dry-run  # what would go, and why",
    "tapring gc",
    "tapring gc --evidence shop  # also what dead lanes of shop recorded",
)


@click.command("gc", cls=Command, examples=_EXAMPLES)
@click.argument("name", required=False, type=EngineName(), shell_complete=offers("engine_names"))
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option(
    "--evidence", is_flag=True, help="Also remove what dead lanes recorded: tapring ls --dead."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def command(name: str | None, dry_run: bool, evidence: bool, as_json: bool) -> None:
    """Remove the shared memory of dead processes.

    It says what is removed, and why. With NAME, look at one engine only. A lane stays while its
    engine lives or a consumer reads it; a session stays while its owner lives. The kernel's file
    locks decide this, never a process id or an age. You rarely need this command: engines,
    consumers and tapring ls clean up the same way.

    What a dead lane recorded stays, and is listed, until newer recordings of its engine push it
    out, or until --evidence removes it. Recordings of a living lane always stay.
    """
    kept = DeadLanes()
    try:
        removed = sweep(name, dry_run=dry_run, patience_s=_PATIENCE_S)
        removed += remove_unfinished(name, dry_run=dry_run, own=False)
        dead = dead_lanes(name)
        if evidence:
            removed += remove_evidence([*dead, *dead.refused], dry_run=dry_run)
        else:
            kept = dead
    except (TapError, OSError) as error:
        fail(error)
    if as_json:
        print_json([_listed(each) for each in removed], indent=2)
        return
    for each in removed:
        click.echo(visible(_line(each, "would remove" if dry_run else "removed")))
    if not removed:
        click.echo(f"nothing to remove{'' if name is None else f' for {name}'}")
    for lane in (*kept, *kept.refused):
        click.echo(visible(_kept(lane)))
    if kept or kept.refused:
        of = "" if name is None else f" {name}"
        click.echo(f"to remove what dead lanes recorded: tapring gc --evidence{of}")


class LastAccount(Counters, frozen=True, kw_only=True):
    """The last account of a ring, in events.

    delivered: events taken out of the ring by a consumer.
    unread: events captured and not delivered.
    """

    delivered: int
    unread: int


class RemovedSegment(msgspec.Struct, frozen=True):
    """A segment that was removed, or with --dry-run would be.

    name: the segment's name in /dev/shm.
    reason: why it is removed.
    bytes: its size in bytes; 0 if a session had no ring yet.
    account: the last account of a ring or a recording; null for other segments.
    """

    name: str
    reason: str
    bytes: int
    account: LastAccount | None


def _listed(removed: Removed) -> RemovedSegment:
    ledger = removed.account
    account = None
    if ledger is not None:
        account = LastAccount(**msgspec.structs.asdict(ledger), unread=ledger.unread)
    return RemovedSegment(removed.name, removed.reason, removed.bytes, account)


def _line(removed: Removed, did: str) -> str:
    line = f"{did} {removed.name} ({size_in_words(removed.bytes)}): {removed.reason}"
    account = removed.account
    if account is None:
        return line
    if parse_recording_name(removed.name):
        return f"{line}; it held {counted(account.unread, 'event')}"
    return (
        f"{line}; of {counted(account.offered, 'event')}, {account.delivered:,} delivered, "
        f"{account.unread:,} unread, {account.offered - account.captured:,} lost"
    )


def _kept(lane: DeadLane | LaneRefused) -> str:
    """What a dead lane has recorded, and that it stays."""
    if isinstance(lane, LaneRefused):
        return f"kept what {lane.engine}.{lane.lane} recorded, which cannot be read: {lane.text}"
    stages = ", ".join(lane.stages) or "no stage"
    return (
        f"kept what {lane.address} recorded: {stages} ({size_in_words(lane.bytes)}); "
        f"it {ended(lane)}, last active {age_in_words(lane.age_s)} ago"
    )
