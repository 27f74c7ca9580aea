"""Plain values: texts, numbers, seeds, choices, and a branch."""

from typing import Annotated, Any

from pydantic import Field

from latentloom.engine import Lazy, Seed, Text, node
from latentloom.engine.errors import BadValueError, brief, nearest

EXACT = 2**53 - 1  # the largest integer that every JSON parser represents exactly
MAX_TEXT = 1_000_000


@node(
    "Text",
    aliases=(
        "PrimitiveString",
        "PrimitiveStringMultiline",
        "easy string",
        "ttN text",
        "CR Text",
        "Text Multiline",
        "Text _O",
        "CR Prompt Text",
        "StringConstant",
        "StringConstantMultiline",
        "String Literal",
        "string",
        "note",
        "multiline",
    ),
    category="primitives",
)
def text(
    text: Annotated[Text, Field(max_length=MAX_TEXT, description="Any text; it may have several lines.")] = "",
) -> str:
    """Return a text, so that several nodes can share it."""
    return text


@node(
    "JoinText",
    display_name="Join text",
    aliases=(
        "StringConcatenate",
        "Text Concatenate",
        "CR Text Concatenate",
        "JoinStrings",
        "concatenate",
        "concat",
        "append",
    ),
    category="primitives",
)
def join_text(
    texts: Annotated[list[str], Field(description="The texts, in order. Empty texts are skipped.")],
    separator: Annotated[str, Field(max_length=1000, description="Text inserted between two texts.")] = ", ",
) -> str:
    """Join several texts into one, such as a subject and a style. The result has at most 1,000,000 characters."""
    parts = [part for part in texts if part]
    length = sum(map(len, parts)) + len(separator) * max(0, len(parts) - 1)
    if length > MAX_TEXT:
        raise BadValueError("the joined text is too long", expected=f"at most {MAX_TEXT} characters", got=str(length))
    return separator.join(parts)


@node(
    "ReplaceText",
    display_name="Replace text",
    aliases=("StringReplace", "Text Find and Replace", "find and replace"),
    category="primitives",
)
def replace_text(
    text: Annotated[Text, Field(max_length=MAX_TEXT, description="The text to search.")],
    find: Annotated[
        str, Field(min_length=1, max_length=1000, description="Text to find; every occurrence is replaced.")
    ],
    replace: Annotated[
        str, Field(max_length=1000, description="Replacement text; if empty, the occurrences are removed.")
    ] = "",
) -> str:
    """Replace every occurrence of a text in another text. The result has at most 1,000,000 characters."""
    length = len(text) + text.count(find) * (len(replace) - len(find))
    if length > MAX_TEXT:
        raise BadValueError("the text is too long", expected=f"at most {MAX_TEXT} characters", got=str(length))
    return text.replace(find, replace)


@node(
    "Integer",
    aliases=("PrimitiveInt", "INTConstant", "easy int", "ImpactInt", "ttN int", "number", "value", "int"),
    category="primitives",
)
def integer(
    value: Annotated[int, Field(ge=-EXACT, le=EXACT, description="An integer from -(2^53-1) to 2^53-1.")] = 0,
) -> int:
    """Return an integer. Use SeedNumber for seeds."""
    return value


@node(
    "Float",
    display_name="Decimal number",
    aliases=("PrimitiveFloat", "FloatConstant", "easy float", "ImpactFloat", "ttN float", "number", "value"),
    category="primitives",
)
def float_number(value: Annotated[float, Field(description="Any finite number.")] = 0.0) -> float:
    """Return a floating-point number."""
    return value


@node(
    "SeedNumber",
    display_name="Seed",
    aliases=("SeedNode", "Seed (rgthree)", "easy seed", "ttN seed", "CR Seed", "random"),
    category="primitives",
)
def seed_number(seed: Annotated[Seed, Field(description='A seed, or "random" for a new seed in each run.')] = 0) -> int:
    """Return a seed that several nodes can share."""
    return seed


@node(
    "Boolean",
    aliases=("PrimitiveBoolean", "easy boolean", "BOOLConstant", "toggle", "switch", "yes no", "checkbox"),
    category="primitives",
)
def boolean(value: Annotated[bool, Field(description="true or false.")] = False) -> bool:
    """Return true or false, for example as the condition of an If node."""
    return value


@node("Choice", aliases=("CustomCombo", "combo", "select", "drop-down", "options"), category="primitives")
def choice(
    options: Annotated[Text, Field(max_length=MAX_TEXT, description="One option per line; empty lines are ignored.")],
    index: Annotated[
        int, Field(ge=0, le=EXACT, description="Index of the option; 0 is the first. Used if `name` is empty.")
    ] = 0,
    name: Annotated[str, Field(max_length=1000, description="The option to select; overrides `index`.")] = "",
) -> str:
    """Select one line of a list, by index or by name."""
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


@node("If", aliases=("ComfySwitchNode", "switch", "condition", "branch", "lazy"), category="primitives", needs=_branch)
def if_(
    condition: Annotated[bool, Field(description="Selects the branch that is computed.")],
    then: Annotated[Lazy[Any], Field(description="Result if the condition is true.")],
    otherwise: Annotated[Lazy[Any], Field(description="Result if the condition is false.")],
) -> Any:
    """Return one of two values. Nodes that only the other branch needs are not run."""
    return then if condition else otherwise


NODES = (text, join_text, replace_text, integer, float_number, seed_number, boolean, choice, if_)
