"""Values and batches as a hostile engine's own code makes them, drawn from a fuzzer's bytes.

What such a value does is the same each time it is asked, except for ``Fickle``.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import msgspec
import numpy as np

from .choices import Choices

ERRORS: Final[tuple[type[Exception], ...]] = (
    ValueError,
    TypeError,
    RuntimeError,
    OSError,
    TimeoutError,
    KeyError,
    AttributeError,
    RecursionError,
    StopIteration,
    UnicodeError,
    BufferError,
    AssertionError,
)
METHODS: Final = (
    "__len__",
    "__iter__",
    "__repr__",
    "__str__",
    "__hash__",
    "__eq__",
    "__bool__",
    "__contains__",
    "__getitem__",
    "__bytes__",
    "__index__",
    "__float__",
    "encode",
    "endswith",
    "split",
    "copy",
    "items",
    "dtype",
    "__array__",
)
LIES: Final[tuple[Any, ...]] = (-1, 0, 1 << 70, None, "text", b"", [], float("nan"))
RECORD: Final = np.dtype([("at", "<u8"), ("text", "S6")])


class Unspeakable(Exception):
    """Raises when it is shown."""

    def __str__(self) -> str:
        raise Unspeakable

    __repr__ = __str__


def hostile(choices: Choices, base: type) -> type:
    """A subclass of ``base`` of which some methods raise, or lie."""
    members = {}
    for _ in range(1 + choices.byte() % 3):
        members[choices.pick(METHODS)] = _method(choices)
    if choices.byte() % 8 == 0:
        members["__class__"] = property(_method(choices))
    return type("Hostile", (base,), members)


def _method(choices: Choices) -> Callable[..., Any]:
    if choices.byte() & 1:
        error = choices.pick((*ERRORS, Unspeakable))

        def raising(*_: object, **__: object) -> Any:
            raise error

        return raising
    lie = choices.pick(LIES)
    return lambda *_, **__: lie


class Sized(Collection[Any]):
    """A collection, and no list, whose items may be more or fewer than it says."""

    def __init__(self, items: list[Any], length: int) -> None:
        self._items = items
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __contains__(self, _: object) -> bool:
        return False


class Fickle(list[Any]):
    """A list that is not a plain one, and has more items each time it is read."""

    def __iter__(self) -> Iterator[Any]:
        self.append(1)
        return super().__iter__()


class Point(msgspec.Struct):
    """What msgspec encodes by itself."""

    x: Any = 1


def value(choices: Choices, depth: int = 0) -> Any:
    """Any value, as an event or inside one."""
    how = choices.byte() % 28
    if how < 8 and depth < 6:
        return _container(choices, how, depth)
    return _scalar(choices, how)


def _container(choices: Choices, how: int, depth: int) -> Any:
    inside = [value(choices, depth + 1) for _ in range(choices.byte() % 4)]
    if how == 0:
        return inside
    if how == 1:
        return tuple(inside)
    if how == 2:
        return {f"k{at}": each for at, each in enumerate(inside)}
    if how == 3:
        return {_key(choices): each for each in inside}
    if how == 4:
        return Point(inside)
    if how == 5:
        return OrderedDict(enumerate(inside))
    if how == 6:
        itself: list[Any] = [*inside]
        itself.append(itself)
        return itself
    return {"deep": _nested(choices.pick((3, 100, 3000)))}


def _nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def _key(choices: Choices) -> Any:
    return choices.pick(("key", 7, None, b"x", (1, 2), 1.5, "\ud800", True))


def _scalar(choices: Choices, how: int) -> Any:
    text = choices.raw(choices.byte() % 12)
    if how < 12:
        return text if how & 1 else text.decode("latin-1")
    if how < 15:
        base = choices.pick((object, str, bytes, list, tuple, dict, int, float, set))
        return hostile(choices, base)()
    return choices.pick(
        (
            choices.word(),
            -choices.word(),
            1 << 70,
            math.nan,
            math.inf,
            None,
            True,
            1.5,
            "\ud800",
            "one\ntwo",
            bytearray(text),
            memoryview(text),
            _released(text),
            memoryview(bytes(8)).cast("Q"),
            memoryview(bytes(8))[::2],
            msgspec.Raw(b'{"raw": 1}'),
            msgspec.Raw(text),
            np.int64(3),
            np.arange(3),
            np.zeros(1, RECORD)[0],
            (1, b"x"),
            {1, 2},
            range(3),
            len,
            object(),
            Unspeakable(),
            Unspeakable,
            iter((1, 2)),
        )
    )


def _released(content: bytes) -> memoryview:
    view = memoryview(content)
    view.release()
    return view


def batch(choices: Choices) -> Any:
    """A batch, or what is none."""
    how = choices.byte() % 24
    if how < 12:
        return [value(choices) for _ in range(choices.byte() % 6)]
    items = [value(choices) for _ in range(choices.byte() % 4)]
    if how < 20:
        return choices.pick(
            (
                tuple(items),
                deque(items),
                dict.fromkeys(range(len(items)), 1),
                dict(enumerate(items)).values(),
                iter(items),
                Sized(items, choices.pick((0, 1, 5, len(items)))),
                Fickle(items),
                b"one\ntwo\n",
                "one\ntwo",
                "\ud800\n\udcff",
                bytearray(b"one"),
                memoryview(b"one\n"),
                np.zeros(3, RECORD),
                np.zeros((2, 2), RECORD),
                np.zeros(6, RECORD)[::2],
                np.zeros((), RECORD),
                np.ma.masked_array(np.zeros(2, RECORD)),
                np.arange(3),
                [(1, b"x"), np.zeros(1, RECORD)[0]],
            )
        )
    if how < 23:
        made = hostile(choices, choices.pick((list, tuple, deque, str, bytes, set, object, dict)))
        return made() if choices.byte() & 1 or made.__mro__[1] is object else _filled(made, items)
    return value(choices)


def _filled(made: type, items: list[Any]) -> Any:
    try:
        return made(items)
    except Exception:  # not of such items
        return made()
