"""Rules for ComfyUI's core classes that calculate with numbers or change texts."""

import re
import string
from typing import Any

from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.rules import Inner, Made, Result, Rule, Unmappable, Use, renamed

CASES = {"UPPERCASE": "upper", "lowercase": "lower", "Capitalize": "capitalized", "Title Case": "title"}
TRIMS = {"Both": "trimmed", "Left": "trimmed_left", "Right": "trimmed_right"}
COMPARED = {"Equal": "equal", "Starts With": "starts_with", "Ends With": "ends_with"}
FLAGS = {"ignore_case": "case_insensitive", "multiline": "multiline", "dot_all": "dotall"}
_SHAPE = re.compile(r"\s*(\d{1,3})\s*:\s*(\d{1,3})")
SHAPES = ("1:1", "5:4", "4:3", "3:2", "16:10", "16:9", "2:1", "21:9")


def lettered(use: Use, prefix: str = "values.") -> list[Any]:
    """Return the values of the inputs a to z in order, with 0 for those in between that are not given."""
    given = {name.removeprefix(prefix): name for name in use.node.inputs if name.startswith(prefix)}
    known = [letter for letter in string.ascii_lowercase if letter in given]
    if len(known) < len(given):
        raise Unmappable("its values have other names than a to z")
    use.ignore(*given.values())
    last = string.ascii_lowercase.index(known[-1]) + 1 if known else 0
    return [use.node.inputs[given[letter]] if letter in given else 0 for letter in string.ascii_lowercase[:last]]


def calculation(expression: str, values: list[Any], *outputs: str) -> Result:
    """Return the node that calculates an expression."""
    return Made("Calculate", 1, {"expression": expression, "values": values}, outputs)


def _maths(use: Use) -> Result:
    values = lettered(use)
    return calculation(use.value("expression", str), values, "number", "whole", "truth")


def _number(use: Use) -> Result:
    return calculation("a", list(use.take(a="value").values()), "number", "whole")


def _format(use: Use) -> Result:
    values = lettered(use)
    return Made("FormatText", 1, {"template": use.value("f_string", str), "values": values}, ("value",))


def _extract(use: Use) -> Result:
    mode = use.value("mode", str, "First Match")
    which = "all" if mode.startswith("All") else "first"
    inputs = {**use.take(text="string", pattern="regex_pattern"), **_flags(use), "which": which}
    if mode in ("First Group", "All Groups"):
        inputs |= {"group": use.whole("group_index", 1)}
    elif mode in ("First Match", "All Matches"):
        use.ignore("group_index")
    else:
        raise Unmappable(f"'{mode}' is not extracted here")
    return Made("FindPattern", 1, inputs, ("text",))


def _flags(use: Use) -> dict[str, Any]:
    return {ours: use.node.inputs[theirs] for ours, theirs in FLAGS.items() if _read(use, theirs)}


def _read(use: Use, name: str) -> bool:
    use.ignore(name)
    return name in use.node.inputs


def _match(use: Use) -> Result:
    inputs = {**use.take(text="string", pattern="regex_pattern"), **_flags(use)}
    return Made("FindPattern", 1, inputs, ("found",))


def _replace(use: Use) -> Result:
    inputs = {**use.take(text="string", pattern="regex_pattern", replace="replace"), **_flags(use)}
    return Made("ReplacePattern", 1, {**inputs, "count": use.whole("count", 0)}, ("value",))


def _changed(option: str, known: dict[str, str]) -> Rule:
    def rule(use: Use) -> Result:
        word = use.value(option, str)
        if word not in known:
            raise Unmappable(f"texts are not changed by '{word}' here")
        return Made("ChangeText", 1, {**use.take(text="string"), "to": known[word]}, ("value",))

    return rule


def _contains(use: Use) -> Result:
    caseless = {"ignore_case": not use.value("case_sensitive", bool, True)}
    return Made("CompareText", 1, {**use.take(a="string", b="substring"), "how": "contains", **caseless}, ("value",))


def _compare(use: Use) -> Result:
    mode = use.value("mode", str)
    if mode not in COMPARED:
        raise Unmappable(f"texts are not compared by '{mode}' here")
    caseless = {"ignore_case": not use.value("case_sensitive", bool, True)}
    inputs = {**use.take(a="string_a", b="string_b"), "how": COMPARED[mode], **caseless}
    return Made("CompareText", 1, inputs, ("value",))


def _shape(use: Use) -> Result:
    found = _SHAPE.match(use.value("aspect_ratio", str))
    wide, high = (int(found[1]), int(found[2])) if found else (0, 0)
    shape = f"{max(wide, high)}:{min(wide, high)}"
    if shape not in SHAPES:
        raise Unmappable(f"the shape '{shape}' is not in the list here")
    sizes = {**use.take(megapixels="megapixels"), "multiple_of": use.whole("multiple", 8)}
    return Made("PictureShape", 1, {"aspect": shape, "upright": high > wide, **sizes}, ("width", "height"))


def _combo(use: Use) -> Result:
    """Convert a choice of the user's own options, which gives the option and its place."""
    numbered = [name for name in use.node.inputs if re.fullmatch(r"option\d{1,4}", name)]
    options = [str(use.node.inputs[name]) for name in sorted(numbered, key=lambda name: int(name[6:]))]
    use.ignore("index", *numbered)
    lines = "\n".join(option for option in options if option.strip())
    made = Made("Choice", 1, {"options": lines, **use.take(name="choice")}, ("value",))
    chosen = use.node.inputs.get("choice")
    if not use.uses(1):
        return made
    if type(chosen) is Link or chosen not in options:
        raise Unmappable("the place of a choice that comes from elsewhere is not given here")
    place = Made("Integer", 1, {"value": options.index(chosen)})
    return Made("Choice", 1, made.inputs, ("value", Inner("place", "value")), {"place": place})


RULES: dict[str, Rule] = {
    "ComfyMathExpression": _maths,
    "ComfyNumberConvert": _number,
    "CustomCombo": _combo,
    "JsonExtractString": renamed("JsonText", 1, "value", text="json_string", key="key"),
    "RegexExtract": _extract,
    "RegexMatch": _match,
    "RegexReplace": _replace,
    "ResolutionSelector": _shape,
    "CaseConverter": _changed("mode", CASES),
    "StringTrim": _changed("mode", TRIMS),
    "StringCompare": _compare,
    "StringContains": _contains,
    "StringFormat": _format,
    "StringLength": renamed("TextLength", 1, "value", text="string"),
    "StringReplace": renamed("ReplaceText", 1, "value", text="string", find="find", replace="replace"),
    "StringSubstring": renamed("TextPart", 1, "value", text="string", start="start", end="end"),
    "PreviewAny": renamed("ShowText", 1, "text", value="source"),
}
