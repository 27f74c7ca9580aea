"""Configurations of modules, derived from the shapes of their weights in the original layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentloom.nodes.families.header import Shapes, counted

HEAD_WIDTH = 64  # of SD 2.x, SDXL and every CLIP; SD 1.x has 8 heads of any width
MOST_LEVELS = 16  # each halves the picture
TIME_ID_WIDTH = 256  # of the embedding of one number of SDXL's sizes and crops


@dataclass(frozen=True, slots=True)
class UNetShape:
    """The configuration of a UNet (or of a ControlNet, which has no `out`) by its weights."""

    channels: int  # input channels
    out: int
    widths: tuple[int, ...]  # of each level
    layers: int  # resnets per level
    depths: tuple[int, ...]  # transformer blocks per attention of each level, 0 for none
    middle: int  # transformer blocks in the middle
    context: int  # width of the text embedding
    linear: bool  # whether attention uses linear projections, as since SD 2
    vector: int  # width of the vector that SDXL adds to the timestep embedding, 0 for none

    @property
    def time_ids(self) -> int:
        """The number of SDXL's size and crop values besides the pooled text: 6, 5 for the refiner, 0 for others."""
        if not self.vector:
            return 0
        return 5 if self.vector - 5 * TIME_ID_WIDTH == self.context else 6

    @property
    def pooled(self) -> int:
        """The width of the UNet's pooled text embedding, 0 for none."""
        return self.vector - self.time_ids * TIME_ID_WIDTH if self.vector else 0

    @property
    def family(self) -> str:
        """ "sd1", "sd2", "sdxl" or "refiner"."""
        if not self.vector:
            return "sd2" if self.linear else "sd1"
        return "refiner" if self.time_ids == 5 else "sdxl"


def unet_shape(shapes: Shapes) -> UNetShape | None:
    """Derive the configuration of a UNet; None for another network or an unsupported UNet."""
    try:
        return _unet_shape(shapes)
    except (KeyError, StopIteration, IndexError):
        return None


