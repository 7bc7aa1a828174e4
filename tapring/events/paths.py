"""Dotted paths into decoded JSON: parsing them, and finding, keeping, replacing and removing.

``user.email`` descends into objects. A number is an index where it meets an array, and a key where
it meets an object. Any other name that meets an array is applied to each of its elements (so that
none is forgotten). ``*`` is any key, or any element. A backslash takes the meaning from what
follows it: ``a\\.b`` is the key ``a.b``, ``\\*`` the key ``*``. A path that is absent, or goes on
below a scalar, finds nothing.

The rules are those of rsigma's tap (``docs/cli/engine/tap.md``), with ``*`` and the escapes added.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

ANY: Final = None  # the segment ``*``
NOTHING: Final = object()
Segments = tuple[str | None, ...]

_ESCAPED: Final = ".,\\*"
_TOKEN: Final = re.compile(r"\\(.)|(\\$)|([.,])", re.DOTALL)


class Path:
    """One dotted path. ``text`` is how it was written; ``found`` whether it ever met a value.

    Raises ValueError, with an example, for a text that is no path.
    """

    __slots__ = ("found", "segments", "text")

    def __init__(self, text: str) -> None:
        parts = _split(text)
        if len(parts) != 1:
            raise ValueError(f"{text!r} is several paths; a comma in a key is written \\,")
        self.text = text
        self.segments: Segments = parts[0]
        self.found = False

    def values(self, event: Any) -> list[Any]:
        """The values of ``event`` (decoded JSON) that this path leads to."""
        found = list(_values(event, self.segments, 0))
        self.found = self.found or bool(found)
        return found

    def __repr__(self) -> str:
        return f"Path({self.text!r})"


def parse_paths(paths: str | Iterable[str]) -> tuple[Path, ...]:
    """Paths from ``"a.b,c"`` or from several texts, each of them one path or a comma's list.

    Raises ValueError for what is none, and for none at all.
    """
    texts = [paths] if isinstance(paths, str) else list(paths)
    found = [Path(part) for text in texts for part in _split_list(text)]
    if not found:
        raise ValueError("no path was given; src_ip and user.email,ips.0 are some")
    return tuple({path.segments: path for path in found}.values())


class Tree:
    """A set of paths, walked together: each value is met once, however many paths lead to it.

    A path that leads to a value covers those that go on below it.
    """

    __slots__ = ("_below", "_each", "_ends", "_indices", "_keys", "_other")

    def __init__(self, rests: Iterable[tuple[Path, Segments]]) -> None:
        self._ends: list[Path] = []
        self._below: dict[str | None, list[tuple[Path, Segments]]] = {}
        for path, rest in rests:
            if rest:
                self._below.setdefault(rest[0], []).append((path, rest[1:]))
            else:
                self._ends.append(path)
        wild = self._below.get(ANY, [])
        self._other = Tree(wild) if wild else None  # what any key leads to
        self._keys = {
            name: Tree(rests + wild) for name, rests in self._below.items() if name is not ANY
        }
        # Of an array, made when the first one comes: an element may be an array again.
        self._each: Tree | None = None
        self._indices: dict[int, Tree] | None = None

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Tree:
        """The tree of ``paths``."""
        return cls((path, path.segments) for path in paths)

    def keep(self, value: Any) -> Any:
        """What of ``value`` the paths lead to, in its own structure; NOTHING where that is none.

        Of an array the elements that are led to stay, in their order.
        """
        kept: Any = NOTHING
        if isinstance(value, dict):
            pairs = [(key, node.keep(value[key])) for key, node in self._of(value)]
            kept = {key: part for key, part in pairs if part is not NOTHING} or NOTHING
        elif isinstance(value, list):
            parts = [node.keep(value[index]) for index, node in self._of(value)]
            kept = [part for part in parts if part is not NOTHING] or NOTHING
        return value if self._meets() else kept

    def replace(self, value: Any, make: Callable[[Any], Any]) -> Any:
        """``value``, changed in place, with ``make(each)`` for each value the paths lead to."""
        if self._ends:
            self._see(value)
            return make(value)
        for key, node in self._of(value):
            value[key] = node.replace(value[key], make)
        return value

    def remove(self, value: Any) -> None:
        """Take what the paths lead to out of ``value``; an array's element becomes None.

        So the other elements keep their index.
        """
        for key, node in self._of(value):
            if not node._meets():
                node.remove(value[key])
            elif isinstance(value, dict):
                del value[key]
            else:
                value[key] = None

    def _of(self, value: Any) -> list[tuple[Any, Tree]]:
        """The keys or indices of ``value`` that paths go through, and how they go on."""
        if isinstance(value, dict):
            if self._other is not None:
                return [(key, self._keys.get(key, self._other)) for key in value]
            return [(key, node) for key, node in self._keys.items() if key in value]
        if isinstance(value, list) and self._below:
            indices = self._grow() if self._indices is None else self._indices
            if self._each is not None:
                return [(i, indices.get(i, self._each)) for i in range(len(value))]
            return [(i, node) for i, node in indices.items() if i < len(value)]
        return []

    def _meets(self) -> bool:
        for path in self._ends:
            path.found = True
        return bool(self._ends)

    def _see(self, value: Any) -> None:
        """Note that the paths have met ``value``, those that go on below it, too."""
        self._meets()
        for key, node in self._of(value):
            node._see(value[key])

    def _grow(self) -> dict[int, Tree]:
        """Make what an array's elements lead to: by index, and by ``*`` and names for each."""
        wild = self._below.get(ANY, [])
        fanned = [
            (path, (name, *rest))
            for name, rests in self._below.items()
            if name is not ANY and not _is_index(name)
            for path, rest in rests
        ]
        each = wild + fanned
        self._each = Tree(each) if each else None
        self._indices = {
            int(name): Tree(rests + each)
            for name, rests in self._below.items()
            if name is not ANY and _is_index(name)
        }
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


def _split_list(text: str) -> list[str]:
    """The paths of a comma's list, each as it was written."""
    parts, start = [], 0
    for match in _TOKEN.finditer(text):
        if match[3] == ",":
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return [part.strip() for part in parts]


def _split(text: str) -> list[Segments]:
    """The paths of ``text``, each as its segments."""
    if not isinstance(text, str):
        raise TypeError(f"a path is a str, such as 'user.email', not {text!r}")
    paths: list[list[str | None]] = [[]]
    name, escaped, start = "", False, 0

    def end() -> None:
        if not name:
            raise ValueError(f"{text!r} has an empty name; user.email and ips.0 are paths")
        paths[-1].append(ANY if name == "*" and not escaped else name)

    for match in _TOKEN.finditer(text):
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
                f"{text!r}: a backslash stands before one of {' '.join(_ESCAPED)}, as in a\\.b "
                f"for the key 'a.b'"
            )
    name += text[start:]
    end()
    return [tuple(path) for path in paths]
