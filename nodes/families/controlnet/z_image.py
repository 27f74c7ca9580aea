"""ControlNets of Z-Image: the union ones of alibaba-pai ("Fun"), versions 1, 2.0 and 2.1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentloom.nodes.families.controlnet.transformer import LATENT, Residuals, Seen, TransformerControl
from latentloom.nodes.families.header import Shapes, counted
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.z_image import negated_time, prompts_of

EMBEDDER = "control_all_x_embedder.2-1.weight"
REFINER = "control_noise_refiner.0.before_proj.weight"  # of versions 2; zeros in 2.0, which does without its layers
LAYERS = "control_layers"  # how diffusers calls the way of 2.0
SHARED = ("t_scale", "t_embedder", "all_x_embedder", "cap_embedder", "rope_embedder")
SHARED += ("noise_refiner", "context_refiner", "x_pad_token", "cap_pad_token")
"""What the network takes from the transformer beside it."""


class ZImageControl(TransformerControl):
    """A union ControlNet of Z-Image, which tells by itself what a picture shows."""

    family, title, module = "z_image", "Z-Image", "ZImageControlNetModel"
    narrow, spare = True, "control_noise_refiner."
    told = ("control_layers_places", "control_refiner_layers_places", "add_control_noise_refiner")

    def matches(self, shapes: Shapes) -> bool:
        """Whether it is one."""
        return EMBEDDER in shapes and "control_layers.0.attention.norm_q.weight" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes. The layers are numbered here; see `_places` for what they change."""
        (head,), (dim, inputs) = shapes["control_layers.0.attention.norm_q.weight"], shapes[EMBEDDER]
        layers, refiners = counted(shapes, "control_layers.{}."), counted(shapes, "control_noise_refiner.{}.") or 2
        return {
            "control_layers_places": list(range(layers)),
            "control_refiner_layers_places": list(range(refiners)),
            "control_in_dim": inputs // 4,
            "add_control_noise_refiner": _refining(shapes),
            "dim": dim,
            "n_refiner_layers": refiners,
            "n_heads": dim // head,
            "n_kv_heads": dim // head,
        }

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts."""
        return {"inner": config["dim"], "latents": True}

    def _config(self, path: Path, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration; a refiner of zeros tells version 2.0, whose other layers refine instead."""
        found = super()._config(path, shapes)
        if path.is_file() and REFINER in shapes and not Weights(path)[REFINER].float().any():
            found["add_control_noise_refiner"] = LAYERS
        return found

    def residuals(self, net: Any, seen: Seen) -> Residuals:
        """Call the network with what the transformer is told; layers that it does not change get a single zero.

        Version 2 has channels for a mask and a masked picture behind those of the picture, which are zero here
        (ZImageControlNetPipeline in diffusers).
        """
        from torch.nn.functional import pad

        further = net.config.control_in_dim - LATENT
        picture = pad(seen.picture.expand(len(seen.x), -1, -1, -1), (0, 0, 0, 0, 0, further))
        with _sharing(net, seen.module):
            found = net(
                list(seen.x.unsqueeze(2).unbind(0)),
                negated_time(seen.sigma),
                prompts_of(seen.condition),
                list(picture.unsqueeze(2).unbind(0)),
                conditioning_scale=seen.strength,  # version 2 adds to its own input, too
            )
        layers = len(seen.module.layers)
        parts = [part / seen.strength for part in found.values()]
        added = dict(zip(_places(list(found), layers), parts, strict=True))
        return {"controlnet_block_samples": [added.get(n, seen.x.new_zeros(1, 1, 1)) for n in range(layers)]}


def _refining(shapes: Shapes) -> str | None:
    """Return what refines the picture together with the transformer's tokens: None in version 1."""
    if REFINER in shapes:
        return REFINER.partition(".")[0]
    return None if "control_noise_refiner.0.attention.norm_q.weight" in shapes else LAYERS


def _places(numbers: list[int], layers: int) -> list[int]:
    """Return which layers of the transformer are changed: those that are told, or else ones at equal distances."""
    told = numbers != list(range(len(numbers)))
    return numbers if told else [number * (layers // len(numbers)) for number in numbers]


@contextmanager
def _sharing(net: Any, transformer: Any) -> Iterator[None]:
    """Let the network use modules of the transformer for a call, without making them a part of it."""
    net.__dict__.update({name: getattr(transformer, name) for name in SHARED})
    try:
        yield
    finally:
        net.__dict__.update(dict.fromkeys(SHARED))
