"""What the shell completes: running engines, their lanes, sessions and stages, and files.

Also what was recorded, by living and dead lanes.

Nothing here changes or removes anything, waits, or raises: a lane that cannot be read is left out.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from textwrap import shorten
from typing import Final, NamedTuple, TypeVar

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from ..errors import TapError
from ..shm.evidence import recordings_of
from ..shm.names import split_address
from ..shm.recording import Recording
from ..shm.registry import Registry
from ..shm.sweep import lanes_of
from ..wire import layout
from ..wire.layout import Owner, RowState
from ..words import counted

Items = list["CompletionItem[str]"]

_MOST_LANES: Final = 2000
"""To look at a lane takes 0.2 ms."""
_LONGEST_MEANING: Final = 60
_MAY_BE_ATTACHED: Final = {Owner.ENGINE: "registered", Owner.NOBODY: "kept"}


class SessionSeen(NamedTuple):
    """A session that can be attached to: it belongs to the engine, or is kept."""

    id: int
    stage: str
    owner: str
    kept: bool


class LaneSeen(NamedTuple):
    """A lane of a living engine."""

    engine: str
    lane: str
    pid: int
    stages: tuple[str, ...]
    sessions: tuple[SessionSeen, ...]


class LaneRecorded(NamedTuple):
    """A lane, living or dead, that has recordings."""

    engine: str
    lane: str
    pid: int
    stages: tuple[str, ...]
    is_live: bool


_Lane = TypeVar("_Lane", LaneSeen, LaneRecorded)


def lines(program: click.Command, typed: str) -> list[str]:
    """What may stand at the end of the command line ``typed``, as the scripts read it.

    Each line has a type (``plain``, ``file`` or ``dir``), a value and its meaning, with tabs
    between.
    """
    words = split_arg_string(typed)
    unfinished = words.pop() if words and _goes_on(typed) else ""
    completion = ShellComplete(program, {"obj": words[1:]}, "tapring", "")
    items = completion.get_completions(words[1:], unfinished)
    return ["\t".join((item.type, item.value, _one_line(item.help))) for item in items]


def addresses(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """ENGINE; of an engine that is typed in full, also ENGINE.LANE and ENGINE:ID.

    Sessions are offered to commands that read one, which have the option --session.
    """
    lanes = _lanes()
    reads = any(each.name == "session_id" for each in ctx.command.params)
    begun = incomplete.partition(":")[0].partition(".")[0]
    found = {engine: _about(each) for engine, each in _by_engine(lanes).items()}
    for lane in lanes:
        if lane.engine == begun:
            found[f"{lane.engine}.{lane.lane}"] = f"pid {lane.pid}"
            if reads:
                found |= _sessions(lane, with_lane="." in incomplete)
    return _those(found, incomplete)


def recorded(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """ENGINE of engines that have recordings; of one that is typed in full, also ENGINE.LANE."""
    lanes = _recorded()
    begun = incomplete.partition(".")[0]
    found = {engine: _about_recorded(each) for engine, each in _by_engine(lanes).items()}
    for lane in lanes:
        if lane.engine == begun:
            state = "runs" if lane.is_live else "dead"
            meaning = f"pid {lane.pid}, {state}: {', '.join(lane.stages)}"
            found[f"{lane.engine}.{lane.lane}"] = meaning
    return _those(found, incomplete)


def recorded_stages(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """The stages that were recorded at the address that is typed already."""
    return _stages(_recorded, ctx, incomplete)


def kept_sessions(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """ENGINE.LANE:ID of each session that was opened to be kept."""
    return _those(
        {
            f"{lane.engine}.{lane.lane}:{session.id}": f"{session.stage}, kept"
            for lane in _lanes()
            for session in lane.sessions
            if session.kept
        },
        incomplete,
    )


def engine_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """ENGINE; with --dead or --evidence, of engines whose dead lanes have left recordings."""
    if ctx.params.get("dead") or ctx.params.get("evidence"):
        dead = [each.engine for each in _recorded() if not each.is_live]
        return _those({each: counted(dead.count(each), "dead lane") for each in dead}, incomplete)
    found = {engine: _about(lanes) for engine, lanes in _by_engine(_lanes()).items()}
    return _those(found, incomplete)


def stages(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """The stages of the engine that is typed already; behind a comma, those not named yet.

    If no engine is typed yet, the stages of all of them.
    """
    parameters = {each.name for each in ctx.command.params}
    if "files" in parameters and "source" not in parameters:
        return []
    return _stages(_lanes, ctx, incomplete)


def _stages(
    look: Callable[[str | None], Sequence[LaneSeen | LaneRecorded]],
    ctx: click.Context,
    incomplete: str,
) -> Items:
    engine, lane = None, None
    if (address := _address(ctx)) is not None:
        with suppress(ValueError):
            engine, lane, _ = split_address(address)
    seen = [each for each in look(engine) if lane is None or each.lane == lane]
    before, comma, _ = incomplete.rpartition(",")
    named = before.split(",")
    found = {
        f"{before}{comma}{stage}": ""
        for each in seen
        for stage in each.stages
        if not comma or stage not in named
    }
    return _those(found, incomplete)


def addresses_or_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """ENGINE and what is below it; after --from, files."""
    offer = addresses if ctx.params.get("source") is None else files
    return offer(ctx, param, incomplete)


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Whatever the shell completes as a file."""
    return [CompletionItem(incomplete, type="file")]


