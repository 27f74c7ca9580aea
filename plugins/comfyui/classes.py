"""The ComfyUI classes that have a counterpart, with their conversion rules."""

from latentloom.plugins.comfyui import (
    core_conditioning,
    core_images,
    core_latents,
    core_masks,
    core_models,
    core_sampling,
    core_sizes,
    core_text,
    core_values,
    pack_detailers,
    pack_images,
    pack_values,
)
from latentloom.plugins.comfyui.rules import Rule

RULES: dict[str, Rule] = {
    **core_models.RULES,
    **core_conditioning.RULES,
    **core_sampling.RULES,
    **core_latents.RULES,
    **core_images.RULES,
    **core_sizes.RULES,
    **core_masks.RULES,
    **core_text.RULES,
    **core_values.RULES,
    **pack_values.RULES,
    **pack_images.RULES,
    **pack_detailers.RULES,
}
FOLDED = core_models.FOLDED | core_sampling.FOLDED | core_images.FOLDED | core_sizes.FOLDED | pack_detailers.FOLDED
"""The classes that are merged into the nodes that use them."""
