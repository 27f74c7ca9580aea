"""Nodes that search, change and take apart texts and lists of texts."""

import json
import re
import string
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Advanced, Context, Seed, Text, node
from latentloom.engine.document.strict_json import Limits, parse
from latentloom.engine.errors import BadValueError, WorkflowError, brief
from latentloom.nodes.primitives import EXACT, MAX_TEXT
from latentloom.nodes.text.choices import MAX_LENGTH as MAX_PROMPT
from latentloom.nodes.text.choices import expanded, read_lists
from latentloom.nodes.text.pattern_syntax import MAX_PATTERN, Flags
from latentloom.nodes.text.patterns import Pattern, replaced

Given = Annotated[Text, Field(max_length=MAX_TEXT, description="Any text.")]
PatternText = Annotated[
    str, Field(max_length=MAX_PATTERN, description="A regular expression, without backreferences and lookaround.")
]
IgnoreCase = Annotated[bool, Field(description="Ignore the difference between upper and lower case.")]
Multiline = Annotated[bool, Field(description="Let ^ and $ match at the start and end of every line.")]
DotAll = Annotated[bool, Field(description="Let a dot match line breaks too.")]
Place = Annotated[
    int, Field(ge=-EXACT, le=EXACT, description="Position in characters from 0; negative values count from the end.")
]
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


@node(
    "FindPattern",
    display_name="Find a pattern",
    aliases=("RegexExtract", "RegexMatch", "regex", "regular expression", "match"),
    category="primitives",
)
def find_pattern(
    text: Given,
    pattern: PatternText,
    which: Annotated[Literal["first", "all"], Field(description="Return the first match or all matches.")] = "first",
    group: Annotated[int, Field(ge=0, le=50, description="Number of the group to return; 0 is the whole match.")] = 0,
    ignore_case: IgnoreCase = False,
    multiline: Annotated[Multiline, Advanced()] = False,
    dot_all: Annotated[DotAll, Advanced()] = False,
) -> Found:
    """Find the matches of a regular expression in a text.

    The search time is linear in the length of the text. Patterns that need more, such as lookaround, are an error.
    """
    made = Pattern(pattern, Flags(ignore_case, multiline, dot_all))
    number, matches = made.number(group), list[str]()
    for match in made.find_all(text):
        matches.append(match.group(number) or "")
        if which == "first":
            break
    return Found("\n".join(matches), bool(matches), matches)


@node(
    "ReplacePattern",
    display_name="Replace a pattern",
    aliases=("RegexReplace", "regex", "regular expression"),
    category="primitives",
)
def replace_pattern(
    text: Given,
    pattern: PatternText,
    replace: Annotated[
        str, Field(max_length=1000, description="Replacement text; \\1 or \\g<name> inserts a group.")
    ] = "",
    count: Annotated[
        int, Field(ge=0, le=EXACT, description="Maximum number of replacements; 0 replaces all matches."), Advanced()
    ] = 0,
    ignore_case: IgnoreCase = False,
    multiline: Annotated[Multiline, Advanced()] = False,
    dot_all: Annotated[DotAll, Advanced()] = False,
) -> str:
    """Replace the matches of a regular expression in a text. The result has at most 1,000,000 characters."""
    made = Pattern(pattern, Flags(ignore_case, multiline, dot_all))
    return replaced(made, text, replace, count, MAX_TEXT)


@node(
    "FormatText",
    display_name="Format text",
    aliases=("StringFormat", "template", "placeholders"),
    category="primitives",
)
def format_text(
    template: Annotated[
        Text,
        Field(
            max_length=MAX_TEXT, description="Text with placeholders such as {a}, {b:.2f} or {c:04d}; {{ is a brace."
        ),
    ] = "{a}",
    values: Annotated[
        list[Any] | None, Field(description="Texts, numbers or booleans; the first is named a, the second b, up to z.")
    ] = None,
) -> str:
    """Insert values into a text, such as a seed or a size into a label. The result has at most 1,000,000 characters."""
    named = dict(zip(string.ascii_lowercase, values or [], strict=False))
    pieces, length, end = list[str](), len(template), 0
    for found in _FIELD.finditer(template):
        pieces += [template[end : found.start()], _filled(found, named)]
        length, end = length + len(pieces[-1]) - len(found[0]), found.end()
        _check_length(length - (len(template) - end))
    _check_length(length)
    return "".join([*pieces, template[end:]])


def _check_length(length: int) -> None:
    """Raise BadValueError for a text that is too long, before it is put together."""
    if length > MAX_TEXT:
        raise BadValueError("the text is too long", expected=f"at most {MAX_TEXT} characters", got=str(length))


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


