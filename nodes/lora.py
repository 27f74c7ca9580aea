"""Nodes that apply LoRAs to models. The effects of several LoRAs add up."""

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from latentloom.engine import Clip, Context, Model, ModelFile, Patch, Source, node
from latentloom.engine.errors import FileError
from latentloom.nodes.families.lora.adapter_config import adapter_beside

LoraFile = Annotated[
    ModelFile,
    Source("models/loras"),
    Field(description="A LoRA, LoCon, LoHa, LoKr or DoRA in models/loras."),
]
Strength = Annotated[
    float, Field(ge=-10, le=10, description="Strength of the LoRA; 0 has no effect, -1 is the opposite.")
]


class WithLora(NamedTuple):
    """A model and its text encoder, both with the LoRA applied."""

    model: Model
    clip: Clip


@node(
    "LoadLora",
    display_name="Load LoRA",
    aliases=(
        "LoraLoader",
        "Power Lora Loader (rgthree)",
        "Lora Loader Stack (rgthree)",
        "LyCORIS",
        "style",
        "character",
    ),
    category="lora",
)
def load_lora(
    ctx: Context,
    model: Model,
    clip: Clip,
    lora: LoraFile,
    model_strength: Strength = 1.0,
    clip_strength: Strength = 1.0,
) -> WithLora:
    """Apply a LoRA to a model and its text encoder, with a separate strength for each."""
    networks = _networks(ctx, lora)
    on_model = model_strength and "unet" in networks
    on_clip = clip_strength and networks - {"unet"}
    return WithLora(
        model.patched(_patch(lora, model_strength)) if on_model else model,
        clip.patched(_patch(lora, clip_strength)) if on_clip else clip,
    )


@node(
    "LoadLoraModel",
    display_name="Load LoRA (model only)",
    aliases=("LoraLoaderModelOnly", "lightning", "turbo", "LCM"),
    category="lora",
)
def load_lora_model(ctx: Context, model: Model, lora: LoraFile, strength: Strength = 1.0) -> Model:
    """Apply a LoRA to a model only. The text encoder is not changed."""
    if "unet" not in _networks(ctx, lora):
        raise FileError(
            f"the LoRA '{lora.name}' changes text encoders only", hint="LoadLora applies it to the text encoder"
        )
    return model.patched(_patch(lora, strength)) if strength else model


@node("LoadLoraBlocks", display_name="Load LoRA by blocks", aliases=("block weight", "LBW"), category="lora")
def load_lora_blocks(
    ctx: Context,
    model: Model,
    lora: LoraFile,
    input_strength: Strength = 1.0,
    middle_strength: Strength = 1.0,
    output_strength: Strength = 1.0,
) -> Model:
    """Apply a LoRA to a model, with a separate strength for the input, middle and output blocks of the UNet."""
    sections = {"input": input_strength, "middle": middle_strength, "output": output_strength}
    changed = load_lora_model(ctx, model, lora)
    patch = changed.patches[-1]
    return model.patched(Patch("lora", {**patch.parameters, "sections": sections}, patch.files))


def _networks(ctx: Context, lora: ModelFile) -> set[str]:
    found = ctx.recognise(lora)
    if found is None or "lora" not in found[1]:
        raise FileError(
            f"'{lora.name}' is not a LoRA that Latentloom knows",
            expected="a LoRA, LoCon, LoHa, LoKr or DoRA",
            got="a different kind of file" if found is None else found[1].get("about", found[0]),
        )
    return set(found[1]["lora"])


def _patch(lora: ModelFile, strength: float) -> Patch:
    beside = adapter_beside(Path(lora.path))
    return Patch("lora", {"strength": strength, **({"adapter": beside} if beside else {})}, (lora.identity,))


NODES = (load_lora, load_lora_model, load_lora_blocks)
