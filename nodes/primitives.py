"""Plain values: texts, numbers, seeds, choices, and a branch."""

from typing import Annotated, Any

from pydantic import Field

from latentloom.engine import Lazy, Seed, Text, node
from latentloom.engine.errors import BadValueError, brief, nearest

EXACT = 2**53 - 1  # the largest integer that every JSON parser represents exactly
MAX_TEXT = 1_000_000


@node("Text", category="primitives")
def text(
    text: Annotated[Text, Field(max_length=MAX_TEXT, description="Any text, of one line or several.")] = "",
) -> str:
    """Give a text, so that one place feeds several nodes."""
    return text


@node("JoinText", category="primitives")
def join_text(
    texts: Annotated[list[str], Field(description="The texts, in order. Empty ones are left out.")],
    separator: Annotated[str, Field(max_length=1000, description="What stands between two texts.")] = ", ",
) -> str:
    """Join texts into one, such as a subject and a style. The result has at most a million characters."""
    parts = [part for part in texts if part]
    length = sum(map(len, parts)) + len(separator) * max(0, len(parts) - 1)
    if length > MAX_TEXT:
        raise BadValueError("the joined text is too long", expected=f"at most {MAX_TEXT} characters", got=str(length))
    return separator.join(parts)


@node("ReplaceText", category="primitives")
def replace_text(
    text: Annotated[Text, Field(max_length=MAX_TEXT, description="Where it is looked for.")],
    find: Annotated[str, Field(min_length=1, max_length=1000, description="What is replaced, wherever it stands.")],
    replace: Annotated[str, Field(max_length=1000, description="What comes in its place; nothing takes it out.")] = "",
) -> str:
    """Replace a part of a text wherever it stands. The result has at most a million characters."""
    length = len(text) + text.count(find) * (len(replace) - len(find))
    if length > MAX_TEXT:
        raise BadValueError("the text is too long", expected=f"at most {MAX_TEXT} characters", got=str(length))
    return text.replace(find, replace)


@node("Integer", category="primitives")
def integer(
    value: Annotated[
        int, Field(ge=-EXACT, le=EXACT, description="A whole number, exact to 2^53-1 on both sides of 0.")
    ] = 0,
) -> int:
    """Give a whole number. For seeds there is SeedNumber."""
    return value


@node("Float", category="primitives")
def float_number(value: Annotated[float, Field(description="Any finite number.")] = 0.0) -> float:
    """Give a number with a fraction."""
    return value


@node("SeedNumber", category="primitives")
def seed_number(seed: Annotated[Seed, Field(description='A seed, or "random": drawn once for each run.')] = 0) -> int:
    """Give one seed to several nodes."""
    return seed


@node("Boolean", category="primitives")
def boolean(value: Annotated[bool, Field(description="true or false.")] = False) -> bool:
    """Give true or false, such as the condition of an If."""
    return value


@node("Choice", category="primitives")
def choice(
    options: Annotated[Text, Field(max_length=MAX_TEXT, description="One option a line; empty lines do not count.")],
    index: Annotated[int, Field(ge=0, le=EXACT, description="Which option, from 0. Used when no name is given.")] = 0,
    name: Annotated[str, Field(max_length=1000, description="The option itself; wins over the index.")] = "",
) -> str:
    """Choose one line of a list, by its place or by its name."""
    lines = [line.strip() for line in options.splitlines() if line.strip()]
    if not lines:
        raise BadValueError("there is nothing to choose from", expected="one option a line", got="no options")
    if name:
        return _named(name.strip(), lines)
    if index >= len(lines):
        raise BadValueError(f"there is no option {index}", expected=f"0..{len(lines) - 1}", got=str(index))
    return lines[index]


def _named(name: str, lines: list[str]) -> str:
    if name not in lines:
        raise BadValueError("there is no such option", got=brief(name), nearest=nearest(name, lines))
    return name


def _branch(condition: bool) -> list[str]:
    return ["then" if condition else "otherwise"]


@node("If", category="primitives", needs=_branch)
def if_(
    condition: Annotated[bool, Field(description="Which branch is computed.")],
    then: Annotated[Lazy[Any], Field(description="The result when the condition is true.")],
    otherwise: Annotated[Lazy[Any], Field(description="The result when the condition is false.")],
) -> Any:
    """Give one of two values; what only the other one needs is not run."""
    return then if condition else otherwise


NODES = (text, join_text, replace_text, integer, float_number, seed_number, boolean, choice, if_)
