"""Nodes that name models. Nothing is loaded here: a handle is the file's identity and what is known of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Clip, Context, Model, ModelFile, Source, Vae, node
from latentloom.engine.errors import BadValueError, FileError
from latentloom.nodes.families.stable_diffusion.facts import PARTS, clip_facts

Prediction = Annotated[
    Literal["auto", "epsilon", "v", "sample"],
    Field(description="What the network was trained to predict; auto = what the file says, else what is usual."),
]
ZeroSnr = Annotated[
    Literal["auto", "yes", "no"],
    Field(description="Whether training ended in pure noise (zero terminal SNR); auto = what the file says."),
]


class Checkpoint(NamedTuple):
    """The three parts of a checkpoint."""

    model: Model
    clip: Clip
    vae: Vae


@node("LoadCheckpoint", category="loaders")
def load_checkpoint(
    ctx: Context,
    checkpoint: Annotated[
        ModelFile, Source("models/checkpoints"), Field(description="A model folder or file below models/checkpoints.")
    ],
    prediction: Prediction = "auto",
    zero_snr: ZeroSnr = "auto",
) -> Checkpoint:
    """A checkpoint: the network that denoises, the CLIP that reads text, the VAE that makes pixels.

    SD 1.x, SD 2.x, SDXL and its refiner, as one safetensors file or as a folder in diffusers' layout; Z-Image as a
    folder. `shapes` ships
    with Latentloom. `loom models add DIR` adds a folder of your own.
    """
    kind, facts = _recognised(ctx, checkpoint)
    missing = [title for part, title in PARTS.items() if part not in facts]
    if missing:
        raise FileError(
            f"'{checkpoint.name}' is no whole checkpoint: it has no {' and no '.join(missing)}",
            expected=", ".join(PARTS.values()),
            got=", ".join(title for part, title in PARTS.items() if part in facts),
            hint=f"LoadUNet, LoadCLIP and LoadVAE take the parts from files of their own{_wanted(facts)}",
        )
    _check_tokenizer(checkpoint, facts["clip"])
    files = [checkpoint.identity]
    _warn_guess(ctx, checkpoint, facts["unet"], prediction)
    return Checkpoint(
        Model(kind, files, _sampled(_part(facts, "unet"), prediction, zero_snr)),
        Clip(kind, files, _part(facts, "clip")),
        Vae(kind, files, _part(facts, "vae")),
    )


@node("LoadUNet", category="loaders")
def load_unet(
    ctx: Context,
    unet: Annotated[ModelFile, Source("models/unet"), Field(description="A network that denoises below models/unet.")],
    prediction: Prediction = "auto",
    zero_snr: ZeroSnr = "auto",
) -> Model:
    """The network that denoises, a UNet or Z-Image's, from a file of its own or out of a checkpoint file."""
    kind, facts = _with(ctx, unet, "unet")
    _warn_guess(ctx, unet, facts["unet"], prediction)
    return Model(kind, [unet.identity], {**_sampled(_part(facts, "unet"), prediction, zero_snr), "preview": False})


@node("LoadCLIP", category="loaders")
def load_clip(
    ctx: Context,
    text_encoder: Annotated[ModelFile, Source("models/clip"), Field(description="A text encoder below models/clip.")],
    second: Annotated[
        ModelFile | None, Source("models/clip"), Field(description="The other text encoder of SDXL, in either order.")
    ] = None,
    model: Model | None = None,
) -> Clip:
    """A text encoder from a file of its own; two files for SDXL, ViT-L and ViT-bigG in either order.

    Families of models read one encoder in different ways. `model` says for which it is, and whether they fit is told
    before anything is loaded.
    """
    files = [text_encoder] if second is None else [text_encoder, second]
    found = [_with(ctx, file, "clip") for file in files]
    family = found[0][1]["clip"].get("read_as") if model is None else model.model_kind
    if family is not None and hasattr(ctx.lookup("model_kind", family), "clip_facts"):
        return _clip_of(ctx, family, files, model)
    foreign = [file.name for file, (_, facts) in zip(files, found, strict=True) if "read_as" in facts["clip"]]
    if foreign:
        raise BadValueError(f"'{foreign[0]}' is no text encoder of this model", expected="a CLIP", got="another kind")
    clips = sorted((facts["clip"] for _, facts in found), key=lambda clip: "lhg".index(clip["encoders"][0]))
    names = [name for clip in clips for name in clip["encoders"]]
    if second is not None and names != ["l", "g"]:
        raise BadValueError(
            f"'{text_encoder.name}' and '{second.name}' are no pair of text encoders",
            expected="'l' and 'g', as SDXL has them",
            got=" and ".join(f"'{name}'" for name in names),
        )
    joined = clip_facts(names, [clip["width"] for clip in clips], clips[-1]["pooled"])
    kind, facts = found[0]
    return Clip(kind, [file.identity for file in files], _part({**facts, "clip": joined}, "clip"))


