"""What a JMESPath expression asks for: the functions it calls, the fields it needs, likely slips.

An expression is taken as jmespath's parser returns it: a node is ``{"type", "value", "children"}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ..errors import suggest

Names = tuple[str, ...]
Node = dict[str, Any]

_COMPARISONS: Final = frozenset(("eq", "ne", "lt", "lte", "gt", "gte"))
# What the right-hand side of these sees is not the event, but a part or an element of it.
_INTO_A_PART: Final = frozenset(
    ("subexpression", "index_expression", "projection", "value_projection", "filter_projection")
)
_SLIPS: Final = (
    (re.compile(r"(?<![=!<>])=(?!=)"), "To compare, write =="),
    (re.compile(r"[=<>(,]\s*-?\d"), "Write numbers in backticks: user.id==`7`"),
    (re.compile(r"\b(and|or|not)\b", re.IGNORECASE), "Write && for and, || for or, ! for not"),
    (re.compile(r"(?<!&)&(?!&)|(?<!\|)\|(?!\|)"), "Write && for and, || for or"),
)
EXAMPLE: Final = "Try level=='error' && user.name=='root'"


def advice(expression: str) -> str:
    """How to mend an expression that cannot be parsed: what is likely wrong, or an example."""
    without_text = re.sub(r"'[^']*'|`[^`]*`|\"[^\"]*\"", "''", expression)
    return next((said for slip, said in _SLIPS if slip.search(without_text)), EXAMPLE)


def check_functions(node: Node) -> None:
    """Raise ValueError for a function that JMESPath does not have, or that needs other arguments.

    jmespath itself would only notice when it evaluates the expression, for each event.
    """
    from jmespath.functions import Functions

    known = Functions().FUNCTION_TABLE
    for each in _walk(node):
        if each["type"] != "function_expression":
            continue
        name, given = each["value"], len(each["children"])
        if name not in known:
            raise ValueError(
                f"JMESPath has no function {name}(){suggest(name, sorted(known)) or '.'} "
                f"It has {', '.join(sorted(known))}"
            )
        signature = known[name]["signature"]
        variadic = bool(signature) and bool(signature[-1].get("variadic"))
        wanted = len(signature)
        if given < wanted or (given > wanted and not variadic):
            least = "at least " if variadic else ""
            plural = "" if wanted == 1 else "s"
            raise ValueError(
                f"The function {name}() takes {least}{wanted} argument{plural}, not {given}"
            )


def fields_of(node: Node) -> tuple[Names, ...]:
    """The fields of an event that an expression reads, each as the names that lead to it.

    A field is followed through objects only: of ``users[?age > `3`].name`` this is ``users``.
    """
    found: dict[Names, None] = {}
    _follow(node, (), found)
    # Of a.b and a, the longer one says more.
    return tuple(
        each for each in found if not any(o != each and o[: len(each)] == each for o in found)
    )


def compared_fields(node: Node) -> frozenset[str]:
    """The fields that stand on the right of a comparison, where nearly always a text is meant."""
    return frozenset(
        each["children"][1]["value"]
        for each in _walk(node)
        if each["type"] == "comparator" and each["children"][1]["type"] == "field"
    )


def quoted_instead_of_text(expression: str, node: Node) -> tuple[str, ...]:
    """The names in double quotes that follow a comparison: ``level=="error"``.

    JMESPath takes them for fields; text is in single quotes.
    """
    from jmespath.lexer import Lexer

    compared = compared_fields(node)
    found: dict[str, None] = {}
    before = ""
    for token in Lexer().tokenize(expression):
        quoted = token["type"] == "quoted_identifier" and before in _COMPARISONS
        if quoted and token["value"] in compared:
            found[token["value"]] = None
        before = token["type"]
    return tuple(found)


def _walk(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += each["children"]


def _follow(node: Node, at: Names, found: dict[Names, None]) -> Names | None:
    """Note the fields that ``node`` reads; return where it leads, None if that is no field."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        found[(*at, node["value"])] = None
        return (*at, node["value"])
    if kind in ("current", "identity"):
        return at
    if kind == "subexpression":
        where: Names | None = at
        for child in children:
            if where is None:
                return None
            where = _follow(child, where, found)
        return where
    if kind in _INTO_A_PART or kind == "pipe":
        where = _follow(children[0], at, found)
        if kind == "pipe" and where is not None:
            return _follow(children[1], where, found)
        return None
    if kind != "expref":  # it is evaluated for elements
        for child in children:
            _follow(child, at, found)
    return None
