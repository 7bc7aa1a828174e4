"""``tapring top``: all engines, lanes, stages and sessions, full screen, live."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from typing import Final

import click

from ..errors import TapError
from ..files.compression import need
from ..shm.looks import Looked, Looking
from ..words import visible
from .arguments import Duration, OneOf, offers, refuse_url
from .command import Command
from .gone import ends_with_terminal
from .ls import listed_for_programs, tell_of_nothing
from .messages import fail, print_json
from .signals import Interrupts
from .top_rows import Row, rows_of
from .top_table import NAMES, Layout, Sort, ordered, text_of
from .top_view import View

_EVERY_S: Final = 1.0
_SHORTEST_S: Final = 0.1
_ONCE_S: Final = 0.3
_NOT_A_TERMINAL: Final = 200  # columns
_ASIDE_S: Final = 5.0
_EXAMPLES: Final = (
    "tapring top                      # all engines; Enter shows a stage's events",
    "tapring top 'web-*' --sort lost  # some engines, those that lose events first",
    "tapring top --interval 5s        # look every 5 seconds",
    "tapring top --once --sort rate   # print one table, for scripts",
    "tapring top --once --json        # as tapring ls --json prints it",
)


@click.command("top", cls=Command, examples=_EXAMPLES)
@click.argument("name", required=False, shell_complete=offers("engine_names"))
@click.option(
    "--sort",
    type=OneOf(NAMES),
    default="engine",
    show_default=True,
    metavar="COLUMN",
    help=f"Sort by {', '.join(NAMES[:-1])} or {NAMES[-1]}.",
)
@click.option(
    "--interval",
    type=Duration(),
    default=None,
    help="Look again after this long.  [default: 1s; with --once, measure rates over 300ms]",
)
@click.option("--once", is_flag=True, help="Print one table and exit. Needs no terminal.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print JSON, for programs.")
def command(name: str | None, sort: str, interval: float | None, once: bool, as_json: bool) -> None:
    """Watch all engines, full screen, and look into their events.

    With NAME, show one engine only, or the engines whose names match a pattern ('web-*'); / on the
    screen changes it. A row is a session, or a stage that no session watches, which has no rate.
    LOST counts events that were dropped, larger than the ring, or not serializable. COST is the
    share of the engine's time that all sessions of a lane take, BUDGET what it may be at most.
    Lanes that cannot be read come last, with the reason.

    The table opens no session and removes nothing. Enter opens a session of that lane's stage and
    shows its events, as plain text; Escape closes it. Space pauses, < and > sort by another column,
    ? shows all keys, q leaves.

    The screen needs pip install 'tapring[top]'; --once does not.
    """
    refuse_url(name, "tapring ls URL --watch")
    if as_json and not once:
        raise click.UsageError(
            "--json needs --once; to look again and again: tapring ls --json --watch"
        )
    if once:
        _once(name, Sort(sort), _ONCE_S if interval is None else interval, as_json)
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise click.UsageError("top needs a terminal. To print one table: tapring top --once")
    try:
        need("textual", "top", "tapring top")
    except ValueError as error:
        fail(error)
    every_s = _EVERY_S if interval is None else max(interval, _SHORTEST_S)
    sys.exit(_on_screen(View(name or "", Sort(sort), every_s), every_s))


def _once(name: str | None, sort: Sort, seconds: float, as_json: bool) -> None:
    """Print what there is now."""
    looking = Looking(name, sweeps=False)
    try:
        looked = looking.look(lambda: time.sleep(seconds))
    except TapError as error:
        fail(error)
    if as_json:
        print_json(listed_for_programs(looked), indent=2)
    elif looked.lanes or looked.lanes.refused:
        _print(looked, sort)
    tell_of_nothing(looking, looked)


def _print(looked: Looked, sort: Sort) -> None:
    rows = ordered(rows_of(looked), sort)
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    width = shutil.get_terminal_size().columns if known else _NOT_A_TERMINAL
    layout = Layout(width, max(len(row.address) for row in rows))
    click.echo(text_of(layout.heading(sort)))
    for row in rows:
        # On the screen a reason may be cut: it stands whole below the table.
        lines = _refusal(row, width) if row.refused else [text_of(layout.line(row))]
        click.echo("\n".join(lines))


def _refusal(row: Row, width: int) -> list[str]:
    """Why a lane cannot be read, whole, in lines of at most ``width`` columns."""
    said = f"{visible(row.address)} cannot be read: {visible(row.refused)}"
    return textwrap.wrap(said, width, subsequent_indent="  ", break_on_hyphens=False)


def _on_screen(view: View, every_s: float) -> int:
    """Run the screen until the operator leaves it; return the exit code."""
    from .top_app import Top

    app = Top(Looking(None, sweeps=False, aside_s=_ASIDE_S), view, every_s)
    with Interrupts(app.leave), ends_with_terminal(app.leave, app.close_session):
        try:
            app.run()
        finally:
            app.close_session()
    return app.return_code or 0
