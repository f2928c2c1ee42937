"""All single changes of one file: where each stands, what it replaces, and the text of the file with it."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.mutants import operators


@dataclass(frozen=True)
class Edit:
    """One mutant of one file.

    ``line`` is that of its statement, by which its tests are found, 0 where that is the whole file; ``imported`` says
    that the change acts at import: of a module's or class's values, or a parameter's default.
    """

    path: str
    where: str
    operator: str
    before: str
    after: str
    line: int
    shown: int
    start: int
    end: int
    imported: bool = False
    number: int = 0

    @property
    def key(self) -> str:
        """A name that outlives changes elsewhere in the file."""
        again = f" #{self.number}" if self.number else ""
        return f"{self.path}::{self.where} {self.operator}: {_flat(self.before)} -> {_flat(self.after)}{again}"

    def write(self, text: str) -> str:
        """Return the file's text with this change."""
        data = text.encode()
        return (data[: self.start] + self.after.encode() + data[self.end :]).decode()

    def compiles(self, text: str) -> bool:
        """Say whether the file's text with this change is a module at all."""
        if self.path.endswith(".toml"):
            return True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                compile(self.write(text), self.path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return False
        return True


def edits(path: str, text: str) -> list[Edit]:
    """Return the changes of one file, in order; some may not compile."""
    found = _toml(path, text) if path.endswith(".toml") else _Walk(path, text).found
    seen: Counter[str] = Counter()
    numbered = []
    for edit in found:
        if edit.before != edit.after:
            numbered.append(Edit(**{**edit.__dict__, "number": seen[edit.key]}))
            seen[edit.key] += 1
    return numbered


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:160]


def _toml(path: str, text: str) -> Iterator[Edit]:
    """Yield each number of a recipe, times ten."""
    for match in re.finditer(r"(?m)^([\w.-]+) = (-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*(?:#.*)?$", text):
        after = repr(float(match[2]) * 10) if re.search(r"[.e]", match[2]) else str(int(match[2]) * 10)
        start, end = (len(text[: match.start(2)].encode()), len(text[: match.end(2)].encode()))
        line = text.count("\n", 0, match.start()) + 1
        yield Edit(path, match[1], "tenfold", match[2], after, 0, line, start, end, imported=True)


class _Walk:
    """One pass over a module's tree that knows in which function and statement it is."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self.starts = [0]
        for row in text.encode().split(b"\n"):
            self.starts.append(self.starts[-1] + len(row) + 1)
        self.found: list[Edit] = []
        self.imported = False
        self._block(ast.parse(text).body, (), 0)

    def _block(self, body: list[ast.stmt], names: tuple[str, ...], depth: int) -> None:
        for statement in body:
            self._statement(statement, names, depth)

    def _statement(self, node: ast.stmt, names: tuple[str, ...], depth: int) -> None:
        """``depth`` counts the functions around: at 0 the statement runs at import."""
        line = node.lineno if depth else 0
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = (*names, node.name)
            first = next((s for s in node.body if not _is_docstring(s)), node.body[0])
            self.imported = True
            for default in [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]:
                self._expression(default, inside, line or first.lineno)
            self.imported = False
            self._block(node.body, inside, depth + 1)
        elif isinstance(node, ast.ClassDef):
            self._block(node.body, (*names, node.name), depth)
        elif not _is_idle(node):
            self._plain(node, names, depth, line)

    def _plain(self, node: ast.stmt, names: tuple[str, ...], depth: int, line: int) -> None:
        if depth:
            self._changes(node, names, line)
        if isinstance(node, ast.If | ast.While):
            self._add(node.test, names, line, "guard", "False")
            if isinstance(node, ast.If):
                self._add(node.test, names, line, "guard", "True")
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "type_comment"}:
                continue
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.stmt):
                    self._statement(part, names, depth)
                elif isinstance(part, ast.ExceptHandler | ast.match_case):
                    self._block(part.body, names, depth)
                elif isinstance(part, ast.AST):
                    self._expression(part, names, line)

    def _expression(self, node: ast.AST, names: tuple[str, ...], line: int) -> None:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and _is_message(node)):
            return
        if isinstance(node, ast.expr | ast.Slice):
            self._changes(node, names, line)
        for part in ast.iter_child_nodes(node):
            self._expression(part, names, line)

    def _changes(self, node: ast.AST, names: tuple[str, ...], line: int) -> None:
        for operator, after in operators.changes(node):
            self._add(node, names, line, operator, after)

    def _add(self, node: ast.AST, names: tuple[str, ...], line: int, operator: str, after: str) -> None:
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        before = self.text.encode()[start:end].decode()
        where = ".".join(names) or "module"
        imported = self.imported or line == 0
        shown = node.lineno  # type: ignore[attr-defined]
        self.found.append(Edit(self.path, where, operator, before, after, line, shown, start, end, imported))


def _is_idle(node: ast.stmt) -> bool:
    """Say whether nothing in a statement decides a number: imports, sentences of errors, docstrings, types."""
    typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    return typing or isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.Assert) or _is_docstring(node)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_message(node: ast.Call) -> bool:
    """Say whether a call makes a sentence for people: an error, a warning, or words joined."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"warn", "join", "say", "TypeVar", "getLogger", "cast"} or name.endswith(("Error", "Warning"))
