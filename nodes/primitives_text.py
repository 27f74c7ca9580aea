"""Nodes that search, change and take apart texts and lists of texts."""

import json
import re
import string
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Context, Seed, Text, node
from latentloom.engine.document.strict_json import Limits, parse
from latentloom.engine.errors import BadValueError, WorkflowError, brief
from latentloom.nodes.primitives import EXACT, MAX_TEXT
from latentloom.nodes.text.choices import MAX_LENGTH as MAX_PROMPT
from latentloom.nodes.text.choices import expanded, read_lists
from latentloom.nodes.text.pattern_syntax import MAX_PATTERN, Flags
from latentloom.nodes.text.patterns import Pattern, replaced

Given = Annotated[Text, Field(max_length=MAX_TEXT, description="Any text.")]
PatternText = Annotated[
    str, Field(max_length=MAX_PATTERN, description="A regular expression, without references to groups and lookaround.")
]
IgnoreCase = Annotated[bool, Field(description="Whether capital and small letters are equal.")]
Multiline = Annotated[bool, Field(description="Whether ^ and $ stand for the edges of every line.")]
DotAll = Annotated[bool, Field(description="Whether a dot stands for line breaks too.")]
Place = Annotated[int, Field(ge=-EXACT, le=EXACT, description="Counted from 0; below 0 from the end.")]
_FIELD = re.compile(r"\{\{|\}\}|\{([a-z])(?::([<>^]?[+]?0?\d{0,3}(?:\.\d{1,2})?[defgsx%]?))?\}")


class Found(NamedTuple):
    """What a pattern found, one match a line, whether there is any, and the matches as a list."""

    text: str
    found: bool
    matches: list[str]


class Lines(NamedTuple):
    """The lines of a text, and how many there are."""

    texts: list[str]
    count: int


class Told(NamedTuple):
    """The text that was shown."""

    text: str


@node("FindPattern", category="primitives")
def find_pattern(
    text: Given,
    pattern: PatternText,
    which: Annotated[Literal["first", "all"], Field(description="Which matches count.")] = "first",
    group: Annotated[int, Field(ge=0, le=50, description="The group that is taken; 0 is the whole match.")] = 0,
    ignore_case: IgnoreCase = False,
    multiline: Multiline = False,
    dot_all: DotAll = False,
) -> Found:
    """Find what fits a regular expression in a text.

    The time is linear in the text: patterns that need more, such as lookaround, are refused.
    """
    made = Pattern(pattern, Flags(ignore_case, multiline, dot_all))
    number, matches = made.number(group), list[str]()
    for match in made.find_all(text):
        matches.append(match.group(number) or "")
        if which == "first":
            break
    return Found("\n".join(matches), bool(matches), matches)


@node("ReplacePattern", category="primitives")
def replace_pattern(
    text: Given,
    pattern: PatternText,
    replace: Annotated[str, Field(max_length=1000, description=r"\1 or \g<name> stands for a group.")] = "",
    count: Annotated[int, Field(ge=0, le=EXACT, description="How many matches are replaced; 0 is all.")] = 0,
    ignore_case: IgnoreCase = False,
    multiline: Multiline = False,
    dot_all: DotAll = False,
) -> str:
    """Replace what fits a regular expression in a text. The result has at most a million characters."""
    made = Pattern(pattern, Flags(ignore_case, multiline, dot_all))
    return replaced(made, text, replace, count, MAX_TEXT)


@node("FormatText", category="primitives")
def format_text(
    template: Annotated[
        Text, Field(max_length=MAX_TEXT, description="Text with places such as {a}, {b:.2f} or {c:04d}; {{ is a brace.")
    ] = "{a}",
    values: Annotated[
        list[Any] | None, Field(description="Texts, numbers, true or false: the first is a, the second b, to z.")
    ] = None,
) -> str:
    """Fill values into a text, such as a seed or a size into a label. The result has at most a million characters."""
    named = dict(zip(string.ascii_lowercase, values or [], strict=False))
    filled = _FIELD.sub(lambda found: _filled(found, named), template)
    if len(filled) > MAX_TEXT:
        raise BadValueError("the text is too long", expected=f"at most {MAX_TEXT} characters", got=str(len(filled)))
    return filled


def _filled(found: re.Match[str], values: dict[str, Any]) -> str:
    if found[1] is None:
        return found[0][0]
    if found[1] not in values:
        raise BadValueError(f"there is no value for {found[0]}", expected=f"{len(values)} values at most", got=found[0])
    value = values[found[1]]
    try:
        return format(value, found[2] or "") if found[2] else text_of(value)
    except ValueError as error:
        raise BadValueError(f"the value does not fit {found[0]}", got=brief(value)) from error


