"""Nodes that select models. No weights are loaded here: a handle holds the file's identity and its facts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Absent, Advanced, Clip, Context, Model, ModelFile, Source, Vae, node
from latentloom.engine.errors import BadValueError, FileError
from latentloom.nodes.diffusion.vae import check_vae
from latentloom.nodes.families.family import Family, reading_facts
from latentloom.nodes.families.known_network import refused
from latentloom.nodes.families.stable_diffusion.facts import PARTS, clip_facts
from latentloom.nodes.families.text_encoder import family_of

CLIPS = "lhg"
"""The text encoders of Stable Diffusion, in the order in which their hidden states are concatenated."""

Prediction = Annotated[
    Literal["auto", "epsilon", "v", "sample"],
    Field(
        description="What the network was trained to predict. auto: as stated in the file, otherwise the usual type."
    ),
]
ZeroSnr = Annotated[
    Literal["auto", "yes", "no"],
    Field(description="Whether the training schedule had zero terminal SNR. auto: as stated in the file."),
]


class Checkpoint(NamedTuple):
    """The three parts of a checkpoint, as far as it has them."""

    model: Model | Absent
    clip: Clip | Absent
    vae: Vae | Absent


@node(
    "LoadCheckpoint",
    display_name="Load checkpoint",
    aliases=("CheckpointLoaderSimple", "CheckpointLoader", "model", "ckpt", "stable diffusion", "SDXL", "base model"),
    category="loaders",
)
def load_checkpoint(
    ctx: Context,
    checkpoint: Annotated[
        ModelFile, Source("models/checkpoints"), Field(description="A file or folder in models/checkpoints.")
    ],
    prediction: Annotated[Prediction, Advanced()] = "auto",
    zero_snr: Annotated[ZeroSnr, Advanced()] = "auto",
) -> Checkpoint:
    """Load a checkpoint: the denoising network, the text encoder (CLIP) and the VAE.

    Stable Diffusion 1.x to 3.5, Flux.1 and Qwen-Image, as a safetensors file or a folder in the diffusers layout;
    Flux.2, Krea 2 and Z-Image as a folder. `shapes` and `shapes-flow` are included in Latentloom.
    `loom models add DIR` adds a folder.
    """
    kind, facts = _recognised(ctx, checkpoint)
    files = [checkpoint.identity]
    made: dict[str, Any] = {part: _absent(checkpoint, part, facts) for part in PARTS}
    if "unet" in facts:
        _warn_guess(ctx, checkpoint, facts["unet"], prediction)
        made["unet"] = Model(kind, files, _sampled(_part(facts, "unet"), prediction, zero_snr))
    if "clip" in facts:
        missing = _missing_tokenizer(ctx, [checkpoint], facts["clip"])
        made["clip"] = Clip(kind, files, _part(facts, "clip")) if missing is None else _unreadable(missing)
    if "vae" in facts:
        made["vae"] = Vae(kind, files, _part(facts, "vae"))
    return Checkpoint(made["unet"], made["clip"], made["vae"])


@node(
    "LoadUNet",
    display_name="Load diffusion model",
    aliases=("UNETLoader", "unet", "transformer", "DiT", "GGUF", "UnetLoaderGGUF", "flux", "qwen"),
    category="loaders",
)
def load_unet(
    ctx: Context,
    unet: Annotated[ModelFile, Source("models/unet"), Field(description="A denoising network in models/unet.")],
    prediction: Annotated[Prediction, Advanced()] = "auto",
    zero_snr: Annotated[ZeroSnr, Advanced()] = "auto",
) -> Model:
    """Load a denoising network, a UNet or a transformer, from its own file or from a checkpoint."""
    kind, facts = _with(ctx, unet, "unet")
    _warn_guess(ctx, unet, facts["unet"], prediction)
    return Model(kind, [unet.identity], {**_sampled(_part(facts, "unet"), prediction, zero_snr), "preview": False})


Second = Annotated[
    ModelFile | None,
    Source("models/clip"),
    Field(description="A second text encoder, in any order, or a vision tower (mmproj)."),
]
Third = Annotated[ModelFile | None, Source("models/clip"), Field(description="A third text encoder, for SD 3.")]


@node(
    "LoadCLIP",
    display_name="Load text encoder",
    aliases=("CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader", "CLIP", "T5", "clip loader"),
    category="loaders",
)
def load_clip(
    ctx: Context,
    text_encoder: Annotated[ModelFile, Source("models/clip"), Field(description="A text encoder in models/clip.")],
    second: Second = None,
    model: Model | None = None,
    third: Third = None,
) -> Clip:
    """Load text encoders from separate files, in any order: two for SDXL and Flux.1, three for SD 3.

    A vision tower in its own file (`mmproj`) counts, too. Each file is recognised by its content. Model families use
    the same encoder in different ways: connect the model that the prompts are for to `model`. Encoders that do not fit
    it are reported before anything is loaded.
    """
    files = [file for file in (text_encoder, second, third) if file is not None]
    found = [_with(ctx, file, "clip") for file in files]
    names = [name for _, facts in found for name in facts["clip"]["encoders"]]
    family = family_of(names) if model is None else model.model_kind
    if family is not None and hasattr(ctx.lookup("model_kind", family), "clip_facts"):
        return _clip_of(ctx, family, files, model)
    if any(name not in CLIPS for name in names) or not all(facts["clip"]["encoders"] for _, facts in found):
        towers = [file.name for file, (_, facts) in zip(files, found, strict=True) if not facts["clip"]["encoders"]]
        raise _blind(towers, names) if towers and (model or not names) else _unread(files, names, model)
    return _clips(files, found)


def _blind(towers: list[str], names: list[str]) -> BadValueError:
    """Return the error for vision towers without the text encoder that they were made for."""
    return BadValueError(
        " and ".join(f"'{name}'" for name in towers) + ": a vision tower (mmproj) is no text encoder",
        expected="the text encoder that it was made for, with the vision tower as `second`",
        got=" and ".join(f"'{name}'" for name in names) or "no text encoder",
    )


def _unread(files: list[ModelFile], names: list[str], model: Model | None) -> BadValueError:
    """Return the error for text encoders that do not belong to the model, or that need a model to be connected."""
    titles, got = (" and ".join(f"'{name}'" for name in found) for found in ([file.name for file in files], names))
    if model is not None:
        return BadValueError(f"{titles}: not a text encoder of this model", expected="a CLIP", got=got)
    return BadValueError(
        f"{titles}: model families use such text encoders in different ways",
        expected="LoadCLIP's `model`, connected to the model that the prompts are for",
        got=got,
    )


def _clips(files: list[ModelFile], found: list[tuple[str, Mapping[str, Any]]]) -> Clip:
    """Return the handle of the text encoders of Stable Diffusion 1, 2 or XL."""
    clips = sorted((facts["clip"] for _, facts in found), key=lambda clip: CLIPS.index(clip["encoders"][0]))
    names = [name for clip in clips for name in clip["encoders"]]
    if len(files) > 1 and names != ["l", "g"]:
        raise BadValueError(
            " and ".join(f"'{file.name}'" for file in files) + " are not a pair of text encoders",
            expected="'l' and 'g', as SDXL has them",
            got=" and ".join(f"'{name}'" for name in names),
        )
    joined = clip_facts(names, [clip["width"] for clip in clips], clips[-1]["pooled"])
    kind, facts = found[0]
    return Clip(kind, [file.identity for file in files], _part({**facts, "clip": joined}, "clip"))


def _clip_of(ctx: Context, family: str, files: list[ModelFile], model: Model | None) -> Clip:
    """Return the handle of text encoders for a family. Raises BadValueError if they do not fit the model."""
    facts = ctx.lookup("model_kind", family)().clip_facts([Path(file.path) for file in files])
    if model is not None:
        _check_widths(files, facts, model)
        facts = {**facts, **reading_facts(model.info)}
    missing = _missing_tokenizer(ctx, files, facts)
    if missing is not None:
        raise missing
    return Clip(family, [file.identity for file in files], {"component": "clip", **facts})


def _check_widths(files: list[ModelFile], facts: Mapping[str, Any], model: Model) -> None:
    """Raise BadValueError if the widths of text encoders differ from the model's; 0 means a missing encoder."""
    names = " and ".join(f"'{file.name}'" for file in files)
    for name, fact, where in (("width", "context", "wide"), ("pooled", "pooled", "wide where it is pooled")):
        if facts[name] not in (0, model.info.get(fact, 0)):
            raise BadValueError(
                f"the text encoder {names} does not fit '{model.files[0].name}'",
                expected=f"{model.info['reads']} ({model.info.get(fact, 0)} {where})",
                got=f"{facts['title']} ({facts[name]} {where})" if "title" in facts else f"one {facts[name]} {where}",
            )


