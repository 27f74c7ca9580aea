"""The interface between a run and a denoising network: the network's inputs for an entry, and its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

Residuals = Callable[..., dict[str, Any]]
"""The arguments of the network's call that ControlNets compute.

For a UNet (x, timestep, context, condition, **more), see `Controls.residuals`; for a transformer (x, sigma, condition),
see `Controls.tokens`.
"""


@dataclass(frozen=True, slots=True)
class Told:
    """The facts of the run for which the inputs of an entry are made."""

    info: Mapping[str, Any]  # facts of the model
    shape: tuple[int, ...]  # of the latent, [B, C, h, w]
    downscale: int  # pixels per latent cell and axis
    put: Callable[[Tensor], Tensor]  # moves a tensor to the network's device and dtype
    cells: Callable[[Tensor], Tensor]  # converts a mask in pixels [B, H, W] to latent cells [B, 1, h, w]
    negative: bool = False  # whether guidance leads away from the entry


class Denoiser(Protocol):
    """Prepares the inputs of a family's networks and calls them.

    Packing, position ids and the sign of the output are handled here: a run uses only x [B, C, h, w] in the model's
    space, see `latentloom.nodes.diffusion.space`.
    """

    unet: bool
    """Whether the network is diffusers' UNet, which ControlNets and attention patches require."""

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """Return the network's inputs besides x and the time: tensors by name, with a leading batch dimension.

        The text is "prompt" [1, T, D] with "prompt_mask" [1, T] (1 = token), which is padded if entries share a forward
        pass; or "context" [1, T, D], which may be repeated. Maps are [1, C, h, w].
        """

    def call(
        self, module: Any, x: Tensor, time: Tensor, condition: Mapping[str, Tensor], residuals: Residuals
    ) -> Tensor:
        """Call the network for x [B, C, h, w]; the output has the network's dtype.

        `time` [B] is an integer timestep or the sigma of a flow.
        """
