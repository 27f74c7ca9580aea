"""Nodes that name models. Nothing is loaded here: a handle is the file's identity and what is known of it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from latentloom.engine import Clip, Context, FileIdentity, Model, ModelFile, Source, Vae, node
from latentloom.engine.errors import FileError


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
) -> Checkpoint:
    """A Stable Diffusion checkpoint: the UNet that denoises, the CLIP that reads text, the VAE that makes pixels.

    `shapes` ships with Latentloom. `loom models add DIR` adds a folder of your own.
    """
    found = ctx.recognise(checkpoint)
    if found is None:
        raise FileError(
            f"'{checkpoint.name}' is no model that Latentloom knows",
            expected="a Stable Diffusion folder in diffusers' layout",
            got="a file or folder of another kind",
        )
    kind, info = found
    files = [checkpoint.identity]
    return Checkpoint(
        Model(kind, files, {**info, "component": "unet"}),
        Clip(kind, files, {"component": "clip"}),
        vae_beside(kind, files, info),
    )


def vae_beside(kind: str, files: Sequence[FileIdentity], info: Mapping[str, Any]) -> Vae:
    """The VAE of the checkpoint that a model with these files and facts comes from."""
    return Vae(kind, files, {"component": "vae", "downscale": info["downscale"], "channels": info["channels"]})


NODES = (load_checkpoint,)