def _missing_tokenizer(ctx: Context, files: Sequence[ModelFile], facts: Mapping[str, Any]) -> FileError | None:
    """Return the error for a text encoder whose tokenizer is not on the disk; None if none is missing."""
    if facts.get("tokenizer") != "":
        return None
    family: Family = ctx.lookup("model_kind", facts["family"])()
    return family.missing_tokenizer([Path(file.path) for file in files])


def _unreadable(missing: FileError) -> Absent:
    return Absent(missing.problem.message, f"put it there: {missing.problem.expected}")


def _absent(file: ModelFile, part: str, facts: Mapping[str, Any]) -> Absent:
    """Return the absent output for a part that a checkpoint does not have, with the node that loads it instead."""
    loader, folder, wanted = _ELSEWHERE[part]
    named = facts.get("unet", {}).get(wanted)
    what = f", {named}," if named else ""
    return Absent(f"'{file.name}' has no {PARTS[part]}", f"{loader} loads one{what} from a file in {folder}")


@node("LoadVAE", display_name="Load VAE", aliases=("VAELoader", "autoencoder"), category="loaders")
def load_vae(
    ctx: Context,
    vae: Annotated[ModelFile, Source("models/vae"), Field(description="A VAE in models/vae.")],
    model: Annotated[
        Model | None, Field(description="The model whose latents are decoded; a VAE that does not fit is an error.")
    ] = None,
) -> Vae:
    """Load a VAE from its own file or from a checkpoint.

    If `model` is connected, a VAE for another type of latents is an error before sampling starts.
    """
    kind, facts = _with(ctx, vae, "vae")
    found = Vae(kind, [vae.identity], _part(facts, "vae"))
    if model is not None:
        check_vae(found, model)
    return found


