"""Nodes that calculate with numbers, and choose sizes for pictures."""

import string
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Text, node
from latentloom.engine.errors import BadValueError, brief
from latentloom.nodes.text.arithmetic import MAX_LENGTH, Number, calculated

EXACT = 2**53 - 1
MEGAPIXEL = 1024 * 1024
Aspect = Literal["1:1", "5:4", "4:3", "3:2", "16:10", "16:9", "2:1", "21:9"]


class Calculated(NamedTuple):
    """A number, the same without its fraction, and whether it is not 0."""

    number: float
    whole: int
    truth: bool


class PictureSides(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@node(
    "Calculate",
    aliases=(
        "ComfyMathExpression",
        "ComfyNumberConvert",
        "MathExpression|pysssss",
        "SimpleMath+",
        "SimpleCalculatorKJ",
        "CM_IntToFloat",
        "CM_FloatToInt",
        "CR Value",
        "CR Integer Multiple",
        "math",
        "expression",
        "add",
        "multiply",
        "convert",
    ),
    category="primitives",
)
def calculate(
    expression: Annotated[
        Text,
        Field(
            max_length=MAX_LENGTH,
            description="Expression in Python syntax: a * 2 + b, max(a, 64), a // 8 * 8, a if b else 0.",
        ),
    ] = "a",
    values: Annotated[
        list[Any] | None, Field(description="Numbers or booleans; the first is named a, the second b, up to z.")
    ] = None,
) -> Calculated:
    """Evaluate an arithmetic expression of numbers from other nodes, such as a size, a seed or a count.

    Supported are + - * / // % **, bitwise operators, comparisons, and, or, not, `x if y else z`, and the functions abs,
    ceil, floor, round, int, float, bool, min, max, sum, sqrt, pow, exp, log, log2, log10, sin, cos and tan.
    """
    found = calculated(expression, _named(values or []))
    if abs(found) > EXACT:
        raise BadValueError("the result is too large", expected=f"at most {EXACT}", got=brief(found))
    return Calculated(float(found), int(found), bool(found))


def _named(values: list[Any]) -> dict[str, Number]:
    if len(values) > len(string.ascii_lowercase):
        raise BadValueError("there are too many values", expected="at most 26", got=str(len(values)))
    for value in values:
        if not isinstance(value, (bool, int, float)):
            raise BadValueError("a value is not a number", expected="numbers, true or false", got=brief(value))
    return dict(zip(string.ascii_lowercase, values, strict=False))


@node(
    "PictureShape",
    display_name="Aspect ratio",
    aliases=("ResolutionSelector", "resolution", "size", "16:9", "portrait", "landscape"),
    category="primitives",
)
def picture_shape(
    aspect: Annotated[Aspect, Field(description="Aspect ratio of the longer to the shorter side.")] = "1:1",
    upright: Annotated[bool, Field(description="Portrait format: the height is the longer side.")] = False,
    megapixels: Annotated[
        float, Field(ge=0.01, le=64, description="Size in units of 1024x1024 pixels. SD 1.x needs 0.25, SDXL 1.")
    ] = 1.0,
    multiple_of: Annotated[int, Field(ge=1, le=512, description="Both sides are multiples of this number.")] = 64,
) -> PictureSides:
    """Return the width and height for an aspect ratio and a number of pixels, for EmptyLatent and other nodes."""
    long, short = map(int, aspect.split(":"))
    unit = (megapixels * MEGAPIXEL / (long * short)) ** 0.5
    sides = [max(1, round(unit * side / multiple_of)) * multiple_of for side in (long, short)]
    if max(sides) > 16384:
        raise BadValueError("the picture is too large", expected="at most 16384 pixels a side", got=str(max(sides)))
    return PictureSides(*(reversed(sides) if upright else sides))


NODES = (calculate, picture_shape)