def _unet_shape(shapes: Shapes) -> UNetShape:
    blocks = counted(shapes, "input_blocks.{}.")
    ends = [n for n in range(1, blocks) if f"input_blocks.{n}.0.op.weight" in shapes]
    if len(ends) > MOST_LEVELS:
        raise KeyError("more levels than any UNet has")
    layers = ends[0] - 1
    firsts = [1, *(end + 1 for end in ends)]
    context = next(shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight"))
    vector = shapes.get("label_emb.0.0.weight", (0, 0))[1]
    found = UNetShape(
        channels=shapes["input_blocks.0.0.weight"][1],
        out=shapes["out.2.weight"][0] if "out.2.weight" in shapes else 0,
        widths=tuple(shapes[f"input_blocks.{n}.0.out_layers.3.weight"][0] for n in firsts),
        layers=layers,
        depths=tuple(counted(shapes, f"input_blocks.{n}.1.transformer_blocks.{{}}.") for n in firsts),
        middle=counted(shapes, "middle_block.1.transformer_blocks.{}."),
        context=context,
        linear=len(next(shape for name, shape in shapes.items() if name.endswith("proj_in.weight"))) == 2,
        vector=vector,
    )
    if vector and (found.depths[0] or found.pooled <= 0):
        raise KeyError("a UNet that is conditioned on images instead of text")
    return found


def unet_config(found: UNetShape) -> dict[str, Any]:
    """Return the arguments of diffusers' UNet2DConditionModel."""
    return {
        **_shared_config(found),
        "out_channels": found.out,
        "up_block_types": tuple("CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(found.depths)),
        "sample_size": native_size(found),
    }


def controlnet_config(found: UNetShape, hints: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments of diffusers' ControlNetModel; `hints` are the widths of the picture's input layers."""
    return {**_shared_config(found), "conditioning_embedding_out_channels": hints}


def hint_widths(shapes: Shapes) -> tuple[int, ...]:
    """Return the widths of a ControlNet's picture input layers: the first, and each that halves the size."""
    weights = [name.split(".") for name in shapes if name.startswith("input_hint_block.") and name.endswith("weight")]
    numbers = sorted(int(parts[1]) for parts in weights)
    widths = [shapes[f"input_hint_block.{number}.weight"][0] for number in numbers[:-1]]
    return tuple(widths[::2])


def _shared_config(found: UNetShape) -> dict[str, Any]:
    """The arguments shared by UNets and ControlNets. diffusers calls the number of heads `attention_head_dim`."""
    heads = [width // HEAD_WIDTH for width in found.widths] if found.linear else [8] * len(found.widths)
    depths = [*(depth or 1 for depth in found.depths[:-1]), found.middle]  # the last is also that of the middle block
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": TIME_ID_WIDTH} if found.vector else {}
    return {
        "in_channels": found.channels,
        "block_out_channels": found.widths,
        "layers_per_block": found.layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in found.depths),
        "transformer_layers_per_block": depths,
        "cross_attention_dim": found.context,
        "attention_head_dim": heads,
        "use_linear_projection": found.linear,
        **added,
        **({"projection_class_embeddings_input_dim": found.vector} if found.vector else {}),
    }


def native_size(found: UNetShape, prediction: str = "epsilon") -> int:
    """Return the latent size of the training: that of 512 pixels, 768 for SD 2.x with v, 1024 for SDXL."""
    if found.vector:
        return 128
    return 96 if prediction == "v" else 64


@dataclass(frozen=True, slots=True)
class VaeShape:
    """The configuration of a VAE by its weights."""

    channels: int  # of a latent
    widths: tuple[int, ...]
    layers: int
    quant: bool = True  # whether there are 1x1 convolutions between encoder, latent and decoder
    encodes: bool = True  # whether there is an encoder

    @property
    def downscale(self) -> int:
        """Pixels per latent cell and axis."""
        return 2 ** (len(self.widths) - 1)


def vae_shape(shapes: Shapes) -> VaeShape | None:
    """Derive the configuration of an AutoencoderKL, or of its decoder alone; None for another network.

    The decoder is sufficient: it has one layer more per level than the encoder.
    """
    if "decoder.conv_in.weight" not in shapes:
        return None
    levels = counted(shapes, "decoder.up.{}.")
    layers = counted(shapes, "decoder.up.0.block.{}.") - 1
    try:
        channels = shapes["decoder.conv_in.weight"][1]
        widths = tuple(shapes[f"decoder.up.{level}.block.0.conv1.weight"][0] for level in range(levels))
    except (KeyError, IndexError):
        return None
    quant, encodes = "post_quant_conv.weight" in shapes, "encoder.conv_in.weight" in shapes
    return VaeShape(channels, widths, layers, quant, encodes) if 0 < levels <= MOST_LEVELS and layers > 0 else None


def vae_config(found: VaeShape) -> dict[str, Any]:
    """Return the arguments of diffusers' AutoencoderKL."""
    levels = len(found.widths)
    return {
        "block_out_channels": found.widths,
        "layers_per_block": found.layers,
        "latent_channels": found.channels,
        "use_quant_conv": found.quant,
        "use_post_quant_conv": found.quant,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
    }


@dataclass(frozen=True, slots=True)
class TextShape:
    """The configuration of a CLIP text model by its weights."""

    vocabulary: int
    length: int
    width: int
    inner: int
    layers: int
    projection: int  # width of the projected pooled output, 0 without a projection


def text_config(found: TextShape, activation: str) -> dict[str, Any]:
    """Return the arguments of transformers' CLIPTextConfig."""
    return {
        "vocab_size": found.vocabulary,
        "max_position_embeddings": found.length,
        "hidden_size": found.width,
        "intermediate_size": found.inner,
        "num_hidden_layers": found.layers,
        "num_attention_heads": max(1, found.width // HEAD_WIDTH),
        "hidden_act": activation,
        "bos_token_id": found.vocabulary - 2,
        "eos_token_id": found.vocabulary - 1,
        "pad_token_id": found.vocabulary - 1,
    }
