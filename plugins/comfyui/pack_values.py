"""Rules for classes of node packs that hold values and texts, switch, or show something."""

import re
from collections.abc import Sequence
from typing import Any

from latentloom.plugins.comfyui.core_text import calculation
from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.rules import Inner, Made, Passed, Result, Rule, Unmappable, Use, renamed

_MEMBER = re.compile(r"[A-Za-z_]\w{0,40}\.\w{1,40}")


def _first_link(use: Use) -> Result:
    """Convert a node that returns its first connected input."""
    links = [value for _, value in sorted(use.node.inputs.items()) if type(value) is Link]
    use.ignore(*use.node.inputs)
    running = [link for link in links if use.scene.graph[link.node].mode != "mute"]
    if not running:
        raise Unmappable("nothing is connected to it")
    if len(running) > 1:
        use.note("changed", f"it gives the first connected input, from the node '{running[0].node}'")
    return Passed((running[0],))


def _numbered_switch(select: str, prefix: str) -> Rule:
    """Return the rule for a node that passes on the input of a number that is written in it."""

    def rule(use: Use) -> Result:
        chosen = f"{prefix}{use.whole(select)}"
        link = use.link(chosen)
        others = [name for name in use.node.inputs if name.startswith(prefix) and name != chosen]
        use.ignore(*others, "sel_mode")
        if others:
            use.note("changed", f"it gives '{chosen}'; {len(others)} other inputs are left out")
        return Passed((link,))

    return rule


def _passed(input: str, *options: str) -> Rule:
    """Return the rule for a class that passes an input on unchanged."""

    def rule(use: Use) -> Result:
        use.ignore(*options, *(name for name in use.node.inputs if name != input))
        return Passed((use.link(input),))

    return rule


def shown(input: str) -> Rule:
    """Return the rule for a class that shows a value, and saves what it showed last."""

    def rule(use: Use) -> Result:
        use.ignore(*use.node.inputs)
        return Made("ShowText", 1, {"value": use.link(input)}, ("text",))

    return rule


def _shown_pictures(use: Use) -> Result:
    links = [use.link(name) for name in ("image_a", "image_b") if name in use.node.inputs]
    if not links:
        use.note("lost", "nothing is connected to it, so there are no images to compare")
        return Passed(())
    use.note("changed", "the images are shown one after the other")
    inner = {"other": Made("PreviewImage", 1, {"images": links[1]})} if len(links) > 1 else {}
    return Made("PreviewImage", 1, {"images": links[0]}, (), inner)


# Texts


def _text(input: str, *outputs: str) -> Rule:
    return renamed("Text", 1, " ".join(outputs or ("value",)), text=input)


def _joined(prefix: str, separator: str | None) -> Rule:
    """Return the rule for a class that joins numbered or lettered texts."""

    def rule(use: Use) -> Result:
        names = sorted(name for name in use.node.inputs if re.fullmatch(prefix + r"_?(\d{1,3}|[a-z])", name))
        texts = [value for name in names for value in use.take(texts=name).values()]
        if not texts:
            raise Unmappable("it has no texts")
        use.ignore("clean_whitespace", "linebreak_addition")
        between = use.value(separator, str, "").replace("\\n", "\n") if separator else ""
        use.note("approximated", "where one of the texts is empty, the delimiter is left out")
        return Made("JoinText", 1, {"texts": texts, "separator": between}, ("value",))

    return rule


def _function(use: Use) -> Result:
    """Convert a class that joins up to three texts, or replaces one by another."""
    use.ignore("tidy_tags", "result")
    if use.value("action", str, "append") == "replace":
        return Made("ReplaceText", 1, use.take(text="text_a", find="text_b", replace="text_c"), ("value",))
    names = [name for name in ("text_a", "text_b", "text_c") if use.node.inputs.get(name) not in (None, "")]
    tidy = use.node.inputs.get("tidy_tags") in (True, "yes")
    texts = [value for name in names for value in use.take(texts=name).values()]
    use.ignore("text_a", "text_b", "text_c")
    return Made("JoinText", 1, {"texts": texts, "separator": ", " if tidy else ""}, ("value",))


