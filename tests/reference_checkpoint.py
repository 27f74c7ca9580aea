"""The checkpoint of the reference pictures: SD 1.5's true form, random weights, the same bytes wherever it is made.

Each tensor is drawn from a generator of its own, seeded by its name. A way straight through the UNet makes it predict
about 0.9 of its input, so that sampling contracts as with a trained one.
"""

import math
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from latentloom.training.random_checkpoint import checkpoint_shapes

SHA256 = "c3c6e281427e3d92d932f079ebf8e54afe7a1c02ac9f278313a1fba5482712ab"
SEED = 1234
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."
GAINS: dict[
    str, tuple[tuple[tuple[str, ...], float], ...]
] = {  # of weights by how their names end, the first that fits
    UNET: (
        (("out_layers.3.weight", "to_out.0.weight", "ff.net.2.weight", "proj_out.weight"), 0.5),
        ((".attn2.to_q.weight", ".attn2.to_k.weight"), 1.6),
        ((".attn1.to_q.weight", ".attn1.to_k.weight"), 1.1),
        (("in_layers.2.weight",), 1.4),
    ),
    VAE: (
        (("conv2.weight",), 0.6),
        (("attn_1.proj_out.weight", "encoder.conv_out.weight"), 0.5),
        (("conv1.weight",), 1.4),
        (("decoder.conv_out.weight",), 0.55),
    ),
    TEXT: ((("out_proj.weight", "fc2.weight"), 0.5),),
}
NORMS = (".in_layers.0.", ".out_layers.0.", "norm", ".out.0.", "layer_norm")


def write_reference_checkpoint(path: Path) -> None:
    """Write the file, 2.1 GB in fp16."""
    made = {name: _crafted(name, _drawn(name, shape)).half() for name, shape in checkpoint_shapes("sd1").items()}
    made[f"{TEXT}embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    save_file({name: tensor.contiguous() for name, tensor in made.items()}, path, metadata={"format": "pt"})


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) ^ SEED) & 0x7FFFFFFF)
    found = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        norm = any(part in name for part in NORMS) and not name.endswith("proj.weight")
        return 1 + 0.1 * found if norm and name.endswith("weight") else 0.05 * found
    for ending, deviation in (("token_embedding.weight", 0.6), ("position_embedding.weight", 0.2)):
        if name.endswith(ending):
            return deviation * found
    return found * (_gain(name) / math.sqrt(math.prod(shape[1:])))


def _gain(name: str) -> float:
    rules = next(rules for prefix, rules in GAINS.items() if name.startswith(prefix))
    return next((gain for endings, gain in rules if name.endswith(endings)), 1.0)


def _crafted(name: str, weight: Tensor) -> Tensor:
    """The way straight through: four channels hold x, four -x, and the last layer takes their difference."""
    match name.removeprefix(UNET):
        case "input_blocks.0.0.weight":
            weight[:8] = 0
            for c in range(4):
                weight[c, c, 1, 1], weight[4 + c, c, 1, 1] = 1.0, -1.0
        case "output_blocks.11.0.skip_connection.weight":
            weight[:10] = 0
            for c in range(8):
                weight[c, 320 + c, 0, 0] = 1.0
        case "output_blocks.11.0.out_layers.3.weight" | "output_blocks.11.1.proj_out.weight":
            weight[:10] *= 0.1
        case "input_blocks.0.0.bias" | "output_blocks.11.0.skip_connection.bias" | "out.0.bias":
            weight[:10] = 0
        case "out.0.weight":
            weight[:10] = 1.0
        case "out.2.weight":
            weight *= 0.35
            weight[:, :8] = 0
            for c in range(4):
                weight[c, c, 1, 1], weight[c, 4 + c, 1, 1] = 0.8, -0.8
    return weight
