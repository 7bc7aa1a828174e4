"""The stages of an engine: their names, their kinds, and how the registry describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from typing import Final

from ..events.kinds import PLAIN, Array, Blobs, Json, Kind, Lines
from ..events.one_by_one import EncHook
from ..events.strip import Removing
from ..literals import PlainKind
from ..shm.info import StageInfo
from ..shm.names import named_alike
from ..wire import layout

Stages = Mapping[str, PlainKind | Kind | None]
"""What ``Tap(stages=...)`` takes."""

DEFAULT_STAGES: Final[Mapping[str, PlainKind]] = {"raw": "lines", "decoded": "json"}
"""The stages that a Tap has unless it says otherwise."""


def make_stages(stages: Stages, enc_hook: EncHook | None = None) -> dict[str, Kind]:
    """The default stages and ``stages``, each given as a kind's name or as ``array`` returned it.

    None leaves a default stage out. Raises ValueError for an invalid name or kind, and if no stage
    is left.
    """
    every = {**DEFAULT_STAGES, **stages}
    kept = {
        name: _kind(name, kind, enc_hook)
        for name, kind in every.items()
        if kind is not None or name not in DEFAULT_STAGES
    }
    if not kept:
        raise ValueError("an engine needs a stage: name one, or leave raw or decoded in")
    return kept


def only(stages: Mapping[str, PlainKind | Kind]) -> Stages:
    """``stages`` for a Tap that has no others: it leaves out the default ones."""
    return {**dict.fromkeys(DEFAULT_STAGES), **stages}


def describe(stages: Mapping[str, Kind]) -> tuple[StageInfo, ...]:
    """What the registry says of ``stages``, in the order in which its rows count them."""
    return tuple(
        StageInfo(
            name=name,
            kind=kind.name,
            dtype=kind.describe(),
            redact=tuple(path.text for path in kind.paths) if isinstance(kind, Removing) else (),
        )
        for name, kind in stages.items()
    )


def _kind(stage: object, kind: object, enc_hook: EncHook | None) -> Kind:
    if not isinstance(stage, str) or not re.fullmatch(layout.ENGINE_PATTERN, stage):
        raise ValueError(
            f"invalid stage name {stage!r}{named_alike(stage) or '.'} "
            f"Use at most 63 lower-case letters, digits, - and _, such as 'decoded' or 'raw-2'."
        )
    if kind == Json.name:
        return Json(enc_hook)
    if isinstance(kind, str) and kind in PLAIN:
        return PLAIN[kind]()
    if isinstance(kind, Lines | Json | Blobs | Array):
        return copy(kind)  # it reports to one Tap
    raise ValueError(
        f"stage {stage!r} has an invalid kind {kind!r}; "
        f"use {', '.join(map(repr, PLAIN))} or tapring.array(dtype)"
    )
