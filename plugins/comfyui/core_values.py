"""Rules for ComfyUI's core classes for plain values, and for classes of node packs that need no models."""

from typing import Any

from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.rules import Inner, Made, Passed, Result, Rule, Unmappable, Use, passing, renamed


def _switch(use: Use) -> Result:
    inputs = use.take(condition="switch", then="on_true", otherwise="on_false")
    return Made("If", 1, inputs, ("value",))


def _concatenate(use: Use) -> Result:
    texts = [value for name in ("string_a", "string_b") for value in use.take(texts=name).values()]
    use.note("approximated", "where one of the texts is empty, the delimiter is left out")
    return Made("JoinText", 1, {"texts": texts, **use.take(separator="delimiter")}, ("value",))


def _combo(use: Use) -> Result:
    options = [value for name, value in use.node.inputs.items() if name.startswith("option") and type(value) is str]
    use.ignore("index", *(name for name in use.node.inputs if name.startswith("option")))
    if use.uses(1):
        raise Unmappable("the place of a choice is not given here")
    lines = "\n".join(option for option in options if option.strip())
    return Made("Choice", 1, {"options": lines, **use.take(name="choice")}, ("value",))


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


def _loras(use: Use) -> Result:
    """Convert rgthree's list of LoRAs to one node for each enabled LoRA."""
    inner: dict[str, Made] = {}
    model, clip = (use.node.inputs.get(name) for name in ("model", "clip"))
    use.ignore("model", "clip", "PowerLoraLoaderHeaderWidget", "➕ Add Lora")
    source: dict[str, Any] = {"model": model, "clip": clip}
    for name, row in use.node.inputs.items():
        if type(row) is dict and type(row.get("lora")) is str:
            use.ignore(name)
            if row.get("on") is True and row["lora"] != "None":
                made = _lora_row(row, source, clip is not None)
                inner[name.replace("_", "-")] = made
                key = name.replace("_", "-")
                source = {"model": Inner(key, "model"), "clip": Inner(key, "clip") if clip is not None else None}
    if not inner:
        return Passed(tuple(link for link in (model, clip) if type(link) is Link))
    _, made = inner.popitem()
    return Made(made.type, made.version, made.inputs, ("model", "clip") if clip is not None else ("model",), inner)


def _lora_row(row: dict[str, Any], source: dict[str, Any], both: bool) -> Made:
    strength, two = row.get("strength", 1.0), row.get("strengthTwo")
    file = row["lora"].replace("\\", "/")
    if both:
        strengths = {"model_strength": strength, "clip_strength": strength if two is None else two}
        return Made("LoadLora", 1, {**source, "lora": file, **strengths})
    return Made("LoadLoraModel", 1, {"model": source["model"], "lora": file, "strength": strength})


def _preview_any(use: Use) -> Result:
    use.note("lost", "it shows a value, which nothing does here")
    return Passed((use.link("source"),))


def _show_text(use: Use) -> Result:
    use.ignore(*(name for name in use.node.inputs if name != "text"))
    use.note("lost", "it shows a text, which nothing does here")
    return Passed((use.link("text"),))


def _shown_pictures(use: Use) -> Result:
    use.note("changed", "the pictures are shown one after the other")
    links = [use.link(name) for name in ("image_a", "image_b") if name in use.node.inputs]
    if not links:
        raise Unmappable("nothing is connected to it")
    inner = {"other": Made("PreviewImage", 1, {"images": links[1]})} if len(links) > 1 else {}
    return Made("PreviewImage", 1, {"images": links[0]}, (), inner)


RULES: dict[str, Rule] = {
    "PrimitiveInt": renamed("Integer", 1, "value", value="value"),
    "PrimitiveFloat": renamed("Float", 1, "value", value="value"),
    "PrimitiveBoolean": renamed("Boolean", 1, "value", value="value"),
    "PrimitiveString": renamed("Text", 1, "value", text="value"),
    "PrimitiveStringMultiline": renamed("Text", 1, "value", text="value"),
    "SeedNode": renamed("SeedNumber", 1, "value", seed="seed"),
    "ComfySwitchNode": _switch,
    "StringConcatenate": _concatenate,
    "StringReplace": renamed("ReplaceText", 1, "value", text="string", find="find", replace="replace"),
    "CustomCombo": _combo,
    "PreviewAny": _preview_any,
    "HyperTile": passing("model", "HyperTile changes speed and, slightly, the picture; the model goes on without it"),
    "TomePatchModel": passing("model", "merging of tokens is not done here; pictures differ slightly"),
    "Seed (rgthree)": renamed("SeedNumber", 1, "value", seed="seed"),
    "Any Switch (rgthree)": _first_link,
    "Power Lora Loader (rgthree)": _loras,
    "Image Comparer (rgthree)": _shown_pictures,
    "ShowText|pysssss": _show_text,
}
