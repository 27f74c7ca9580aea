"""Nodes that apply LoRAs to models and save them. The effects of several LoRAs add up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Clip, Context, Model, ModelFile, Patch, Source, node
from latentloom.engine.errors import BadValueError, FileError
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.lora.adapter_config import adapter_beside
from latentloom.nodes.families.lora.value import TITLE, Lora, other_base

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
    _warn_of_base(ctx, read_header(Path(lora.path)).metadata, lora.name, model)
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
    _warn_of_base(ctx, read_header(Path(lora.path)).metadata, lora.name, model)
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


@node("ApplyLora", category="lora", display_name="Apply LoRA")
def apply_lora(
    ctx: Context,
    model: Model,
    clip: Clip,
    lora: Lora,
    model_strength: Strength = 1.0,
    clip_strength: Strength = 1.0,
) -> WithLora:
    """Apply a LoRA of this workflow, such as TrainLora makes, to a model and its text encoder."""
    _warn_of_base(ctx, lora.header, lora.title, model)
    on_model = model_strength and "unet" in lora.networks
    on_clip = clip_strength and lora.networks - {"unet"}
    return WithLora(
        model.patched(lora.patch(model_strength)) if on_model else model,
        clip.patched(lora.patch(clip_strength)) if on_clip else clip,
    )


@node("SaveLora", category="lora", purity="sink", display_name="Save LoRA")
def save_lora(
    ctx: Context,
    lora: Lora,
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="File name in the output folder, with the same fields as SaveImage. Move the file to "
            "models/loras to use it with LoadLora.",
        ),
    ] = "loras/{name}-{counter}",
    title: Annotated[str, Field(max_length=200, description="Title in the file; empty: as it is.")] = "",
    dtype: Annotated[Literal["fp16", "bf16", "fp32"], Field(description="Precision of the weights in the file.")] = (
        "fp16"
    ),
) -> str:
    """Save a LoRA as a safetensors file with a full header: the base model, the settings, the data set's digest.

    The names are kohya's for Stable Diffusion and diffusers' for transformers, as other programs read them.
    """
    import torch
    from safetensors.torch import save

    kind = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    found = {key: array.tensor().to(kind, copy=True) for key, array in lora.tensors.items()}
    found = {key: tensor.reshape(()) if key.endswith(".alpha") else tensor for key, tensor in found.items()}
    too_large = next((key for key, tensor in found.items() if not tensor.isfinite().all()), None)
    if too_large is not None:
        raise BadValueError(
            f"'{too_large}' does not fit into {dtype}", expected="finite numbers", hint="use bf16 or fp32"
        )
    return ctx.save("safetensors", save(found, metadata={**lora.header, **({TITLE: title} if title else {})}), name)


def _warn_of_base(ctx: Context, header: Mapping[str, str], name: str, model: Model) -> None:
    """Warn of a LoRA whose header says that it was trained on another model."""
    if model.files and other_base(header, model.files[0].sha256):
        was = header.get("ss_sd_model_name", "another model")
        ctx.warn(
            "lora_other_base",
            f"'{name}' was trained on '{was}' with other weights than '{model.files[0].name}'; its effect may differ",
        )


NODES = (load_lora, load_lora_model, load_lora_blocks, apply_lora, save_lora)
