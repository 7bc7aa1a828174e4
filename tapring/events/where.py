"""``where``: a JMESPath expression that must be true for an event, and what makes it fast.

jmespath parses and evaluates. Two things are added, and tests compare both with jmespath itself.
First, the literals of an expression are searched in the text of an event before the event is
decoded. This can rule an event out, never in. Second, comparisons of fields with literals, joined
by ``&&``, ``||`` and ``!``, are compiled into functions. jmespath walks the expression again for
each event, which takes 4,200 ns for two comparisons; the function takes 250 ns.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from ..thrown_in import comes_of
from .decoding import NOT_DECODED
from .expression import (
    Names,
    advice,
    check_functions,
    compared_fields,
    fields_of,
    quoted_instead_of_text,
)

# In JSON text, each of these is written as itself, or as \u and four digits: printable ASCII
# without " \ and /. (As a class of what they are not, this would take 5 ms to compile.)
_VERBATIM: Final = re.compile(r"[ !#-.0-\[\]-~]+")
_ORDER: Final = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}

_LOOKED_INTO: Final = 256  # texts that were ruled out
_LOOKED_INTO_LATER: Final = 16  # one in so many

Truth = Callable[[Any], bool]
_decode: Final = msgspec.json.Decoder().decode


class Where:
    """A JMESPath expression (jmespath.org), compiled once, that must be true for an event.

    True means what it means in JMESPath: not false, null, or an empty string, array or object. An
    event does not pass if the expression fails for it, as a function of an absent field does;
    ``failed`` counts such events.

    ``unmet`` are the fields that the expression reads and that no event had so far, ``unsure``
    those of them of which this is not certain: an event was ruled out by its text, and not decoded.
    ``compared`` are the fields on the right of a comparison, and ``quoted`` those of them that are
    in double quotes: nearly always, a text was meant. ``looks``: whether any field is unmet.

    Raises ValueError for an invalid expression, for an unknown function, and for a function with
    too few or too many arguments.
    """

    def __init__(self, expression: str) -> None:
        import jmespath
        from jmespath.exceptions import JMESPathError

        self.text = expression
        self.failed: int = 0
        self._error: type[Exception] = JMESPathError
        try:
            compiled = jmespath.compile(expression)
        except (JMESPathError, RecursionError) as error:
            said = " ".join(str(error).split())
            raise ValueError(
                f"Invalid JMESPath expression {expression!r}: {said}. {advice(expression)}"
            ) from None
        self._learn(compiled.parsed)
        self._holds = _truth(compiled.parsed) or _true_of(compiled.search)
        self._needed = [
            tuple(searcher(text.encode()) for text in texts) for texts in _needed(compiled.parsed)
        ]

    def _learn(self, parsed: dict[str, Any]) -> None:
        """Learn what the expression calls and reads."""
        check_functions(parsed)
        self.compared: frozenset[str] = compared_fields(parsed)
        self.quoted: tuple[str, ...] = quoted_instead_of_text(self.text, parsed)
        self._unmet = {names: _keys_of(names) for names in fields_of(parsed)}
        self._unsure: dict[Names, None] = {}
        self._ruled_out = 0
        self.looks: bool = bool(self._unmet)

    @property
    def unmet(self) -> tuple[str, ...]:
        """The fields that no event had so far, each as a dotted path."""
        return tuple(".".join(names) for names in self._unmet)

    @property
    def unsure(self) -> tuple[str, ...]:
        """Those of ``unmet`` that an event which was ruled out by its text may have had."""
        return tuple(".".join(names) for names in self._unmet if names in self._unsure)

    def meet(self, events: Sequence[Any]) -> None:
        """Learn which fields the ``events`` (decoded JSON) have. Costs nothing once all are met."""
        for names in tuple(self._unmet):
            if any(_has(event, names) for event in events):
                del self._unmet[names]
        self.looks = bool(self._unmet)

    def meet_ruled_out(self, text: bytes) -> None:
        """Learn which fields the events in ``text`` have, which the literals ruled out.

        At most one event is decoded for each field. Searching for a name takes longer than ruling
        out, so a field that no event has would make that 2.5 times as slow: of the texts that
        come later, only some are looked into.
        """
        self._ruled_out += 1
        if self._ruled_out > _LOOKED_INTO and self._ruled_out % _LOOKED_INTO_LATER:
            self._unsure = dict.fromkeys(self._unmet)
            return
        escaped = _escaped(text)
        for names, keys in tuple(self._unmet.items()):
            if not escaped and not all(key in text for key in keys):
                continue
            at = max(0, text.find(keys[0]))
            start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
            end = len(text) if end < 0 else end
            with suppress(*NOT_DECODED):
                self.meet([_decode(text[start:end])])
            if names in self._unmet and (escaped or keys[0] in text[end:]):
                self._unsure[names] = None

    def certainly_not(self, text: bytes) -> bool:
        """Whether the expression cannot be true for any event whose JSON is in ``text``."""
        for searches in self._needed:
            if not any(search(text) for search in searches):
                return not _escaped(text)
        return False

    def candidates(self, texts: Sequence[bytes], at: Sequence[int]) -> Sequence[int]:
        """The indices of ``at`` whose text the literals do not rule out."""
        for searches in self._needed:
            if len(searches) == 1:
                search = searches[0]
                at = [i for i in at if search(texts[i]) or _escaped(texts[i])]
            else:
                at = [i for i in at if any(s(texts[i]) for s in searches) or _escaped(texts[i])]
        return at

    def holds(self, event: Any) -> bool:
        """Whether the expression is true for ``event`` (decoded JSON)."""
        try:
            return self._holds(event)
        except Exception as error:  # what a function of jmespath raises depends on the event
            usual = isinstance(error, self._error)
            if not usual and not comes_of(error, self._holds, event):
                raise
            self.failed += 1
            return False


def _keys_of(names: Names) -> tuple[bytes, ...]:
    """The texts with which JSON names a field, unless it writes them with escapes."""
    return tuple(map(msgspec.json.encode, names))


def _has(event: Any, names: Names) -> bool:
    for name in names:
        if type(event) is not dict or name not in event:
            return False
        event = event[name]
    return True


def _needed(node: dict[str, Any]) -> list[tuple[str, ...]]:
    """The texts that the JSON of an event must contain for the expression to be true.

    At least one text of each tuple. ``node`` is a node of jmespath's parsed expression.
    """
    kind, children = node["type"], node["children"]
    if kind == "and_expression":
        return [texts for child in children for texts in _needed(child)]
    if kind == "or_expression":
        each = [max(_needed(child), key=_rarity, default=()) for child in children]
        return [tuple(text for texts in each for text in texts)] if all(each) else []
    if kind == "comparator" and node["value"] == "eq":
        return _needed_of_equal(*children)
    return []


def _needed_of_equal(one: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, ...]]:
    for literal, path in ((one, other), (other, one)):
        if literal["type"] == "literal" and _getter(path) is not None:
            value = literal["value"]
            parts = _VERBATIM.findall(value) if isinstance(value, str) else []
            if parts:
                return [(max(parts, key=len),)]
    return []


def _rarity(texts: tuple[str, ...]) -> int:
    """How rare one of ``texts`` is in an event: as rare as the shortest."""
    return min(map(len, texts), default=0)


def _truth(node: dict[str, Any]) -> Truth | None:
    """The expression as a function of an event; None if only jmespath can evaluate it."""
    kind, children = node["type"], node["children"]
    if kind in ("and_expression", "or_expression"):
        one, other = map(_truth, children)
        if one is None or other is None:
            return None
        if kind == "and_expression":
            return lambda event: one(event) and other(event)
        return lambda event: one(event) or other(event)
    if kind == "not_expression":
        inner = _truth(children[0])
        return None if inner is None else _not(inner)
    if kind == "comparator" and children[1]["type"] == "literal":
        return _then(_getter(children[0]), _comparison(node["value"], children[1]["value"]))
    get = _getter(node)
    return None if get is None else _true_of(get)


def _not(truth: Truth) -> Truth:
    return lambda event: not truth(event)


def _getter(node: dict[str, Any]) -> Callable[[Any], Any] | None:
    """A function that gets a field of an event, or of an object in it; None for anything else."""
    if node["type"] == "field":
        name = node["value"]
        return lambda event: event.get(name) if type(event) is dict else None
    if node["type"] != "subexpression":
        return None
    steps = [_getter(child) for child in node["children"]]
    get = steps[0]
    for step in steps[1:]:
        get = _then(get, step)
    return get


def _then(
    outer: Callable[[Any], Any] | None, inner: Callable[[Any], Any] | None
) -> Callable[[Any], Any] | None:
    if outer is None or inner is None:
        return None
    return lambda event: inner(outer(event))


def _comparison(name: str, literal: Any) -> Truth | None:
    """A comparison with a string or a number, by JMESPath's rules: true is not 1."""
    is_number = isinstance(literal, int | float) and not isinstance(literal, bool)
    if isinstance(literal, str):
        if name == "eq":
            return lambda value: bool(value == literal)
        return (lambda value: bool(value != literal)) if name == "ne" else None
    if not is_number:
        return None
    if name == "eq":
        return lambda value: value == literal and type(value) is not bool
    if name == "ne":
        return lambda value: value != literal or type(value) is bool
    order = _ORDER[name]

    def compare(value: Any) -> bool:
        if type(value) is bool or not isinstance(value, int | float | str):
            return False
        return bool(order(value, literal))  # a TypeError for a string, as in jmespath

    return compare


def _true_of(get: Callable[[Any], Any]) -> Truth:
    def holds(event: Any) -> bool:
        found = get(event)
        return not (found is None or found is False or (found != 0 and not found))

    return holds


def searcher(literal: bytes) -> Callable[[bytes], object]:
    """A function that searches for ``literal``.

    The regex engine takes 57 to 122 ns for 206 bytes, bytes.find 56 to 177 ns (CPython 3.11, eleven
    literals, rare and frequent). One regex for several literals takes 1,100 ns.
    """
    return re.compile(re.escape(literal)).search


_escaped: Final = searcher(rb"\u")  # JSON may write any character as \\u and four digits
