"""Calculates expressions over named numbers, such as `max(a, b) // 8 * 8`.

The syntax is Python's, limited to numbers, comparisons, choices and a few functions. Nothing else can be reached, and
every number stays within the range of a float, so that an expression takes time in its own length only.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from latentloom.engine.errors import BadValueError, brief, nearest

MAX_LENGTH = 2000  # characters
MAX_NUMBER = 2**1023
Number = int | float | bool

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.BitXor: operator.xor, ast.RShift: lambda a, b: a >> min(b, 4096), ast.LShift: lambda a, b: _shifted(a, b),
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_, ast.Invert: operator.invert,
}  # fmt: skip
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "ceil": math.ceil, "cos": math.cos, "exp": math.exp, "float": float, "floor": math.floor, "int": int,
    "bool": bool, "log": math.log, "log2": math.log2, "log10": math.log10, "max": max, "min": min,
    "round": lambda number, *digits: _rounded(number, *digits),
    "sin": math.sin, "sqrt": math.sqrt, "sum": lambda *numbers: sum(numbers), "tan": math.tan,
}  # fmt: skip
CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e, "tau": math.tau, "True": True, "False": False}


def calculated(expression: str, values: Mapping[str, Number]) -> Number:
    """Return the value of an expression. Raises BadValueError for one that cannot be read or has no finite value."""
    tree = _read(expression)
    try:
        return _bounded(_Calculator(values).value(tree))
    except (ArithmeticError, ValueError, TypeError) as error:
        raise BadValueError("the expression has no value", got=brief(expression), hint=str(error)) from error


def _read(expression: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise BadValueError(
            "the expression is too long", expected=f"at most {MAX_LENGTH} characters", got=str(len(expression))
        )
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadValueError(
            "the expression cannot be read", got=brief(expression), hint=f"write it as in Python: {error}"
        ) from error
    if _depth(tree) > 100:
        raise BadValueError("the expression is nested too deep", expected="at most 100 levels")
    return tree


def _depth(tree: ast.AST) -> int:
    """Return the number of levels, without recursion."""
    level, depth = [tree], 0
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


class _Calculator:
    def __init__(self, values: Mapping[str, Number]) -> None:
        self._values = {**CONSTANTS, **values}

    def value(self, node: ast.expr) -> Number:
        return _bounded(self._value(node))

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return value
            case ast.Name(id=name):
                return self._named(name)
            case ast.UnaryOp(op, operand) if type(op) in _UNARY:
                return _UNARY[type(op)](self.value(operand))
            case ast.BinOp(left, ast.Pow(), right):
                return _power(self.value(left), self.value(right))
            case ast.BinOp(left, op, right) if type(op) in _BINARY:
                return _BINARY[type(op)](self.value(left), self.value(right))
            case ast.BoolOp(op, parts):
                return self._joined(parts, all_of=isinstance(op, ast.And))
            case ast.Compare(left, operators, others):
                return self._compared(left, operators, others)
            case ast.IfExp(test, then, otherwise):
                return self.value(then) if self.value(test) else self.value(otherwise)
            case ast.Call(ast.Name(id=name), arguments, []):
                return self._called(name, arguments)
        raise BadValueError("the expression has an unsupported part", got=brief(ast.unparse(node)))

    def _named(self, name: str) -> Number:
        if name not in self._values:
            known = sorted(self._values.keys() - CONSTANTS.keys())
            raise BadValueError(
                f"the expression has no value '{name[:40]}'", expected=", ".join(known) or "no names: no value is given"
            )
        return self._values[name]

    def _joined(self, parts: Sequence[ast.expr], *, all_of: bool) -> Number:
        """Return the first value that decides, as Python does."""
        value: Number = all_of
        for part in parts:
            value = self.value(part)
            if bool(value) != all_of:
                break
        return value

    def _compared(self, left: ast.expr, operators: Sequence[ast.cmpop], others: Sequence[ast.expr]) -> bool:
        one = self.value(left)
        for compare, part in zip(operators, others, strict=True):
            other = self.value(part)
            if type(compare) not in _COMPARED:
                raise BadValueError("numbers are compared by ==, !=, <, <=, > and >=")
            if not _COMPARED[type(compare)](one, other):
                return False
            one = other
        return True

    def _called(self, name: str, arguments: Sequence[ast.expr]) -> Any:
        if name == "pow" and len(arguments) == 2:
            return _power(self.value(arguments[0]), self.value(arguments[1]))
        if name not in FUNCTIONS:
            raise BadValueError(
                f"there is no function '{name[:40]}'", expected=", ".join(FUNCTIONS), nearest=nearest(name, FUNCTIONS)
            )
        return FUNCTIONS[name](*[self.value(argument) for argument in arguments])


def _power(base: Number, exponent: Number) -> Number:
    """Return a power; whole numbers stay exact while they are small."""
    if isinstance(base, int) and isinstance(exponent, int) and 0 <= exponent <= 64 and abs(base) <= 2**15:
        return int(base**exponent)
    return math.pow(base, exponent)


def _rounded(number: Number, *digits: int) -> Number:
    """Return what Python's `round` does, which computes 10 ** -digits however large that is."""
    return round(number, *(max(-400, min(count, 400)) for count in digits))


def _shifted(value: int, places: int) -> int:
    if places > 64:
        raise ValueError("a number can be shifted by at most 64 bits")
    return value << places


def _bounded(value: Any) -> Number:
    if not isinstance(value, (bool, int, float)) or not abs(value) <= MAX_NUMBER:
        raise BadValueError("the expression has no finite value", got=brief(value))
    return value