@node(
    "DynamicPrompt",
    display_name="Dynamic prompt",
    aliases=("easy wildcards", "DPRandomGenerator", "wildcards", "random prompt"),
    category="primitives",
)
def dynamic_prompt(
    text: Annotated[
        Text, Field(max_length=MAX_PROMPT, description="A prompt with choices: {red|blue}, {2$$a|b|c}, __animal__.")
    ] = "",
    seed: Annotated[Seed, Field(description='Seed of the choices; "random" picks a new seed for each run.')] = 0,
    lists: Annotated[
        Text,
        Field(max_length=MAX_TEXT, description="One list per line. For __animal__, write: animal: cat | dog | fox"),
    ] = "",
) -> str:
    """Generate a prompt from a template with choices and lists (wildcards), drawn with a seed.

    `{a|b}` is one of them, `{3::a|b}` prefers a, `{2$$ and $$a|b|c}` is two of them joined by " and ", `{1-3$$a|b|c}`
    is one to three. `__animal__` is an entry of the list with that name. Choices and lists can be nested.
    """
    return expanded(text, seed, read_lists(lists))


@node("TextLength", display_name="Text length", aliases=("StringLength", "count", "characters"), category="primitives")
def text_length(text: Given) -> int:
    """Return the number of characters of a text."""
    return len(text)


@node(
    "TextPart", display_name="Part of a text", aliases=("StringSubstring", "substring", "slice"), category="primitives"
)
def text_part(text: Given, start: Place = 0, end: Place = EXACT) -> str:
    """Return the characters of a text from `start` up to `end`. Positions beyond the text are ignored."""
    return text[start:end]


@node(
    "ChangeText",
    display_name="Change text",
    aliases=("CaseConverter", "StringTrim", "upper case", "lower case", "trim", "strip"),
    category="primitives",
)
def change_text(
    text: Given,
    to: Annotated[
        Literal["trimmed", "trimmed_left", "trimmed_right", "upper", "lower", "capitalized", "title"],
        Field(description="Trim white space at both ends or one end, or change the case."),
    ] = "trimmed",
) -> str:
    """Trim white space or change the case of a text."""
    if to.startswith("trimmed"):
        return {"trimmed": text.strip, "trimmed_left": text.lstrip, "trimmed_right": text.rstrip}[to]()
    return {"upper": text.upper, "lower": text.lower, "capitalized": text.capitalize, "title": text.title}[to]()


@node(
    "CompareText",
    display_name="Compare text",
    aliases=("StringCompare", "StringContains", "equal", "contains"),
    category="primitives",
)
def compare_text(
    a: Given,
    b: Given,
    how: Annotated[
        Literal["equal", "contains", "starts_with", "ends_with"],
        Field(description="The comparison: a equals, contains, starts with or ends with b."),
    ] = "equal",
    ignore_case: IgnoreCase = False,
) -> bool:
    """Compare two texts, for example for an If node."""
    one, other = (a.casefold(), b.casefold()) if ignore_case else (a, b)
    if how == "equal":
        return one == other
    if how == "contains":
        return other in one
    return one.startswith(other) if how == "starts_with" else one.endswith(other)


@node("JsonText", display_name="Text from JSON", aliases=("JsonExtractString", "parse", "key"), category="primitives")
def json_text(
    text: Annotated[Text, Field(max_length=MAX_TEXT, description="A JSON document.")],
    key: Annotated[str, Field(max_length=1000, description="Key of the value; dots separate levels, as in a.b.0.")],
) -> str:
    """Return a value from a JSON text, such as another program's response. Objects and lists are returned as JSON."""
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
        raise BadValueError("the text is not JSON", hint=error.problems[0].message) from error


@node(
    "TextLines", display_name="Lines of a text", aliases=("split", "prompts from text", "list"), category="primitives"
)
def text_lines(
    text: Given,
    separator: Annotated[
        str,
        Field(max_length=100, description="Separator between two items; if empty, the text is split into lines."),
        Advanced(),
    ] = "",
    skip_empty: Annotated[bool, Field(description="Skip empty items."), Advanced()] = True,
) -> Lines:
    """Split a text into a list, such as one prompt per line. White space around each item is removed."""
    parts = [part.strip() for part in (text.split(separator) if separator else text.splitlines())]
    texts = [part for part in parts if part or not skip_empty]
    return Lines(texts, len(texts))


@node("PickText", display_name="Pick a text", aliases=("select", "index"), category="primitives")
def pick_text(
    texts: Annotated[list[str], Field(description="Texts to choose from.")],
    index: Annotated[
        int, Field(ge=-EXACT, le=EXACT, description="Index of the text; 0 is the first. It wraps around at the end.")
    ] = 0,
) -> str:
    """Select one text from a list by index, such as a count or a seed. An index beyond the list wraps around."""
    if not texts:
        raise BadValueError("there is no text to choose from", expected="at least one")
    return texts[index % len(texts)]


@node(
    "ShowText",
    display_name="Show text",
    aliases=(
        "PreviewAny",
        "ShowText|pysssss",
        "Display Any (rgthree)",
        "easy showAnything",
        "Text to Console",
        "display",
        "print",
        "log",
        "debug",
    ),
    category="primitives",
    purity="sink",
)
def show_text(ctx: Context, value: Annotated[Any, Field(description="A text, a number or any other value.")]) -> Told:
    """Show a value as text while the workflow runs, and return it. Name it as an output to see it after the run."""
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
