"""``tapring ls``: the engines on this machine, their sessions, what was lost, and who died."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final, Protocol

import click

from ..consumer.past_ring import HOW
from ..errors import NotRecorded, TapError, suggest_of
from ..shm.discovery import NOTHING_RUNS, not_found
from ..shm.evidence import dead_lanes
from ..shm.listed import listed, listed_dead
from ..shm.looks import Looked, Looking
from ..shm.refusals import error_for
from .arguments import Duration, is_url, offers, refuse_url
from .command import Command
from .messages import fail, note, print_json
from .signals import Interrupts
from .streams import silence_stdout

_ONCE_S: Final = 0.3
_WATCH_S: Final = 1.0
_EXAMPLES: Final = (
    "tapring ls                 # all engines and their sessions",
    "tapring ls shop --watch    # one of them, live",
    "tapring ls --json          # for programs",
    "tapring ls --dead          # which dead engines have left recordings",
)
_A_RECORDER: Final = (
    f"a recorder keeps an engine's newest events, also after it has died. Turn one on with {HOW}"
)


class Looks(Protocol):
    """What sees lanes, here or through a server."""

    def look(self, wait: Callable[[], object]) -> Looked:
        """Look, and ``wait`` if rates have to be measured."""


@click.command("ls", cls=Command, examples=_EXAMPLES)
@click.argument("name", required=False, shell_complete=offers("engine_names"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "--watch",
    is_flag=True,
    help="Stay, and look again and again, until Ctrl-C. With --json, print a line each time.",
)
@click.option(
    "--dead",
    is_flag=True,
    help="Show the dead lanes that have left recordings, which tapring dump reads.",
)
@click.option("--lanes", "each_lane", is_flag=True, help="Show each lane, also of many.")
@click.option(
    "--interval",
    type=Duration(),
    default=None,
    help="Measure rates over this long. With --watch, look again after it.  [default: 300ms; "
    "with --watch 1s]",
)
def command(
    name: str | None,
    as_json: bool,
    watch: bool,
    dead: bool,
    each_lane: bool,
    interval: float | None,
) -> None:
    """Show the engines that can be tapped, and their sessions.

    With NAME, show one engine only, one process of it (ENGINE.LANE or a pid), or the engines whose
    names match a pattern ('web-*'). A stage has a rate only while a session watches it. Sessions
    stand below the process (lane) that they are of. LOST counts events that were dropped, larger
    than the ring, or not serializable.

    http://HOST:PORT shows the engines of another machine, through its tapring serve. TAPRING_TOKEN
    has the token.

    A process that an engine has forked is listed once it has offered a batch; until then its
    parent's line counts it. Lanes that cannot be read (of other users, or of another version of the
    protocol) come last, with the reason.

    A lane that records (Tap(NAME, recorder="decoded")) leaves its newest events behind. --dead
    lists dead lanes that have, the newest first: they exited, or died (killed, or crashed).
    """
    if dead and each_lane:
        raise click.UsageError("--dead shows each lane; leave out --lanes.")
    if dead and interval is not None and not watch:
        raise click.UsageError("--interval with --dead needs --watch: no rates are measured.")
    looking: Looks
    if name is not None and is_url(name):
        looking = _there(name, dead=dead)
    else:
        refuse_url(name)
        looking = Looking(name, only_dead=dead)
    if watch:
        seconds = _WATCH_S if interval is None else max(interval, 0.1)
        _watch(looking, as_json, each_lane, seconds, _nothing(name, dead))
        return
    seconds = _ONCE_S if interval is None else interval
    try:
        looked = looking.look(lambda: time.sleep(seconds))
    except TapError as error:
        fail(error)
    if as_json:
        print_json(listed_for_programs(looked), indent=2)
    elif looked.lanes or name is None or dead:
        _print(looked, each_lane)
    if dead:
        if not looked.dead and not looked.dead.refused:
            _nothing_is_left(name)
    elif isinstance(looking, Looking):
        tell_of_nothing(looking, looked)


def _there(url: str, *, dead: bool) -> Looks:
    from .remote_looks import LookingThere

    looking = LookingThere(url)  # first: a URL that is refused may hold a token
    if dead:
        raise click.UsageError(f"--dead looks at this machine only. Try tapring dump {url}/ENGINE")
    return looking


def _print(looked: Looked, each_lane: bool) -> None:
    from .ls_table import as_table, make_console

    console = make_console()
    for each in as_table(looked, console.width, each_lane=each_lane):
        console.print(each)


def tell_of_nothing(looking: Looking, looked: Looked) -> None:
    """Say so if no lane was seen; if one was asked for, as the error that ends the command."""
    if looked.lanes:
        return
    refused = looked.lanes.refused
    if looking.engine is not None:
        fail(error_for(refused) if refused else not_found(looking.engine, looking.lane))
    if not refused:
        note(NOTHING_RUNS)


def listed_for_programs(looked: Looked) -> list[Any]:
    """What was seen, in the shapes that are printed as JSON."""
    if looked.only_dead:
        return [*listed_dead(looked.dead)]
    return [*listed(looked.lanes, looked.rates, looked.children)]


def _nothing(name: str | None, dead: bool) -> str:
    """What a screen says while nothing is there."""
    if dead:
        return f"no dead lane{f' of {name}' if name else ''} has left a recording"
    return f"no engine runs here{f' as {name}' if name else ''}"


def _nothing_is_left(name: str | None) -> None:
    """Say that there are no recordings, and what a recorder is; an error if some were asked for."""
    if name is None:
        note(f"no dead lane of this user has left a recording; {_A_RECORDER}")
        return
    known = sorted({each.engine for each in dead_lanes()})
    some = f"there are recordings of {', '.join(known)}"
    near = suggest_of(name.partition(".")[0], known, some) if known else ""
    fail(NotRecorded(f"no dead lane of {name!r} has left a recording{near}; {_A_RECORDER}"))


def _watch(looking: Looks, as_json: bool, each_lane: bool, seconds: float, nothing: str) -> None:
    """Look again and again until a signal comes, or until the reader has left."""
    if not as_json and not sys.stdout.isatty():
        raise click.UsageError("--watch needs a terminal. For programs, try --json --watch")
    with _Ending() as ending:
        failure = _look_until(ending, looking, as_json, each_lane, seconds, nothing)
    if failure is not None:
        fail(failure)


def _look_until(
    ending: _Ending,
    looking: Looks,
    as_json: bool,
    each_lane: bool,
    seconds: float,
    nothing: str,
) -> TapError | None:
    """Look until a signal comes or the reader has left. Return the error that ends it, if any."""
    from .ls_table import on_screen

    printer = nullcontext(_print_line) if as_json else on_screen(each_lane, seconds, nothing)
    with Interrupts(ending.come), printer as show:
        try:
            while not ending.wait(0):
                show(looking.look(lambda: ending.wait(min(seconds, _ONCE_S))))
                ending.wait(seconds)
        except BrokenPipeError:
            silence_stdout()
        except TapError as error:
            return error
    return None


class _Ending:
    """A signal that can be waited for. The handler may run at any step of the waiting.

    A threading.Event would not do: its lock is not reentrant.
    """

    def __enter__(self) -> _Ending:
        self._fd = os.eventfd(0)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def come(self) -> None:
        """End all waiting, now and later."""
        os.eventfd_write(self._fd, 1)

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; return whether the signal has come."""
        return bool(select.select([self._fd], [], [], seconds)[0])


def _print_line(looked: Looked) -> None:
    print_json(listed_for_programs(looked))