def _written(input: str, *hidden: str) -> Rule:
    """Return the rule for a class that draws a prompt: what it drew last counts, if the file has it."""

    def rule(use: Use) -> Result:
        use.ignore("mode", "Select to add LoRA", "Select to add Wildcard", "multiline_mode", "autorefresh", *hidden)
        drawn = use.node.inputs.get("populated_text")
        if type(drawn) is str and drawn.strip():
            use.ignore(input, "populated_text", "seed")
            use.note("changed", "the prompt that it drew last stays; DynamicPrompt draws anew by a seed")
            return Made("Text", 1, {"text": drawn}, ("value", "value"))
        use.ignore("populated_text")
        use.note("approximated", "another seed rule draws other choices; its lists are files, and are not read")
        return Made("DynamicPrompt", 1, use.take(text=input, seed="seed"), ("value", "value"))

    return rule


# Numbers


def _maths(integer: str, number: str) -> Rule:
    """Return the rule for a class that calculates with a, b and c, with its outputs in that order."""

    def rule(use: Use) -> Result:
        expression = use.value("expression" if "expression" in use.node.inputs else "value", str)
        if _MEMBER.search(expression):
            raise Unmappable("its expression reads a value inside another one, or a node by its name")
        letters = [name for name in "abcd" if name in use.node.inputs]
        last = "abcd".index(letters[-1]) + 1 if letters else 0
        use.ignore(*letters)
        values = [use.node.inputs.get(name, 0) for name in "abcd"[:last]]
        return calculation(expression.strip(), values, integer, number)

    return rule


def _cast(input: str, *outputs: str) -> Rule:
    def rule(use: Use) -> Result:
        return calculation("a", list(use.take(a=input).values()), *outputs)

    return rule


# LoRAs


def lora_chain(use: Use, rows: Sequence[tuple[str, str, Any, Any]]) -> Result:
    """Convert a list of LoRAs, (name, file, strength, strength of the text encoder), to one node each."""
    model, clip = (use.node.inputs.get(name) for name in ("model", "clip"))
    use.ignore("model", "clip")
    inner: dict[str, Made] = {}
    source: dict[str, Any] = {"model": model, "clip": clip}
    for name, file, strength, second in rows:
        key = name.replace("_", "-")
        inner[key] = _lora(file, strength, second, source, both=clip is not None)
        source = {"model": Inner(key, "model"), "clip": Inner(key, "clip") if clip is not None else None}
    if not inner:
        return Passed(tuple(link for link in (model, clip) if type(link) is Link))
    _, made = inner.popitem()
    return Made(made.type, made.version, made.inputs, ("model", "clip") if clip is not None else ("model",), inner)


def _lora(file: str, strength: Any, second: Any, source: dict[str, Any], *, both: bool) -> Made:
    file = file.replace("\\", "/")
    if both:
        return Made("LoadLora", 1, {**source, "lora": file, "model_strength": strength, "clip_strength": second})
    return Made("LoadLoraModel", 1, {"model": source["model"], "lora": file, "strength": strength})


def _loras(use: Use) -> Result:
    """Convert rgthree's list of LoRAs; those that are switched off are left out."""
    use.ignore("PowerLoraLoaderHeaderWidget", "➕ Add Lora")
    rows = []
    for name, row in use.node.inputs.items():
        if type(row) is dict and type(row.get("lora")) is str:
            use.ignore(name)
            strength, second = row.get("strength", 1.0), row.get("strengthTwo")
            if row.get("on") is True and row["lora"] != "None":
                rows.append((name, row["lora"], strength, strength if second is None else second))
    return lora_chain(use, rows)


