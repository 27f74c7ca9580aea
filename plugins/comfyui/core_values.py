"""Rules for ComfyUI's core classes for plain values."""

from latentloom.plugins.comfyui.rules import Made, Result, Rule, Use, passing, renamed


def _switch(use: Use) -> Result:
    inputs = use.take(condition="switch", then="on_true", otherwise="on_false")
    return Made("If", 1, inputs, ("value",))


def _concatenate(use: Use) -> Result:
    texts = [value for name in ("string_a", "string_b") for value in use.take(texts=name).values()]
    use.note("approximated", "where one of the texts is empty, the delimiter is left out")
    return Made("JoinText", 1, {"texts": texts, **use.take(separator="delimiter")}, ("value",))


RULES: dict[str, Rule] = {
    "PrimitiveInt": renamed("Integer", 1, "value", value="value"),
    "PrimitiveFloat": renamed("Float", 1, "value", value="value"),
    "PrimitiveBoolean": renamed("Boolean", 1, "value", value="value"),
    "PrimitiveString": renamed("Text", 1, "value", text="value"),
    "PrimitiveStringMultiline": renamed("Text", 1, "value", text="value"),
    "SeedNode": renamed("SeedNumber", 1, "value", seed="seed"),
    "ComfySwitchNode": _switch,
    "StringConcatenate": _concatenate,
    "ModelAttentionBackend": passing("model", "the settings choose how attention is computed"),
    "HyperTile": passing("model", "HyperTile changes speed and, slightly, the image; the model goes on without it"),
    "TomePatchModel": passing("model", "merging of tokens is not done here; images differ slightly"),
}
