"""The inputs and the call of a UNet: context, SDXL's additions, further channels, ControlNets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latentloom.nodes.families.denoiser import Residuals, Told

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

AESTHETIC, AESTHETIC_NEGATIVE = 6.0, 2.5  # defaults for SDXL's refiner (diffusers, ComfyUI)


class UNetDenoiser:
    """Stable Diffusion's UNet in diffusers; see `Denoiser`."""

    unet = True

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """Return the context, and the pooled text, sizes and further channels if the model has such inputs."""
        import torch

        made = {"context": told.put(entry.embedding.tensor())}
        if told.info.get("time_ids"):
            made["text_embeds"] = told.put(entry.arrays["pooled"].tensor())
            numbers = torch.tensor([_time_ids(entry, told)], dtype=torch.float32)
            made["time_ids"] = numbers.to(made["context"].device)
        if told.info.get("in_channels", told.shape[1]) != told.shape[1]:
            made["concat"] = told.put(_concat(entry, told))
        return made

    def call(
        self, module: Any, x: Tensor, time: Tensor, condition: Mapping[str, Tensor], residuals: Residuals
    ) -> Tensor:
        """Call diffusers' UNet2DConditionModel."""
        import torch

        context = condition["context"]
        added = {name: condition[name] for name in ("text_embeds", "time_ids") if name in condition}
        more = residuals(x, time, context, condition, added_cond_kwargs=added or None)
        if "concat" in condition:
            x = torch.cat([x, condition["concat"]], dim=1)
        answer: Tensor = module(
            x, time, encoder_hidden_states=context, added_cond_kwargs=added or None, return_dict=False, **more
        )[0]
        return answer


def _time_ids(entry: Cond, told: Told) -> list[float]:
    """SDXL's size, crop and target size (Podell et al. 2023, section 2.2); the refiner's size, crop and score."""
    height, width = (side * told.downscale for side in told.shape[2:])
    size = entry.extra.get("size", [height, width])
    crop, target = entry.extra.get("crop", [0, 0]), entry.extra.get("target", [height, width])
    if told.info["time_ids"] == 5:
        return [*size, *crop, entry.extra.get("aesthetic", AESTHETIC_NEGATIVE if told.negative else AESTHETIC)]
    return [*size, *crop, *target]


def _concat(entry: Cond, told: Told) -> Tensor:
    """An inpainting model's mask and scaled picture, or InstructPix2Pix's picture, which is not scaled."""
    import torch

    picture = entry.arrays["concat"].tensor()
    if "concat_mask" not in entry.arrays:
        return picture
    mask = (told.cells(entry.arrays["concat_mask"].tensor()) > 0.5).float()
    batch = max(mask.shape[0], picture.shape[0])
    parts = (mask, picture * told.info["scaling_factor"])
    return torch.cat([part.expand(batch, -1, -1, -1) for part in parts], dim=1)


UNET = UNetDenoiser()
