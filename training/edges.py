"""Trains the embedded edge ControlNet, with which the embedded model draws the shapes of an edge map.

python -m latentloom.training.edges --out runs/edges --minutes 42
"""

import argparse
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from latentloom.nodes.preprocessors import LUMA, canny
from latentloom.training.export import load_model
from latentloom.training.latents import encode_pictures, scene_at
from latentloom.training.loop import Phase, Writer
from latentloom.training.pictures import Painter, Pixels
from latentloom.training.sample import Model
from latentloom.training.scenes import Scene, caption, draw_wording
from latentloom.training.unet import draw_times, loss_weights, noise_levels

SHAPES = Path(__file__).parents[1] / "nodes" / "embedded" / "checkpoints" / "shapes"
HINTS = (8, 16, 24, 32)
"""Widths of the layers that read the edge map, from 128 pixels a side to 16."""

ZERO = ("controlnet_down_blocks.", "controlnet_mid_block.")


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """All settings of the training."""

    seed: int = 20
    pictures: int = 4000
    batch: int = 12
    rate: float = 1e-3
    zero_rate: float = 5e-3
    """Learning rate of the layers that start at zero."""
    silent: float = 0.5
    """Share of empty captions, so that the model learns to rely on the edges alone (Zhang et al. 2023)."""
    gamma: float = 5.0


@dataclass(frozen=True, slots=True)
class EdgeSet:
    """Scenes, their scaled latents, float16 [N, 4, 16, 16], and their edge maps, uint8 [N, 128, 128] of 0 and 1."""

    scenes: list[Scene]
    latents: Tensor
    edges: Tensor


def edges_of(picture: Pixels) -> Tensor:
    """Return the CannyEdges of a picture, uint8 [H, W] of 0 and 1; low thresholds also find faint shapes."""
    grey = (picture.astype(np.float32) / 255) @ LUMA
    return torch.from_numpy(canny(grey, 0.03, 0.06, 1.0).astype(np.uint8))


def draw_edges(model: Model, settings: EdgeSettings) -> EdgeSet:
    """Paint pictures, encode them and compute their edges."""
    painter, indices = Painter(), range(settings.pictures)
    edges = torch.stack([edges_of(painter.paint(*scene_at(settings.seed, index))) for index in indices])
    latents = encode_pictures(model.vae, settings.seed, 0, settings.pictures)
    return EdgeSet([scene_at(settings.seed, index)[0] for index in indices], latents, edges)


def create_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """Create a ControlNet from the UNet's weights, with a middle block of one resnet, which is enough for edges.

    Its output starts at zero (Zhang et al. 2023), but its embedding of the edges does not: see `even_out`.
    """
    shared = unet.config.keys() & inspect.signature(ControlNetModel).parameters.keys()
    config: dict[str, Any] = {name: unet.config[name] for name in shared}
    small = {"mid_block_type": "UNetMidBlock2D", "conditioning_embedding_out_channels": HINTS}
    made = ControlNetModel(**{**config, **small})
    made.load_state_dict({**made.state_dict(), **_common(unet.state_dict(), made.state_dict())})
    return made


@torch.no_grad()
def even_out(embedding: torch.nn.Module, edges: Tensor) -> None:
    """Scale the layers that read edge maps [B, 3, H, W] so that each output has variance one (Mishkin & Matas 2016).

    Thin white lines on black are a weak signal, which would vanish after eight layers with default weights.
    """
    embedding.conv_out.reset_parameters()
    for layer in (embedding.conv_in, *embedding.blocks, embedding.conv_out):
        layer.bias.zero_()
        layer.weight.div_(_answer(embedding, layer, edges).std(dim=0).mean().clamp_min(1e-6))


def _answer(net: torch.nn.Module, layer: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Return the output of one layer of a network."""
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, arguments, output: seen.append(output))
    net(inputs)
    hook.remove()
    return seen[0]


def _common(source: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in source.items() if name in wanted}


class EdgeSteps:
    """Training steps of the ControlNet; the model is frozen."""

    def __init__(self, net: ControlNetModel, model: Model, data: EdgeSet, settings: EdgeSettings) -> None:
        self._net, self._model, self._data, self._settings = net, model, data, settings
        self._alphas = 1 / (1 + noise_levels() ** 2)
        model.unet.requires_grad_(False)

    def __call__(self, step: int) -> tuple[Tensor, int]:
        """Return the loss and the number of pictures of one step."""
        settings, data = self._settings, self._data
        rng = np.random.default_rng([settings.seed, 6, step])
        chosen = rng.integers(len(data.scenes), size=settings.batch)
        clean = data.latents[torch.from_numpy(chosen)].float()
        edges = data.edges[torch.from_numpy(chosen)].float()[:, None].expand(-1, 3, -1, -1)
        said = [
            "" if rng.random() < settings.silent else caption(data.scenes[index], draw_wording(rng)) for index in chosen
        ]
        with torch.no_grad():
            states = self._model.encoder(self._model.captions.tokens(said)).last_hidden_state
        times = draw_times(rng, settings.batch)
        alpha = self._alphas[times].float()[:, None, None, None]
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(step))
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        down, middle = self._net(noisy, times, states, edges, return_dict=False)
        answer = self._model.unet(
            noisy, times, states, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        weights = loss_weights((alpha / (1 - alpha)).flatten(), settings.gamma)
        return (weights * (answer - noise).square().mean(dim=(1, 2, 3))).mean(), settings.batch


def train_edges(model: Model, out: Path, minutes: float, writer: Writer, settings: EdgeSettings) -> ControlNetModel:
    """Train until the minutes are spent, starting from the checkpoint in the folder if there is one."""
    torch.manual_seed(settings.seed)
    net, data = create_controlnet(model.unet), draw_edges(model, settings)
    even_out(net.controlnet_cond_embedding, data.edges[:64].float()[:, None].expand(-1, 3, -1, -1))
    zero = [weight for name, weight in net.named_parameters() if name.startswith(ZERO)]
    rest = [weight for name, weight in net.named_parameters() if not name.startswith(ZERO)]
    groups = [{"params": rest, "lr": settings.rate}, {"params": zero, "lr": settings.zero_rate}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=1e-2)
    phase = Phase("edges", out, minutes * 60, optimizer, {"net": net}, writer)
    phase.run(EdgeSteps(net, model, data, settings))
    return net.eval()


def main() -> int:
    """Train the ControlNet and write it as a folder in diffusers' layout, in float16."""
    parser = argparse.ArgumentParser(prog="python -m latentloom.training.edges", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the model")
    parser.add_argument("--minutes", type=float, default=42.0)
    parser.add_argument(
        "--base", type=Path, default=SHAPES, help="the model that the ControlNet is for; default: shapes"
    )
    arguments = parser.parse_args()
    writer = Writer(sys.stdout)
    net = train_edges(load_model(arguments.base), arguments.out, arguments.minutes, writer, EdgeSettings())
    net.half().save_pretrained(arguments.out / "model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
