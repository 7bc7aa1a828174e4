"""Where a thread may be stopped: just after each bytecode that other threads could notice.

What a thread does between two of these bytecodes touches its own frames alone, so stopping it
anywhere else would only repeat a schedule. ``every`` takes all bytecodes instead, and so tries what
is assumed here.
"""

from __future__ import annotations

import ast
import dis
import inspect
from collections.abc import Iterator, Sequence
from types import CodeType, ModuleType
from typing import NamedTuple

_CALLS = ("CALL", "CALL_FUNCTION_EX", "CALL_KW")
_NOTICED = (*_CALLS, "STORE_ATTR", "STORE_SUBSCR", "DELETE_SUBSCR", "BINARY_SUBSCR", "TO_BOOL")
# After one of these, a jump tests what the thread knows already. Otherwise it may test a container
# that other threads fill.
_KNOWN = (*_CALLS, "COMPARE_OP", "IS_OP", "CONTAINS_OP", "CHECK_EXC_MATCH", "TO_BOOL")


class Points(NamedTuple):
    """The offsets of bytecodes before which something may happen.

    stops: another thread or a finalizer may run. throws: an exception may come, because CPython
    lets signal handlers run just before, and the same handlers catch it as would catch that one.
    """

    stops: frozenset[int]
    throws: frozenset[int]


class Code:
    """The code of some modules, and the points in it.

    every: each bytecode may be stopped at. spared: no exception comes into these modules.
    """

    def __init__(
        self,
        modules: Sequence[ModuleType],
        *,
        every: bool = False,
        spared: Sequence[ModuleType] = (),
    ) -> None:
        modules = (*modules, *spared)
        self._files = {module.__file__ for module in modules}
        self._spared = {module.__file__ for module in spared}
        self._changing = {name for module in modules for name in _changing(module)}
        self._every = every
        self._found: dict[CodeType, Points] = {}

    def offsets(self, code: CodeType) -> frozenset[int] | None:
        """The offsets of all points in a function; None if it is not part of this code."""
        if code.co_filename not in self._files:
            return None
        points = self._found[code] = self._find(code)
        return points.stops | points.throws

    def points(self, code: CodeType) -> Points:
        """The points in a function that was looked up in ``offsets``."""
        return self._found[code]

    def _find(self, code: CodeType) -> Points:
        stops: set[int] = set()
        throws: set[int] = set()
        before = ""
        called: int | None = None  # the offset of the call that came last, if it came just before
        is_noticed = False
        for each in dis.get_instructions(code):
            if is_noticed or self._every:
                stops.add(each.offset)
            if called is not None and _handler(code, called) == _handler(code, each.offset):
                throws.add(each.offset)
            if each.opname == "EXTENDED_ARG":  # the rest of this instruction is the next one
                continue
            tests = "_IF_" in each.opname and "NONE" not in each.opname and before not in _KNOWN
            if tests:
                stops.add(each.argval)
            called = each.offset if each.opname in (*_CALLS, "RESUME") else None
            makes = each.opname == "STORE_ATTR" and code.co_name == "__init__"  # nobody has it yet
            is_noticed = tests or (self._is_noticed(each) and not makes)
            before = each.opname
        if code.co_filename in self._spared:
            throws.clear()
        return Points(frozenset(stops), frozenset(throws))

    def _is_noticed(self, each: dis.Instruction) -> bool:
        if each.opname == "LOAD_ATTR":
            return each.argval in self._changing
        if each.opname == "BINARY_OP":
            return each.argrepr == "[]"
        return each.opname in _NOTICED


def _handler(code: CodeType, offset: int) -> int | None:
    """Where an exception that comes at ``offset`` is handled; None if it leaves the function."""
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        if entry.start <= offset < entry.end:
            return entry.target
    return None


def _changing(module: ModuleType) -> Iterator[str]:
    """The attributes that a module's code changes in objects that other threads may have."""
    for function in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(function, ast.FunctionDef) and function.name != "__init__":
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    yield node.attr