def _lora_stack(use: Use) -> Result:
    """Convert rgthree's stack of up to four LoRAs."""
    rows = []
    for name in sorted(name for name in use.node.inputs if re.fullmatch(r"lora_\d\d", name)):
        file, strength = use.file(name), use.number(name.replace("lora", "strength"), 1.0)
        if file != "None" and strength:
            rows.append((name, file, strength, strength))
    return lora_chain(use, rows)


SEED, FLOAT, INTEGER = (
    renamed("SeedNumber", 1, "value", seed="seed"),
    renamed("Float", 1, "value", value="value"),
    renamed("Integer", 1, "value", value="value"),
)


def _multiple(use: Use) -> Result:
    factors = use.take(integer="integer", multiple="multiple")
    return calculation("a * b", list(factors.values()), "whole")


RULES: dict[str, Rule] = {
    "Seed (rgthree)": SEED,
    "easy seed": SEED,
    "ttN seed": SEED,
    "CR Seed": SEED,
    "INTConstant": INTEGER,
    "easy int": INTEGER,
    "ImpactInt": INTEGER,
    "ttN int": renamed("Integer", 1, "value", value="int"),
    "FloatConstant": FLOAT,
    "easy float": FLOAT,
    "ImpactFloat": FLOAT,
    "ttN float": renamed("Float", 1, "value", value="float"),
    "easy boolean": renamed("Boolean", 1, "value", value="value"),
    "BOOLConstant": renamed("Boolean", 1, "value", value="value"),
    "MathExpression|pysssss": _maths("whole", "number"),
    "SimpleMath+": _maths("whole", "number"),
    "SimpleCalculatorKJ": _maths("number", "whole"),
    "CM_IntToFloat": _cast("a", "number"),
    "CM_FloatToInt": _cast("a", "whole"),
    "easy string": _text("value"),
    "ttN text": _text("text"),
    "StringConstant": _text("string"),
    "StringConstantMultiline": _text("string"),
    "CR Value": _cast("value", "number", "whole"),
    "CR Integer Multiple": _multiple,
    "CR Text": _text("text"),
    "CR Prompt Text": _text("prompt"),
    "Text Multiline": _text("text"),
    "Text _O": _text("text"),
    "String Literal": _text("string"),
    "Text Concatenate": _joined("text", "delimiter"),
    "CR Text Concatenate": _joined("text", "separator"),
    "JoinStrings": _joined("string", "delimiter"),
    "StringFunction|pysssss": _function,
    "Text Find and Replace": renamed("ReplaceText", 1, "value", text="text", find="find", replace="replace"),
    "ImpactWildcardProcessor": _written("wildcard_text"),
    "easy wildcards": _written("text", "Select to add LoRA", "Select to add Wildcard"),
    "DPRandomGenerator": _written("text"),
    "Any Switch (rgthree)": _first_link,
    "ImpactSwitch": _numbered_switch("select", "input"),
    "CR Text Input Switch": _numbered_switch("Input", "text"),
    "CR Image Input Switch": _numbered_switch("Input", "image"),
    "CR Model Input Switch": _numbered_switch("Input", "model"),
    "CR Latent Input Switch": _numbered_switch("Input", "latent"),
    "easy cleanGpuUsed": _passed("anything"),
    "easy clearCacheAll": _passed("anything"),
    "ShowText|pysssss": shown("text"),
    "Display Any (rgthree)": shown("source"),
    "easy showAnything": shown("anything"),
    "Text to Console": shown("text"),
    "Image Comparer (rgthree)": _shown_pictures,
    "Power Lora Loader (rgthree)": _loras,
    "Lora Loader Stack (rgthree)": _lora_stack,
}
DRAWN = frozenset({
    "Fast Groups Bypasser (rgthree)", "Fast Groups Muter (rgthree)", "Fast Bypasser (rgthree)", "Fast Muter (rgthree)",
    "Fast Actions Button (rgthree)", "Mute / Bypass Repeater (rgthree)", "Mute / Bypass Relay (rgthree)",
    "Bookmark (rgthree)", "Label (rgthree)",
})  # fmt: skip
"""Classes that exist only in the editor: they switch other nodes, or label them."""
