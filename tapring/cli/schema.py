"""``tapring schema``: the JSON Schema of what the commands print for programs, from its types.

Each schema is derived from the structs that the commands encode, and the meaning of a field from
their docstrings: a line ``field: meaning.`` each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Final, NamedTuple

import click
import msgspec
from msgspec import UnsetType, inspect

from ..delivery.past_report import PastSummary
from ..delivery.recorded_report import RecordedSummary
from ..delivery.report import Summary
from ..delivery.statistics import Statistics
from ..files.envelope import Enveloped
from ..files.meta import Meta
from ..shm.discovery import EngineInfo
from ..shm.listed import ListedDeadLane, ListedLane, RefusedLane
from .arguments import OneOf
from .cat_report import CatLine
from .command import Command
from .dump_report import DumpLine
from .gc import RemovedSegment
from .messages import print_json
from .record import RecordLine
from .replay_report import ReplayLine
from .summary import SummaryLine

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EXAMPLES: Final = (
    "tapring schema summary                  # what attach --summary json prints",
    "tapring schema ls > tapring-ls.schema.json",
)
_FIELD: Final = re.compile(r"(?P<names>\w+(?:, \w+)*): (?P<meaning>.*)")

_ALIKE: Final[dict[type[msgspec.Struct], type[msgspec.Struct]]] = {ListedLane: EngineInfo}
"""Structs that are no subclasses, and whose fields mean the same."""

Schema = dict[str, Any]


class Shape(NamedTuple):
    """What a schema is of: ``types``, and whether it is an array of these."""

    title: str
    types: tuple[type[msgspec.Struct], ...]
    array: bool = False
    also: tuple[type[msgspec.Struct], ...] = ()


SHAPES: Final = {
    "summary": Shape("The line that tapring attach --summary json prints", (SummaryLine,)),
    "meta": Shape(
        "FILE.meta.json, beside each file of a capture",
        (Meta,),
        also=(Summary, RecordedSummary, PastSummary),
    ),
    "ls": Shape(
        "What tapring ls --json, ls --json --watch (each line) and top --once --json print",
        (ListedLane, RefusedLane),
        array=True,
    ),
    "dead": Shape(
        "What tapring ls --dead --json prints, and with --watch each of its lines",
        (ListedDeadLane, RefusedLane),
        array=True,
    ),
    "envelope": Shape("A record of the envelope (tapring attach --envelope)", (Enveloped,)),
    "stats": Shape("Each line that tapring stats --json prints", (Statistics,)),
    "cat": Shape("The line that tapring cat --summary json prints", (CatLine,)),
    "dump": Shape("The line that tapring dump --summary json prints", (DumpLine,)),
    "record": Shape("The line that tapring record --summary json prints", (RecordLine,)),
    "replay": Shape("The line that tapring replay --summary json prints", (ReplayLine,)),
    "gc": Shape("What tapring gc --json prints", (RemovedSegment,), array=True),
}


@click.command("schema", cls=Command, examples=_EXAMPLES)
@click.argument("name", type=OneOf(list(SHAPES)))
def command(name: str) -> None:
    """Print the JSON Schema of what tapring writes for programs.

    \b
    NAME is one of:
      summary   the summary of tapring attach --summary json
      meta      the FILE.meta.json beside each file
      ls        the JSON of tapring ls
      dead      the JSON of tapring ls --dead
      envelope  a record of tapring attach --envelope
      stats     a line of tapring stats --json
      cat       the summary of tapring cat --summary json
      dump      the summary of tapring dump --summary json
      record    the summary of tapring record --summary json
      replay    the summary of tapring replay --summary json
      gc        the JSON of tapring gc

    A later version of tapring may add fields, except to the envelope's records.
    """
    print_json(schema(name), indent=2)


def schema(name: str) -> Schema:
    """The JSON Schema (2020-12) called ``name`` in ``SHAPES``."""
    shape = SHAPES[name]
    roots, parts = msgspec.json.schema_components(
        (*shape.types, *shape.also), ref_template="#/$defs/{name}"
    )
    for each in _structs(*shape.types, *shape.also):
        _describe(parts[each.__name__], each)
    refs = list(roots[: len(shape.types)])
    if shape.also:
        # files/, which has the meta's type, does not know the types of the summary.
        summary = parts["Meta"]["properties"]["summary"]
        del summary["type"]
        summary["anyOf"] = list(roots[len(shape.types) :])
    one = refs[0] if len(refs) == 1 else {"anyOf": refs}
    top = {"type": "array", "items": one} if shape.array else one
    return {"$schema": DIALECT, "title": shape.title, **top, "$defs": parts}


def meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What the docstrings of ``struct`` and of its bases say of each field."""
    found = meanings(_ALIKE[struct]) if struct in _ALIKE else {}
    for each in reversed(struct.__mro__):
        if each is not msgspec.Struct and issubclass(each, msgspec.Struct):
            found |= _meanings_in(cleandoc(each.__doc__ or ""), struct.__struct_fields__)
    return found


def summary_of(struct: type[msgspec.Struct]) -> str:
    """The first sentence of the docstring of ``struct``."""
    first, dot, _ = cleandoc(struct.__doc__ or "").partition("\n")[0].partition(". ")
    return _plain(first + dot.rstrip())


def _meanings_in(text: str, fields: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        begins = _FIELD.fullmatch(line)
        if begins and set(begins["names"].split(", ")) <= set(fields):
            names = begins["names"].split(", ")
            found |= dict.fromkeys(names, _plain(begins["meaning"]))
        elif not line:
            names = []
        else:
            found |= {name: f"{found[name]} {_plain(line)}" for name in names}
    return found


def _plain(text: str) -> str:
    return text.replace("``", "")


def _structs(*types: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """All structs in ``types``, each once."""
    ahead: list[Any] = list(inspect.multi_type_info(types))
    seen = set()
    while ahead:
        each = ahead.pop()
        if isinstance(each, inspect.StructType):
            if each.cls in seen:
                continue
            seen.add(each.cls)
            yield each.cls
            ahead += [field.type for field in each.fields]
        elif isinstance(each, inspect.UnionType):
            ahead += each.types
        elif isinstance(each, inspect.DictType):
            ahead.append(each.value_type)
        elif isinstance(each, inspect.CollectionType | inspect.VarTupleType):
            ahead.append(each.item_type)
        elif isinstance(each, inspect.Metadata):
            ahead.append(each.type)


def _describe(part: Schema, struct: type[msgspec.Struct]) -> None:
    """Say in ``part`` what its fields mean, and which are always written.

    msgspec says of a field with a default that it may be absent, which is so when it is read.
    """
    said = meanings(struct)
    part["description"] = summary_of(struct)
    for name, each in part["properties"].items():
        each.pop("default", None)
        if "anyOf" in each:  # whose order is not the same in each version of msgspec
            each["anyOf"].sort(key=lambda one: one.get("type") == "null")
        if name in said:
            each["description"] = said[name]
    part["required"] = [
        field.encode_name
        for field in msgspec.structs.fields(struct)
        if UnsetType not in _alternatives(field.type)
    ]


def _alternatives(type_: Any) -> tuple[Any, ...]:
    return getattr(type_, "__args__", ())
