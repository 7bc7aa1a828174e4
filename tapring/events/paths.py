"""Dotted paths into decoded JSON: parsing them, and finding, keeping, replacing and removing.

``user.email`` descends into objects. A number is an index in an array, and a key in an object.
Any other name applies to every element of an array, so that none is forgotten. ``*`` is any key
or any element. A backslash makes the next character literal: ``a\\.b`` is the key ``a.b``, and
``\\*`` the key ``*``. A path that is absent, or that goes on below a scalar, finds nothing.

The rules are those of rsigma's tap (``docs/cli/engine/tap.md``), plus ``*`` and the escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from .decoding import NOT_DECODED

ANY: Final = None  # the segment ``*``
NOTHING: Final = object()
Segments = tuple[str | None, ...]

# An object or an array, perhaps behind a byte order mark, or once more in a string of JSON.
_LIKE_JSON: Final = re.compile(r'[\s\ufeff"\\]*[{\[]')
_ESCAPED: Final = ".,\\*"
_TOKEN: Final = re.compile(r"\\(.)|(\\$)|([.,])", re.DOTALL)


class Path:
    """One dotted path. ``text`` is how it was written, ``found`` whether it ever led to a value.

    Raises ValueError, with an example, for an invalid path.
    """

    __slots__ = ("found", "segments", "text")

    def __init__(self, text: str) -> None:
        parts = _split(text)
        if len(parts) != 1:
            raise ValueError(f"{text!r} names several paths. Write a comma in a key as \\,")
        self.text: str = text
        self.segments: Segments = parts[0]
        self.found: bool = False

    def values(self, event: Any) -> list[Any]:
        """The values of ``event`` (decoded JSON) that this path leads to."""
        found = list(_values(event, self.segments, 0))
        self.found = self.found or bool(found)
        return found

    def __repr__(self) -> str:
        return f"Path({self.text!r})"


def parse_paths(paths: str | Iterable[str]) -> tuple[Path, ...]:
    """The paths in ``"a.b,c"``, or in several such texts, without duplicates.

    Raises ValueError for an invalid path, and for no path at all.
    """
    texts = [paths] if isinstance(paths, str) else list(paths)
    found = [Path(part) for text in texts for part in _split_list(text)]
    if not found:
        raise ValueError("No path was given. Try src_ip or user.email,ips.0.")
    return tuple({path.segments: path for path in found}.values())


class Tree:
    """A set of paths that are followed together, so that each value is visited once.

    A path that leads to a value covers the paths that go on below it. ignore_case: paths lead
    through keys that differ from them in case. in_strings: ``replace`` follows paths that go on
    below a string into the JSON in it.
    """

    __slots__ = (
        "_below",
        "_each",
        "_ends",
        "_ignore_case",
        "_in_strings",
        "_indices",
        "_keys",
        "_other",
    )

    def __init__(
        self, rests: Iterable[tuple[Path, Segments]], ignore_case: bool, in_strings: bool
    ) -> None:
        self._ignore_case = ignore_case
        self._in_strings = in_strings
        self._ends: list[Path] = []
        self._below: dict[str | None, list[tuple[Path, Segments]]] = {}
        for path, rest in rests:
            if rest:
                name = rest[0].casefold() if ignore_case and rest[0] is not ANY else rest[0]
                self._below.setdefault(name, []).append((path, rest[1:]))
            else:
                self._ends.append(path)
        wild = self._below.get(ANY, [])
        self._other = self._below_by(wild) if wild else None  # where every other key leads
        self._keys = {
            name: self._below_by(rests + wild)
            for name, rests in self._below.items()
            if name is not ANY
        }
        # For arrays. Made on the first one, since an element may be an array again.
        self._each: Tree | None = None
        self._indices: dict[int, Tree] | None = None

    @classmethod
    def of(
        cls, paths: Iterable[Path], *, ignore_case: bool = False, in_strings: bool = False
    ) -> Tree:
        """The tree of ``paths``."""
        return cls([(path, path.segments) for path in paths], ignore_case, in_strings)

    def _below_by(self, rests: Iterable[tuple[Path, Segments]]) -> Tree:
        return Tree(rests, self._ignore_case, self._in_strings)

    def keep(self, value: Any) -> Any:
        """The part of ``value`` that the paths lead to, in its structure; NOTHING if none does.

        The elements of an array that are kept stay in their order.
        """
        kept: Any = NOTHING
        if isinstance(value, dict):
            pairs = [(key, node.keep(value[key])) for key, node in self._of(value)]
            kept = {key: part for key, part in pairs if part is not NOTHING} or NOTHING
        elif isinstance(value, list):
            parts = [node.keep(value[index]) for index, node in self._of(value)]
            kept = [part for part in parts if part is not NOTHING] or NOTHING
        return value if self.meets() else kept

    def replace(self, value: Any, make: Callable[[Any], Any]) -> Any:
        """``value``, changed in place, with ``make(each)`` for each value the paths lead to."""
        if self._ends:
            self.mark(value)
            return make(value)
        if self._in_strings and self._below and type(value) is str:
            return self._replace_in(value, make)
        for key, node in self._of(value):
            value[key] = node.replace(value[key], make)
        return value

    def _replace_in(self, text: str, make: Callable[[Any], Any]) -> Any:
        """As ``replace``, in the JSON in ``text``; all of it if it only begins like JSON."""
        if not _LIKE_JSON.match(text):
            return text
        try:
            value = msgspec.json.decode(text)
        except NOT_DECODED:
            return make(text)
        return msgspec.json.encode(self.replace(value, make)).decode()

    def remove(self, value: Any) -> None:
        """Remove the values that the paths lead to from ``value``.

        An element of an array becomes None, so that the other elements keep their index.
        """
        for key, node in self._of(value):
            if not node.meets():
                node.remove(value[key])
            elif isinstance(value, dict):
                del value[key]
            else:
                value[key] = None

    def _of(self, value: Any) -> list[tuple[Any, Tree]]:
        """The keys or indices of ``value`` that paths go through, each with the tree below it."""
        if isinstance(value, dict):
            if self._ignore_case:
                nodes = [(key, self._keys.get(key.casefold(), self._other)) for key in value]
                return [(key, node) for key, node in nodes if node is not None]
            if self._other is not None:
                return [(key, self._keys.get(key, self._other)) for key in value]
            return [(key, node) for key, node in self._keys.items() if key in value]
        if isinstance(value, list) and self._below:
            indices = self._grow() if self._indices is None else self._indices
            if self._each is not None:
                return [(i, indices.get(i, self._each)) for i in range(len(value))]
            return [(i, node) for i, node in indices.items() if i < len(value)]
        return []

    def meets(self) -> bool:
        """Whether paths end here; they have then met a value."""
        for path in self._ends:
            path.found = True
        return bool(self._ends)

    def mark(self, value: Any) -> None:
        """Note that the paths led to ``value``, and those that go on below it to its parts."""
        self.meets()
        for key, node in self._of(value):
            node.mark(value[key])

    def _grow(self) -> dict[int, Tree]:
        """Make the trees for an array: by index, and by ``*`` and names for every element."""
        wild = self._below.get(ANY, [])
        fanned = [
            (path, (name, *rest))
            for name, rests in self._below.items()
            if name is not ANY and not _is_index(name)
            for path, rest in rests
        ]
        each = wild + fanned
        self._each = self._below_by(each) if each else None
        indexed: dict[int, list[tuple[Path, Segments]]] = {}
        for name, rests in self._below.items():
            if name is not ANY and _is_index(name):  # 0 and 00 are two keys, and one index
                indexed.setdefault(int(name), []).extend(rests)
        self._indices = {i: self._below_by(rests + each) for i, rests in indexed.items()}
        return self._indices


def _values(value: Any, segments: Segments, at: int) -> Iterator[Any]:
    if at == len(segments):
        yield value
        return
    segment = segments[at]
    if isinstance(value, dict):
        keys: Iterable[Any] = value if segment is ANY else [segment] if segment in value else ()
    elif isinstance(value, list):
        if segment is ANY:
            keys = range(len(value))
        elif _is_index(segment):
            keys = [int(segment)] if int(segment) < len(value) else ()
        else:
            for element in value:
                yield from _values(element, segments, at)
            return
    else:
        return
    for key in keys:
        yield from _values(value[key], segments, at + 1)


def _is_index(segment: str) -> bool:
    return segment.isascii() and segment.isdigit()


def _tokens(text: str) -> Iterator[re.Match[str]]:
    if not isinstance(text, str):
        raise TypeError(f"A path must be a str such as 'user.email', not {text!r}.")
    return _TOKEN.finditer(text)


def _split_list(text: str) -> list[str]:
    """The paths of a list with commas, each as it was written."""
    parts, start = [], 0
    for match in _tokens(text):
        if match[3] == ",":
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return [part.strip() for part in parts]


def _split(text: str) -> list[Segments]:
    """The paths of ``text``, each as its segments."""
    paths: list[list[str | None]] = [[]]
    name, escaped, start = "", False, 0

    def end() -> None:
        if not name:
            raise ValueError(f"Path {text!r} has an empty name. Try user.email or ips.0.")
        paths[-1].append(ANY if name == "*" and not escaped else name)

    for match in _tokens(text):
        name += text[start : match.start()]
        start = match.end()
        if match[3]:
            end()
            name, escaped = "", False
            if match[3] == ",":
                paths.append([])
        elif match[1] and match[1] in _ESCAPED:
            name, escaped = name + match[1], True
        else:
            raise ValueError(
                f"Invalid path {text!r}: a backslash must stand before one of "
                f"{' '.join(_ESCAPED)}. For example, a\\.b is the key 'a.b'."
            )
    name += text[start:]
    end()
    return [tuple(path) for path in paths]
