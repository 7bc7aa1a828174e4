"""Which changes can be made to a module: each replaces the text of one expression or statement."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the text between two offsets of a module is replaced by another."""

    module: str  # below the package: "wire.reader"
    function: str  # its qualified name, or "-" outside of functions and classes
    line: int
    before: str
    after: str
    start: int
    end: int
    text: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same if the lines around it move."""
        return self.module, self.function, self.before, self.after

    def overlaps(self, other: Mutant) -> bool:
        """Whether both change the same text."""
        return self.module == other.module and self.start < other.end and other.start < self.end


def applied(source: bytes, mutants: list[Mutant]) -> bytes:
    """Return a module's source with changes, no two of which overlap."""
    for each in sorted(mutants, key=lambda mutant: -mutant.start):
        source = source[: each.start] + each.text.encode() + source[each.end :]
    return source


class Mutations(ast.NodeVisitor):
    """Collects all changes that can be made to one module."""

    def __init__(self, module: str, source: bytes) -> None:
        self.found: list[Mutant] = []
        self._module = module
        self._source = source
        self._lines = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]
        self._within: list[str] = []
        self._functions = 0
        self._parents: list[ast.AST] = []
        self.visit(ast.parse(source))

    def visit(self, node: ast.AST) -> None:
        """Visit a node and keep track of those around it."""
        self._parents.append(node)
        super().visit(node)
        self._parents.pop()

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._lines[node.lineno - 1] + node.col_offset
        return start, self._lines[node.end_lineno - 1] + node.end_col_offset

    def _add(self, node: ast.expr | ast.stmt, text: str, shown: ast.AST | None = None) -> None:
        """Replace ``node`` by ``text``; ``shown`` is what the report shows of the code around."""
        start, end = self._span(node)
        outer = shown if isinstance(shown, ast.expr | ast.stmt) else node
        first, last = self._span(outer)
        before = self._source[first:last].decode()
        shorter = text.removeprefix("(").removesuffix(")") if outer is node else text
        after = (self._source[first:start] + shorter.encode() + self._source[end:last]).decode()
        self.found.append(
            Mutant(
                self._module,
                ".".join(self._within) or "-",
                node.lineno,
                " ".join(before.split()),
                " ".join(after.split()),
                start,
                end,
                text,
            )
        )

    def _replace(self, node: ast.expr, **fields: object) -> None:
        """Replace an expression by the same with other fields."""
        kept = {name: getattr(node, name) for name in node._fields}
        self._add(node, f"({ast.unparse(type(node)(**kept | fields))})")

    # What is not changed: annotations, texts, errors, what only a type checker reads.

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        return

    def visit_Raise(self, node: ast.Raise) -> None:
        return

    def visit_arg(self, node: ast.arg) -> None:
        return

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._enter(node.name, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions += 1
        self._enter(node.name, [node.args, *node.body])
        self._functions -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def _enter(self, name: str, parts: Iterable[ast.AST]) -> None:
        self._within.append(name)
        for part in parts:
            self.visit(part)
        self._within.pop()

    # Statements.

    def _remove(self, node: ast.stmt) -> None:
        if self._functions:  # a module that lacks a name fails at its import, whatever is tested
            self._add(node, "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.Await):
            self._remove(node)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._remove(node)
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._remove(node)
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._remove(node)
        for other in OPERATORS.get(type(node.op), ()):
            changed = ast.AugAssign(node.target, other(), node.value)  # type: ignore[arg-type]
            self._add(node, ast.unparse(changed))
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._add(node, "return None")
        self.visit(node.value)

    def visit_Break(self, node: ast.Break) -> None:
        self._add(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._add(node, "break")

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            return
        for text in ("True", "False"):
            self._add(node.test, text)
        self.generic_visit(node)

    visit_IfExp = visit_If  # noqa: N815

    # Expressions.

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._add(test, "True")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for index, op in enumerate(node.ops):
            for other in OPERATORS[type(op)]:
                self._replace(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for other in OPERATORS[type(node.op)]:
            self._replace(node, op=other())
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not any(map(_is_text, (node.left, node.right))):
            for other in OPERATORS.get(type(node.op), ()):
                self._replace(node, op=other())
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._add(node, f"({ast.unparse(node.operand)})")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        other = {"min": "max", "max": "min"}.get(getattr(node.func, "id", ""))
        if other:
            self._add(node.func, other, node)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        shown = self._parents[-2]
        if isinstance(shown, ast.keyword | ast.Slice):
            shown = self._parents[-3]
        if isinstance(node.value, bool):
            self._add(node, str(not node.value), shown)
        elif isinstance(node.value, int):
            for value in (node.value + 1, node.value - 1):
                self._add(node, str(value) if value >= 0 else f"({value})", shown)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )
