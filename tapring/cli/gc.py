"""``tapring gc``: what the dead left, removed and accounted for."""

from __future__ import annotations

import sys
from typing import Any, Final

import click
import msgspec

from ..errors import TapError
from ..shm.sweep import Removed, sweep
from .arguments import EngineName, fail

_PATIENCE_S: Final = 1.0
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB")


@click.command("gc")
@click.argument("name", required=False, type=EngineName())
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="JSON, as without a terminal.")
def command(name: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove from shared memory what nobody alive holds, and say what and why.

    NAME looks at one engine alone. What lives is never touched: a lane while its engine lives or
    somebody still reads it, a session while its owner lives. Whoever lives holds a lock, and the
    kernel knows; neither a pid nor an age decides. Engines and tapring ls do the same on their
    way, so that this is needed by nobody but who wants to know.
    """
    try:
        removed = sweep(name, dry_run=dry_run, patience_s=_PATIENCE_S)
    except (TapError, OSError) as error:
        fail(error)
    if as_json or not sys.stdout.isatty():
        listed = [_listed(each) for each in removed]
        click.echo(msgspec.json.format(msgspec.json.encode(listed), indent=2))
        return
    for each in removed:
        click.echo(_line(each, "would remove" if dry_run else "removed"))
    if not removed:
        click.echo(
            "nothing to remove: all there is, is in use"
            if name is None
            else f"nothing to remove of {name}"
        )


def _listed(removed: Removed) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(removed)
    account = removed.account
    if account is not None:
        fields["account"] |= {"offered": account.offered, "unread": account.unread}
    return fields


def _line(removed: Removed, did: str) -> str:
    line = f"{did} {removed.name} ({_size(removed.bytes)}): {removed.reason}"
    account = removed.account
    if account is None:
        return line
    return (
        f"{line}; of {account.offered:,} events {account.delivered:,} were delivered, "
        f"{account.unread:,} lay unread, {account.offered - account.captured:,} were lost"
    )


def _size(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