def _clip_of(ctx: Context, family: str, files: list[ModelFile], model: Model | None) -> Clip:
    """Text encoders as a family reads them. Raises BadValueError where they do not fit the model."""
    facts = ctx.lookup("model_kind", family)().clip_facts([Path(file.path) for file in files])
    if model is not None and facts["width"] != model.info["context"]:
        raise BadValueError(
            f"the text encoder '{files[0].name}' does not fit '{model.files[0].name}'",
            expected=f"{model.info['reads']} ({model.info['context']} wide)",
            got=f"one {facts['width']} wide",
        )
    _check_tokenizer(files[0], facts)
    return Clip(family, [file.identity for file in files], {"component": "clip", **facts})


def _check_tokenizer(file: ModelFile, facts: Mapping[str, Any]) -> None:
    if facts.get("tokenizer") == "":
        raise FileError(
            f"'{file.name}' has no tokenizer",
            expected="tokenizer.json, or vocab.json, merges.txt and tokenizer_config.json, in the folder of the file, "
            "in a folder 'tokenizer' or 'qwen25_tokenizer' beside it, or in the ComfyUI that it lies in",
            got="none of them",
        )


def _wanted(facts: Mapping[str, Any]) -> str:
    """Which parts a transformer wants, for a hint."""
    info = facts.get("unet", {})
    if "reads" not in info:
        return ""
    return f": {info['reads']} below models/clip (ComfyUI: text_encoders) and {info['vae']} below models/vae"


@node("LoadVAE", category="loaders")
def load_vae(
    ctx: Context, vae: Annotated[ModelFile, Source("models/vae"), Field(description="A VAE below models/vae.")]
) -> Vae:
    """A VAE from a file of its own, or out of a checkpoint file."""
    kind, facts = _with(ctx, vae, "vae")
    return Vae(kind, [vae.identity], _part(facts, "vae"))


def _recognised(ctx: Context, file: ModelFile) -> tuple[str, Mapping[str, Any]]:
    found = ctx.recognise(file)
    if found is None:
        raise FileError(
            f"'{file.name}' is no model that Latentloom knows",
            expected="SD 1.x, SD 2.x, SDXL or Z-Image as a safetensors file or as a folder in diffusers' layout",
            got="a file or folder of another kind",
        )
    return found


def _with(ctx: Context, file: ModelFile, part: str) -> tuple[str, Mapping[str, Any]]:
    kind, facts = _recognised(ctx, file)
    if part not in facts:
        got = ", ".join(title for name, title in PARTS.items() if name in facts)
        raise FileError(f"'{file.name}' has no {PARTS[part]}", expected=PARTS[part], got=got or "another model")
    return kind, facts


def _part(facts: Mapping[str, Any], part: str) -> dict[str, Any]:
    """A handle's info: what is known of one part."""
    return {"component": part, **facts[part]}


def _sampled(info: dict[str, Any], prediction: str, zero_snr: str) -> dict[str, Any]:
    """A UNet's facts with what the person says of its training. Raises BadValueError for a flow, which is told."""
    if info["prediction"] == "flow" and (prediction, zero_snr) != ("auto", "auto"):
        raise BadValueError(
            "the model was trained by flow matching: what it predicts is no choice",
            expected="prediction and zero_snr on 'auto'",
            got=f"'{prediction}' and '{zero_snr}'",
        )
    said = {} if prediction == "auto" else {"prediction": prediction}
    known = {name: value for name, value in info.items() if name != "guessed"}
    return {**known, **said, **({} if zero_snr == "auto" else {"zero_snr": zero_snr == "yes"})}


def _warn_guess(ctx: Context, file: ModelFile, facts: Mapping[str, Any], prediction: str) -> None:
    """Tell that the weights of SD 2.x do not say for certain what they predict."""
    if prediction == "auto" and facts.get("guessed"):
        other = "epsilon" if facts["prediction"] == "v" else "v"
        ctx.warn(
            "prediction_guessed",
            f"'{file.name}' does not say what it predicts; it is taken for '{facts['prediction']}'. "
            f"If its pictures are noise or flat, set the loader's `prediction` to '{other}'",
        )


NODES = (load_checkpoint, load_unet, load_clip, load_vae)
