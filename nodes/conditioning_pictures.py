"""The node that reads a prompt together with the pictures that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from latentloom.engine import Advanced, Clip, Conditioning, Context, Image, Text, Vae, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.conditioning import reference_latent
from latentloom.nodes.diffusion.vae import TILES, check_encodes, encode
from latentloom.nodes.drawing.blend import flattened
from latentloom.nodes.text.entry import entry_of, name_of
from latentloom.nodes.text.picture_chat import scaled_to

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

MEGAPIXEL = 1024 * 1024

Pictures = Annotated[
    list[Image],
    Field(description="Images in the order of their numbers; each may have its own size."),
]
EditPrompt = Annotated[
    Text,
    Field(
        max_length=20_000,
        description="The edit instruction. With edit-plus it may refer to Picture 1, Picture 2 and so on.",
    ),
]
Template = Annotated[
    Literal["edit-plus", "edit"],
    Field(
        description="edit-plus: Qwen-Image-Edit 2509 and later and Qwen-Image 2.1, several images. "
        "edit: the first release, one image."
    ),
]


@node(
    "CLIPEncodePictures",
    display_name="Prompt with images",
    aliases=("TextEncodeQwenImageEdit", "TextEncodeQwenImageEditPlus", "edit", "qwen image edit", "instruction"),
    category="conditioning",
    device=True,
    economies=len(TILES) - 1,
)
def clip_encode_pictures(
    ctx: Context,
    clip: Clip,
    pictures: Pictures,
    text: EditPrompt = "",
    vae: Annotated[
        Vae | None, Field(description="Also passes the images to the model, as ReferenceLatent does.")
    ] = None,
    template: Annotated[Template, Advanced()] = "edit-plus",
) -> Conditioning:
    """Encode a prompt together with its images for Qwen-Image-Edit and Qwen-Image 2.1, whose text encoder sees images.

    With `vae`, the model gets each image too, scaled to about 1024x1024 pixels in its own aspect ratio, with sides that
    are multiples of 32. Qwen-Image 2.1 needs it. With Qwen-Image-Edit, ReferenceLatent without it keeps the size of an
    image. Transparency becomes white.
    The prompt is used as written: brackets have no meaning.
    """
    shown = [picture for image in pictures for picture in flattened(image.numpy(), 1)]
    _check(clip, template, len(shown))
    if vae is not None:
        check_encodes(vae)
    eyes = Clip(clip.model_kind, clip.files, {**clip.info, "component": "vision"})
    with ctx.load(clip, eyes) as (reader, tower):
        told = reader.read_pictures(text, template, shown, tower)
    found = Conditioning([entry_of(clip, told)])
    for latent in () if vae is None else [encode(ctx, vae, image) for image in _scaled(shown)]:
        found = reference_latent(found, latent)
    return found


def _scaled(pictures: Sequence[Floats]) -> list[Image]:
    return [Image(scaled_to(picture, MEGAPIXEL)[None]) for picture in pictures]


def _check(clip: Clip, template: str, count: int) -> None:
    """Raise BadValueError for a text encoder that sees no pictures, and for more pictures than the template has."""
    most = clip.info.get("pictures")
    if not most:
        raise BadValueError(
            f"the text encoder '{name_of(clip)}' does not support images",
            expected="a Qwen2.5-VL or Qwen3-VL with its vision tower (tensors 'visual.*')",
            got=_got(clip),
            hint="CLIPEncode reads the prompt alone, and ReferenceLatent shows the model a picture",
        )
    if template not in most:
        raise BadValueError(
            f"the template '{template}' is not for this text encoder",
            expected=" or ".join(f"'{name}'" for name in most),
            got=f"'{template}'",
        )
    if count > most[template]:
        raise BadValueError(
            f"the template '{template}' supports fewer images", expected=f"at most {most[template]}", got=f"{count}"
        )


def _got(clip: Clip) -> str:
    encoders = " and ".join(f"'{name}'" for name in clip.info.get("encoders", ())) or "another one"
    return f"{encoders} without one" if "pictures" in clip.info else encoders


NODES = (clip_encode_pictures,)
