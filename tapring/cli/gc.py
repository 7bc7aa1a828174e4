"""``tapring gc``: removes what dead processes left in shared memory, and accounts for it."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from ..errors import TapError
from ..shm.sweep import Removed, sweep
from ..wire.ledger import Counters
from ..words import counted, size_in_words, visible
from .arguments import EngineName, offers
from .command import Command
from .messages import fail, print_json

_PATIENCE_S: Final = 1.0
_EXAMPLES: Final = (
    "tapring gc --dry-run  # what would go, and why",
    "tapring gc",
)


@click.command("gc", cls=Command, examples=_EXAMPLES)
@click.argument("name", required=False, type=EngineName(), shell_complete=offers("engine_names"))
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def command(name: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove the shared memory of dead processes.

    It says what is removed, and why. With NAME, look at one engine only. A lane stays while its
    engine lives or a consumer reads it; a session stays while its owner lives. The kernel's file
    locks decide this, never a process id or an age. You rarely need this command: engines,
    consumers and tapring ls clean up the same way.
    """
    try:
        removed = sweep(name, dry_run=dry_run, patience_s=_PATIENCE_S)
    except (TapError, OSError) as error:
        fail(error)
    if as_json:
        print_json([_listed(each) for each in removed], indent=2)
        return
    for each in removed:
        click.echo(visible(_line(each, "would remove" if dry_run else "removed")))
    if not removed:
        click.echo(f"nothing to remove{'' if name is None else f' for {name}'}")


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
    account: the last account of a ring; null for other segments.
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
    return (
        f"{line}; of {counted(account.offered, 'event')}, {account.delivered:,} delivered, "
        f"{account.unread:,} unread, {account.offered - account.captured:,} lost"
    )