def _recognised(ctx: Context, file: ModelFile) -> tuple[str, Mapping[str, Any]]:
    found = ctx.recognise(file)
    if found is None:
        raise FileError(
            f"'{file.name}' is not a model that Latentloom knows",
            expected="Stable Diffusion, Flux, Qwen-Image or Z-Image, as a safetensors file or a diffusers folder",
            got="a different kind of file or folder",
        )
    if "refused" in found[1]:
        raise refused(file.name, found[1]["refused"])
    return found


def _with(ctx: Context, file: ModelFile, part: str) -> tuple[str, Mapping[str, Any]]:
    kind, facts = _recognised(ctx, file)
    if part not in facts:
        raise FileError(
            f"'{file.name}' has no {PARTS[part]}", expected=PARTS[part], got=facts.get("about", "another model")
        )
    return kind, facts


def _part(facts: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return a handle's info: the facts of one part."""
    return {"component": part, **facts[part]}


def _sampled(info: dict[str, Any], prediction: str, zero_snr: str) -> dict[str, Any]:
    """Override a UNet's facts by the user's settings. Raises BadValueError for a flow, which has no such choice."""
    if info["prediction"] == "flow" and (prediction, zero_snr) != ("auto", "auto"):
        raise BadValueError(
            "the model was trained by flow matching: its prediction type cannot be changed",
            expected="prediction and zero_snr on 'auto'",
            got=f"'{prediction}' and '{zero_snr}'",
        )
    said = {} if prediction == "auto" else {"prediction": prediction}
    known = {name: value for name, value in info.items() if name != "guessed"}
    return {**known, **said, **({} if zero_snr == "auto" else {"zero_snr": zero_snr == "yes"})}


def _warn_guess(ctx: Context, file: ModelFile, facts: Mapping[str, Any], prediction: str) -> None:
    """Warn that the prediction kind of SD 2.x weights is a guess."""
    if prediction == "auto" and facts.get("guessed"):
        other = "epsilon" if facts["prediction"] == "v" else "v"
        ctx.warn(
            "prediction_guessed",
            f"'{file.name}' does not state what it predicts; '{facts['prediction']}' is assumed. "
            f"If the results are noisy or flat, set the loader's `prediction` to '{other}'",
        )


_ELSEWHERE = {  # part -> its loader, its folder, and the network's fact that names the required part
    "unet": ("LoadUNet", "models/unet (ComfyUI: diffusion_models)", ""),
    "clip": ("LoadCLIP", "models/clip (ComfyUI: text_encoders)", "reads"),
    "vae": ("LoadVAE", "models/vae", "vae"),
}

NODES = (load_checkpoint, load_unet, load_clip, load_vae)
