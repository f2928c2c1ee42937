"""The mutation operators: for one node of the syntax tree, what a tired hand might have written instead."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Any

Change = tuple[str, str]
"""The operator's name, and the text that stands instead of the node."""

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_BOUNDARIES = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_TWINS = {
    name: other
    for one, two in (
        ("min", "max"),
        ("minimum", "maximum"),
        ("amin", "amax"),
        ("argmin", "argmax"),
        ("any", "all"),
        ("floor", "ceil"),
        ("zeros", "ones"),
        ("zeros_like", "ones_like"),
        ("new_zeros", "new_ones"),
        ("sin", "cos"),
        ("mean", "sum"),
        ("clamp_min", "clamp_max"),
        ("eval", "train"),
        ("enable_grad", "no_grad"),
    )
    for name, other in ((one, two), (two, one))
}
_PASSING_NAMES = (
    "detach clone clamp clamp_ abs sqrt square exp log sign round contiguous mean sum float double flatten "
    "sort sorted unique flip masked_fill fill_diagonal_ nan_to_num softmax log_softmax relu tanh t copy take for_rows "
    "child to argsort cumsum eval maximum minimum lower strip add_ mul_ sub_ div_ "
)
_PASSING = {*_PASSING_NAMES.split(), "requires_grad_"}
"""Methods that a hand may leave away: what they are called on is of the same kind."""

_FIRST_NAMES = "project minimum maximum clamp normalize abs sqrt exp log sign round where sorted list max min int"
_FIRST = {*_FIRST_NAMES.split()}
"""Functions that a hand may leave away: their first argument is of the same kind."""

_FIXED = {"isinstance", "getattr", "hasattr", "min", "max", "minimum", "maximum"}
"""Whose arguments are not exchanged: nobody would, or nothing changes."""

_KEYED = {"child", "Rng", "for_rows", "stream"}
_SMALL = 1e-6  # constants below guard a division; ten times one is as good


def changes(node: ast.AST) -> Iterator[Change]:
    """Yield the changes of one node, each as operator and replacement text."""
    made = _MAKERS.get(type(node))
    if made is not None:
        yield from made(node)


def _text(node: ast.AST) -> str:
    return f"({ast.unparse(node)})"


def _compare(node: ast.Compare) -> Iterator[Change]:
    for place, op in enumerate(node.ops):
        for other in _COMPARED.get(type(op), ()):
            new = copy.deepcopy(node)
            new.ops[place] = other()
            yield ("boundary" if _BOUNDARIES.get(type(op)) is other else "comparison"), _text(new)


def _arithmetic(node: ast.BinOp) -> Iterator[Change]:
    other = _ARITHMETIC.get(type(node.op))
    if other is None or any(isinstance(s, ast.JoinedStr | ast.List) or _is_text(s) for s in (node.left, node.right)):
        return
    yield "arithmetic", _text(ast.BinOp(node.left, other(), node.right))
    if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        yield "operand", _text(node.left)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _constant(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", repr(not value)
    elif isinstance(value, int):
        yield "constant", repr(value + 1)
        if value > 1:
            yield "tenfold", repr(value * 10)
        if value == 1:
            yield "constant", "0"
    elif isinstance(value, float) and abs(value) > _SMALL:
        yield "tenfold", repr(value * 10)
        yield "constant", repr(0.9 * value)
    elif value == 0.0 and isinstance(value, float):
        yield "constant", "1.0"


def _logic(node: ast.BoolOp) -> Iterator[Change]:
    yield "logic", _text(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
    for place in range(len(node.values)):
        left = node.values[:place] + node.values[place + 1 :]
        yield "clause", _text(left[0] if len(left) == 1 else ast.BoolOp(node.op, left))


def _sign(node: ast.UnaryOp) -> Iterator[Change]:
    if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield "sign", _text(node.operand)


def _choice(node: ast.IfExp) -> Iterator[Change]:
    yield "branch", _text(node.body)
    yield "branch", _text(node.orelse)


def _call(node: ast.Call) -> Iterator[Change]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in _TWINS:
        new = copy.deepcopy(node)
        func: Any = new.func
        setattr(func, "attr" if isinstance(func, ast.Attribute) else "id", _TWINS[name])
        yield "twin", ast.unparse(new)
    if isinstance(node.func, ast.Attribute) and name in _PASSING:
        yield "call", _text(node.func.value)
    if name in _FIRST and node.args and not (isinstance(node.func, ast.Attribute) and name in _PASSING):
        yield "call", _text(node.args[1 if name == "where" and len(node.args) > 1 else 0])
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            yield (
                "keyword",
                ast.unparse(ast.Call(node.func, node.args, node.keywords[:place] + node.keywords[place + 1 :])),
            )
    yield from _arguments(node, name)


def _arguments(node: ast.Call, name: str) -> Iterator[Change]:
    plain = [a for a in node.args if isinstance(a, ast.Name | ast.Attribute | ast.Subscript | ast.Constant)]
    fixed = name in {"isinstance", "getattr", "hasattr", "min", "max", "minimum", "maximum"} or any(
        _is_text(a) for a in node.args[:2]
    )
    if len(node.args) >= 2 and len(plain) == len(node.args) and not fixed:
        swapped = [node.args[1], node.args[0], *node.args[2:]]
        yield "order", ast.unparse(ast.Call(node.func, swapped, node.keywords))
    if name in _KEYED:
        for place, argument in enumerate(node.args):
            nothing = isinstance(argument, ast.Constant) and argument.value == 0
            if not isinstance(argument, ast.Starred) and not nothing and (len(node.args) > 1 or name != "Rng"):
                left = [*node.args[:place], ast.Constant(0), *node.args[place + 1 :]]
                yield "stream", ast.unparse(ast.Call(node.func, left, node.keywords))
    if name == "range" and isinstance(node.func, ast.Name):
        yield "range", f"{ast.unparse(node)}[1:]"
        yield "range", f"{ast.unparse(node)}[:-1]"


def _slice(node: ast.Slice) -> Iterator[Change]:
    lower, upper, step = (ast.unparse(part) if part else "" for part in (node.lower, node.upper, node.step))
    tail = f":{step}" if step else ""
    if lower:
        yield "slice", f":{upper}{tail}"
    if upper:
        yield "slice", f"{lower}:{tail}"
        yield "slice", f"{lower}:({upper}) - 1{tail}"


def _returned(node: ast.Return) -> Iterator[Change]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield "return", "return None"


def _dropped(node: ast.AugAssign) -> Iterator[Change]:
    yield "statement", "pass"
    other = _ARITHMETIC.get(type(node.op))
    if other is not None:
        yield "arithmetic", ast.unparse(ast.AugAssign(node.target, other(), node.value))


def _kept(node: ast.Assign) -> Iterator[Change]:
    if any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
        yield "statement", "pass"


def _effect(node: ast.Expr) -> Iterator[Change]:
    if isinstance(node.value, ast.Call):
        yield "statement", "pass"


def _leaving(node: ast.Break | ast.Continue) -> Iterator[Change]:
    yield "statement", "continue" if isinstance(node, ast.Break) else "break"


_MAKERS: dict[type[ast.AST], Any] = {
    ast.Compare: _compare,
    ast.BinOp: _arithmetic,
    ast.Constant: _constant,
    ast.BoolOp: _logic,
    ast.UnaryOp: _sign,
    ast.IfExp: _choice,
    ast.Call: _call,
    ast.Slice: _slice,
    ast.Return: _returned,
    ast.AugAssign: _dropped,
    ast.Assign: _kept,
    ast.Expr: _effect,
    ast.Break: _leaving,
    ast.Continue: _leaving,
}