def _goes_on(typed: str) -> bool:
    """Whether the last word is unfinished: no space follows it, or it has an open quote."""
    try:
        shlex.split(typed)
    except ValueError:
        return True
    return not typed[-1:].isspace()


def _address(ctx: click.Context) -> str | None:
    """The address that is typed already.

    click stops at an option whose value is missing, and has read no arguments then.
    """
    words: list[str] = ctx.obj
    name = ctx.info_name or ""
    given = [*words[words.index(name) + 1 :], "unfinished"]
    read = ctx.command.make_context(name, given, parent=ctx.parent, resilient_parsing=True)
    address: str | None = read.params.get("address")
    if "source" in read.params:  # tapring stats takes an address, or files
        files: tuple[str, ...] = read.params["files"] or ()
        address = files[0] if files else None
    return address


def _lanes(engine: str | None = None) -> list[LaneSeen]:
    """The lanes of living engines that can be read now."""
    seen = []
    with suppress(OSError, TapError):
        for name, lane in lanes_of(engine)[:_MOST_LANES]:
            with (
                suppress(OSError, TapError, ValueError),
                Registry.attach(name, lane, patience_s=0.0, to_look=True) as registry,
            ):
                if registry.engine_is_alive() and not registry.engine_has_closed():
                    seen.append(_seen(registry))
    return seen


def _seen(registry: Registry) -> LaneSeen:
    info = registry.info
    stages = tuple(stage.name for stage in info.stages)
    sessions = tuple(
        SessionSeen(
            row.id, stages[row.stage], _MAY_BE_ATTACHED[Owner(row.owner)], row.owner == Owner.NOBODY
        )
        for row in registry.table.rows()
        if row.state == RowState.OPEN
        and row.owner in _MAY_BE_ATTACHED
        and row.stage < len(stages)
        and not registry.table.is_read(row)
    )
    return LaneSeen(info.engine, info.lane, registry.pid, stages, sessions)


def _recorded(engine: str | None = None) -> list[LaneRecorded]:
    """The lanes whose recordings can be read now."""
    found: dict[str, LaneRecorded] = {}
    with suppress(OSError, TapError):
        for name in recordings_of(engine)[:_MOST_LANES]:
            with (
                suppress(OSError, TapError, ValueError),
                Recording.attach(name, patience_s=0.0) as recording,
            ):
                stage = recording.stage.name
                if stage == layout.TRIGGERS:
                    continue
                info, is_live = recording.info, recording.is_live()
                before = found[info.address].stages if info.address in found else ()
                found[info.address] = LaneRecorded(
                    info.engine, info.lane, recording.header.pid, (*before, stage), is_live
                )
    return list(found.values())


def _about_recorded(lanes: list[LaneRecorded]) -> str:
    stages = dict.fromkeys(stage for lane in lanes for stage in lane.stages)
    dead = sum(not lane.is_live for lane in lanes)
    also = f", {dead} of them dead" if dead else ""
    return f"{', '.join(stages)} in {counted(len(lanes), 'lane')}{also}"


def _by_engine(lanes: Iterable[_Lane]) -> dict[str, list[_Lane]]:
    found: dict[str, list[_Lane]] = {}
    for lane in lanes:
        found.setdefault(lane.engine, []).append(lane)
    return found


def _about(lanes: list[LaneSeen]) -> str:
    stages = dict.fromkeys(stage for lane in lanes for stage in lane.stages)
    return f"{', '.join(stages)} in {counted(len(lanes), 'lane')}"


def _sessions(lane: LaneSeen, *, with_lane: bool) -> dict[str, str]:
    """The addresses of a lane's sessions."""
    begins = f"{lane.engine}.{lane.lane}" if with_lane else lane.engine
    return {
        f"{begins}:{session.id}": f"{session.stage}, {session.owner}" for session in lane.sessions
    }


def _those(found: dict[str, str], incomplete: str) -> Items:
    return [
        CompletionItem(value, help=meaning)
        for value, meaning in found.items()
        if value.startswith(incomplete)
    ]


def _one_line(text: str | None) -> str:
    return shorten(text or "", _LONGEST_MEANING)
