"""Expressions over numbers: Python's results, and nothing but numbers is reached."""

import pytest

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.arithmetic import calculated

VALUES = {"a": 5, "b": 7, "c": 2.5}


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("().__class__", "the expression has an unsupported part"),
        ("a.real", "the expression has an unsupported part"),
        ("lambda: 1", "the expression has an unsupported part"),
        ("[a]", "the expression has an unsupported part"),
        ("'x' * 9", "the expression has an unsupported part"),
        ("1j", "the expression has an unsupported part"),
        ("__import__('os')", "there is no function '__import__'"),
        ("d", "the expression has no value 'd'"),
        ("a +", "the expression cannot be read"),
        ("", "the expression cannot be read"),
        ("a = 1", "the expression cannot be read"),
        ("(" * 300 + "1" + ")" * 300, "the expression cannot be read"),
        ("-" * 900 + "1", "the expression is nested too deep"),
        ("1+" * 2000 + "1", "the expression is too long"),
        ("1 / 0", "the expression has no value"),
        ("9 ** 9 ** 9", "the expression has no value"),
        ("sqrt(-1)", "the expression has no value"),
        ("1 << 9999", "the expression has no value"),
        ("1e308 * 10", "the expression has no finite value"),
        ("c & 1", "the expression has no value"),
        ("max()", "the expression has no value"),
        ("round(a, ndigits=1)", "the expression has an unsupported part"),
    ],
)
def test_what_is_no_calculation_is_refused(expression: str, why: str) -> None:
    with pytest.raises(BadValueError, match=why.replace("(", r"\(")):
        calculated(expression, VALUES)


@pytest.mark.parametrize(
    "expression",
    ["a * b + 1", "(a // 32) * 32", "max(1, int(a / b))", "a & ~1", "min(max(int(a if a >= 0 else b + a), 0), b - 1)",
     "round(c) + abs(-a) % 3", "a < b < 9", "not a or b", "a and b", "2 ** 10 - 0.5", "1 << 4 >> 2", "a == 5 != b",
     "round(1234.567, 1)", "round(1234, -2)", "round(c)"],
)  # fmt: skip
def test_expressions_have_python_s_values(expression: str) -> None:
    assert calculated(expression, VALUES) == eval(expression, {}, dict(VALUES))


@pytest.mark.parametrize(("expression", "value"), [("round(7, -10 ** 15)", 0), ("round(1.25, 10 ** 15)", 1.25)])
def test_rounding_to_any_place_takes_no_time(expression: str, value: float) -> None:
    assert calculated(expression, VALUES) == value