def text_of(value: Any) -> str:
    """Return any value as text: texts as they are, lists and tables as JSON, others by a short form."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)) or value is None:
        return str(value)
    if isinstance(value, (list, dict)):
        try:
            return json.dumps(value, ensure_ascii=False, indent=1)
        except (TypeError, ValueError):
            return brief(value)
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} {list(shape)}" if shape is not None else brief(value)


@node("DynamicPrompt", category="primitives")
def dynamic_prompt(
    text: Annotated[
        Text, Field(max_length=MAX_PROMPT, description="A prompt with choices: {red|blue}, {2$$a|b|c}, __animal__.")
    ] = "",
    seed: Annotated[Seed, Field(description='Decides what is chosen; "random" draws anew for each run.')] = 0,
    lists: Annotated[
        Text, Field(max_length=MAX_TEXT, description="One list a line, for __animal__: animal: cat | dog | fox")
    ] = "",
) -> str:
    """Draw a prompt from one with choices and lists (wildcards), by a seed.

    `{a|b}` is one of them, `{3::a|b}` prefers a, `{2$$ and $$a|b|c}` is two of them with " and " between,
    `{1-3$$a|b|c}` one to three. `__animal__` is an entry of the list of that name. Choices and lists may hold others.
    """
    return expanded(text, seed, read_lists(lists))


@node("TextLength", category="primitives")
def text_length(text: Given) -> int:
    """Count the characters of a text."""
    return len(text)


@node("TextPart", category="primitives")
def text_part(text: Given, start: Place = 0, end: Place = EXACT) -> str:
    """Take the characters from one place up to another; what lies beyond the text is left out."""
    return text[start:end]


@node("ChangeText", category="primitives")
def change_text(
    text: Given,
    to: Annotated[
        Literal["trimmed", "trimmed_left", "trimmed_right", "upper", "lower", "capitalized", "title"],
        Field(description="Without white space at its ends, or with other capital letters."),
    ] = "trimmed",
) -> str:
    """Remove white space at the ends of a text, or change its capital letters."""
    if to.startswith("trimmed"):
        return {"trimmed": text.strip, "trimmed_left": text.lstrip, "trimmed_right": text.rstrip}[to]()
    return {"upper": text.upper, "lower": text.lower, "capitalized": text.capitalize, "title": text.title}[to]()


@node("CompareText", category="primitives")
def compare_text(
    a: Given,
    b: Given,
    how: Annotated[
        Literal["equal", "contains", "starts_with", "ends_with"], Field(description="What a is to b.")
    ] = "equal",
    ignore_case: IgnoreCase = False,
) -> bool:
    """Say whether a text equals or contains another one, for an If."""
    one, other = (a.casefold(), b.casefold()) if ignore_case else (a, b)
    if how == "equal":
        return one == other
    if how == "contains":
        return other in one
    return one.startswith(other) if how == "starts_with" else one.endswith(other)


@node("JsonText", category="primitives")
def json_text(
    text: Annotated[Text, Field(max_length=MAX_TEXT, description="A JSON document.")],
    key: Annotated[str, Field(max_length=1000, description="The name of a value; a dot leads inside, as in a.b.0.")],
) -> str:
    """Take a value out of a JSON text, such as an answer of another program. Tables come out as JSON."""
    found = _parsed(text)
    for part in key.split("."):
        if isinstance(found, list) and part.isdecimal() and int(part[:9]) < len(found):
            found = found[int(part[:9])]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            raise BadValueError(f"the JSON has no '{brief(key)[1:-1]}'", got=brief(part))
    return text_of(found)


def _parsed(text: str) -> Any:
    try:
        return parse(text, Limits(size=4 * MAX_TEXT))
    except WorkflowError as error:
        raise BadValueError("the text is no JSON", hint=error.problems[0].message) from error


@node("TextLines", category="primitives")
def text_lines(
    text: Given,
    separator: Annotated[str, Field(max_length=100, description="What stands between two texts; empty: lines.")] = "",
    skip_empty: Annotated[bool, Field(description="Whether empty texts are left out.")] = True,
) -> Lines:
    """Split a text into a list, such as one prompt a line. White space at the ends of each is removed."""
    parts = [part.strip() for part in (text.split(separator) if separator else text.splitlines())]
    texts = [part for part in parts if part or not skip_empty]
    return Lines(texts, len(texts))


@node("PickText", category="primitives")
def pick_text(
    texts: Annotated[list[str], Field(description="The texts to choose from.")],
    index: Annotated[int, Field(ge=-EXACT, le=EXACT, description="Which, from 0; it goes round at the end.")] = 0,
) -> str:
    """Take one text of a list by its number, such as a count or a seed: numbers beyond the list begin again."""
    if not texts:
        raise BadValueError("there is no text to choose from", expected="at least one")
    return texts[index % len(texts)]


@node("ShowText", category="primitives", purity="sink")
def show_text(ctx: Context, value: Annotated[Any, Field(description="A text, a number or any other value.")]) -> Told:
    """Show a value as text while the workflow runs, and pass the text on. Name it as an output to see it afterwards."""
    text = text_of(value)
    ctx.progress(1, 1, message=text[:1000])
    return Told(text)


NODES = (
    find_pattern,
    replace_pattern,
    format_text,
    dynamic_prompt,
    text_length,
    text_part,
    change_text,
    compare_text,
    json_text,
    text_lines,
    pick_text,
    show_text,
)
