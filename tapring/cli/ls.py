"""``tapring ls``: the engines on this machine, their sessions, and what was lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from ..errors import TapError
from ..shm.children import forked_children
from ..shm.discovery import (
    NOTHING_RUNS,
    EngineInfo,
    EngineList,
    SessionInfo,
    engines,
    not_found,
)
from ..shm.refusals import LaneRefused, alike, error_for, in_words
from ..words import age_in_words, counted, visible
from .command import Command
from .listed import Rates, listed, stage_rates
from .messages import fail, note, print_json

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

_EXAMPLES: Final = (
    "tapring ls              # all engines",
    "tapring ls shop         # one of them",
    "tapring ls --json | jq  # for programs",
)


@click.command("ls", cls=Command, examples=_EXAMPLES)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as when piped.")
@click.option(
    "--interval",
    type=click.FloatRange(0, 60),
    default=0.3,
    show_default=True,
    help="Seconds over which the rates are measured.",
)
def command(name: str | None, as_json: bool, interval: float) -> None:
    """Show the engines that can be tapped, and their sessions.

    With NAME, show one engine only. A process that an engine has forked is listed once it has
    offered a batch; until then its parent's line counts it. A stage has a rate only while a session
    watches it. Lanes that cannot be read (of other users, or of another version of the protocol)
    come last, with the reason.
    """
    try:
        first = engines(name)
        if any(engine.sessions for engine in first):
            time.sleep(interval)
            second, seconds = engines(name), interval
        else:
            second, seconds = first, 0.0
    except TapError as error:
        fail(error)
    rates = _rates(first, second, seconds)
    children = forked_children({engine.pid: engine.uptime_s for engine in second})
    if as_json or not sys.stdout.isatty():
        print_json(listed(second, rates, children), indent=2)
    elif second or name is None:
        _print_table(second, rates, children)
    if not second:
        if name is not None:
            fail(error_for(second.refused) if second.refused else not_found(name))
        if not second.refused:
            note(NOTHING_RUNS)


def _rates(first: list[EngineInfo], second: list[EngineInfo], seconds: float) -> Rates:
    """Events per second of each session that is in both readings."""
    before = {(e.lane, s.id): s.offered for e in first for s in e.sessions}
    return {
        (e.lane, s.id): (s.offered - before[e.lane, s.id]) / seconds
        if seconds and (e.lane, s.id) in before
        else None
        for e in second
        for s in e.sessions
    }


def _print_table(running: EngineList, rates: Rates, children: Mapping[int, int]) -> None:
    from rich.console import Console

    console = Console()
    if running:
        console.print(_engine_table(running, rates))
    if any(engine.sessions for engine in running):
        console.print()
        console.print(_session_table(running, rates))
    for engine in running:
        if forked := children[engine.pid]:
            have = "has no lane yet: it gets" if forked == 1 else "have no lanes yet: they get"
            console.print(
                f"{engine.name}.{engine.lane}: {forked} forked "
                f"{'child' if forked == 1 else 'children'} {have} one with the first batch"
            )
        if engine.faults or engine.misuse:
            console.print(
                f"{engine.name}.{engine.lane}: {counted(engine.faults, 'fault')}, "
                f"{counted(engine.misuse, 'wrong offer')}; the engine warned about them on its "
                f"standard error",
                style="yellow",
            )
    for group in alike(running.refused):
        console.print(_refused(group), style="yellow", markup=False, highlight=False)


def _refused(group: Sequence[LaneRefused]) -> str:
    """Why the lanes of one group cannot be read."""
    first = group[0]
    who = (
        f"{first.engine}.{first.lane}"
        if len(group) == 1
        else f"{len(group)} lanes of {first.engine}"
    )
    return visible(f"{who} cannot be read: {in_words(group)}")


def _engine_table(running: list[EngineInfo], rates: Rates) -> Table:
    table = _table("ENGINE", "LANE", "PID>", "UPTIME>", "STAGES", "EVENTS/S>", "SESSIONS>", "COST>")
    for engine in running:
        per_stage = stage_rates(engine, rates)
        table.add_row(
            engine.name,
            engine.lane,
            str(engine.pid),
            age_in_words(engine.uptime_s),
            "\n".join(f"{stage.name} ({stage.kind})" for stage in engine.stages.values()),
            "\n".join(_rate(per_stage[name]) for name in engine.stages),
            f"{len(engine.sessions)}/{engine.max_sessions}",
            _cost(engine),
        )
    return table


def _session_table(running: list[EngineInfo], rates: Rates) -> Table:
    table = _table(
        "SESSION",
        "STAGE",
        "OWNER",
        "READ",
        "AGE>",
        "EVENTS/S>",
        "CAPTURED>",
        "DROPPED>",
        "SERVED>",
        "US/BATCH>",
        "FILL>",
    )
    for engine in running:
        for session in engine.sessions:
            table.add_row(*_session_cells(engine, session, rates))
    return table


def _session_cells(engine: EngineInfo, session: SessionInfo, rates: Rates) -> tuple[str, ...]:
    return (
        f"{engine.name}.{engine.lane}:{session.id}",
        session.stage,
        session.owner,
        "yes" if session.read else "no",
        age_in_words(session.age_s),
        _rate(rates.get((engine.lane, session.id))),
        f"{session.captured:,}",
        f"[red]{session.dropped:,}[/red]" if session.dropped else "0",
        f"[yellow]{session.served:.0%}[/yellow]" if session.served < 1 else "100%",
        f"{session.cost_ns / 1000:.1f}",
        f"{session.fill:.0%}",
    )


def _cost(engine: EngineInfo) -> str:
    """The share of the engine's time, and its budget; "-" for the share if no session is open."""
    share = f"{engine.share:.1%}" if engine.sessions else "-"
    return share if engine.budget is None else f"{share} of {engine.budget:.1%}"


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        right = heading.endswith(">")
        # Folded, not cut: people copy the addresses.
        justify: JustifyMethod = "right" if right else "left"
        table.add_column(heading.rstrip(">"), justify=justify, overflow="fold")
    return table


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}"
