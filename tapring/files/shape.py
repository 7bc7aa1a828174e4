"""The columns that fit a set of JSON objects, and the rest of each object that does not fit.

The rule for the values of one key, over all objects:

- all bool: a bool column; all str: a string column; all integers of 64 bits: an int64 column; all
  numbers, each of which a double holds exactly: a double column;
- all objects: a struct, with columns by the same rule for their keys;
- all arrays, with elements (null allowed) of one kind by the same rule: a list;
- anything else (mixed kinds, only null, larger integers, only empty arrays): no column.

The rest of an object holds the values without a column, each explicit null, and each array with
an element that would change in its column. A key that is absent is null in its column. So an
object is exactly its columns with its rest merged in (``merged``).

This is pure Python on decoded JSON; ``parquet`` makes files of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MAX_COLUMNS: Final = 1000
MAX_DEPTH: Final = 32  # readers of Parquet recurse over the columns
_MAX_NODES: Final = 10_000  # objects used as maps keep bringing new keys

_BOOL, _STR, _INT, _WIDE, _HUGE, _FLOAT, _OBJECT, _ARRAY, _NULL = (1 << n for n in range(9))
_SIMPLE: Final = {bool: _BOOL, str: _STR, float: _FLOAT, type(None): _NULL}
_SCALARS: Final = {
    _BOOL: "bool",
    _STR: "string",
    _INT: "int64",
    _INT | _WIDE: "int64",
    _WIDE: "int64",
    _FLOAT: "double",
    _FLOAT | _INT: "double",
}
_EXACT: Final = 2**53  # a double holds each integer up to here exactly


@dataclass(frozen=True, slots=True)
class Struct:
    """A column of objects. A key is absent if its own column is null."""

    fields: dict[str, Column]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A column of arrays, with elements of one kind or null."""

    element: Column


Column = str | Struct | ListOf
"""A scalar column is the name of its type."""


class Shape:
    """The kinds of values that each key had in the objects that were noted."""

    def __init__(self) -> None:
        self._nodes = 0
        self._root = _Node(0)

    def note(self, event: dict[str, Any]) -> None:
        """Note the kinds of values in an object."""
        self._note_object(self._root, event)

    def columns(self, most: int = MAX_COLUMNS) -> Struct:
        """The columns for the noted objects, at most ``most`` leaves, in order of appearance."""
        column, _ = _resolve_object(self._root, most)
        return column or Struct({})

    def _note_object(self, node: _Node, value: dict[str, Any]) -> None:
        fields = node.fields
        for key, each in value.items():
            child = fields.get(key)
            if child is None:
                child = self._new(node)
                if child is None:
                    continue
                fields[key] = child
            simple = _SIMPLE.get(each.__class__)
            if simple:
                child.kinds |= simple
            else:
                self._note(child, each)

    def _note(self, node: _Node, value: Any) -> None:
        if isinstance(value, int):
            small = -_EXACT <= value <= _EXACT
            node.kinds |= _INT if small else _WIDE if -(2**63) <= value < 2**63 else _HUGE
        elif isinstance(value, dict):
            node.kinds |= _OBJECT
            self._note_object(node, value)
        else:
            node.kinds |= _ARRAY
            self._note_elements(node, value)

    def _note_elements(self, node: _Node, value: list[Any]) -> None:
        if node.element is None:
            node.element = self._new(node)
            if node.element is None:
                return
        element = node.element
        for each in value:
            simple = _SIMPLE.get(each.__class__)
            if simple:
                element.kinds |= simple
            else:
                self._note(element, each)

    def _new(self, parent: _Node) -> _Node | None:
        if self._nodes >= _MAX_NODES or parent.depth >= MAX_DEPTH:
            return None
        self._nodes += 1
        return _Node(parent.depth + 1)


def left_over(column: Struct, event: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``event`` as its columns take it, and its rest.

    The first can have keys without a column. It is ``event`` itself if nothing had to change.
    """
    fitting, rest = event, {}
    for key, value in event.items():
        kind = column.fields.get(key)
        if kind is None or value is None:
            rest[key] = value
        elif kind.__class__ is Struct:
            inner, left = left_over(kind, value)
            if left:
                rest[key] = left
            if inner is not value:
                fitting = {**fitting, key: inner}
        elif kind.__class__ is ListOf and not _holds(kind, value):
            rest[key] = value
            fitting = {**fitting, key: None}
    return fitting, rest


def merged(row: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """The object of which ``left_over`` made ``row`` and ``rest``; ``row`` is changed."""
    for key, value in rest.items():
        held = row.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            merged(held, value)
        else:
            row[key] = value
    return row


class _Node:
    """The kinds of values seen at one place of the objects."""

    __slots__ = ("depth", "element", "fields", "kinds")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.kinds = 0
        self.fields: dict[str, _Node] = {}
        self.element: _Node | None = None


def _resolve(node: _Node, most: int) -> tuple[Column | None, int]:
    """The column of a place, if it has one, and how many leaves are still allowed."""
    kinds = node.kinds & ~_NULL
    if most > 0 and kinds in _SCALARS:
        return _SCALARS[kinds], most - 1
    if kinds == _OBJECT:
        return _resolve_object(node, most)
    if kinds == _ARRAY and node.element is not None:
        element, most = _resolve(node.element, most)
        return (None if element is None else ListOf(element)), most
    return None, most


def _resolve_object(node: _Node, most: int) -> tuple[Struct | None, int]:
    fields = {}
    for key, child in node.fields.items():
        column, most = _resolve(child, most)
        if column is not None:
            fields[key] = column
    return (Struct(fields) if fields else None), most


def _holds(column: ListOf | Struct, value: Any) -> bool:
    """Whether the column keeps a list, or an object in one, exactly."""
    if isinstance(column, Struct):
        return not left_over(column, value)[1]
    element = column.element
    return isinstance(element, str) or all(each is None or _holds(element, each) for each in value)
