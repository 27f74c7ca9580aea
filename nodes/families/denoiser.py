"""The seam between a run and a denoising network: what a network is told of an entry, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

Residuals = Callable[..., dict[str, Any]]
"""(x, timestep, context, condition, **more) -> what ControlNets add to a UNet's call; see `Controls.residuals`."""


@dataclass(frozen=True, slots=True)
class Told:
    """The run that an entry is made for."""

    info: Mapping[str, Any]  # facts of the model
    shape: tuple[int, ...]  # of the latent, [B, C, h, w]
    downscale: int  # pixels per latent cell and axis
    put: Callable[[Tensor], Tensor]  # to the network's device and type
    cells: Callable[[Tensor], Tensor]  # a mask in pixels [B, H, W] in the latent's cells [B, 1, h, w]
    negative: bool = False  # whether the entry is one that guidance leads away from


class Denoiser(Protocol):
    """How a family of networks is told and called.

    Packing, position ids and the sign of the answer belong here: a run knows x [B, C, h, w] in the model's space alone,
    see `latentloom.nodes.diffusion.space`.
    """

    unet: bool
    """Whether the network is diffusers' UNet, which ControlNets and changes of its attention are made for."""

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """What the network is told besides x and the time: tensors by name, with a leading batch dimension.

        A text of any length is "prompt" [1, T, D] with "prompt_mask" [1, T] (1 = a token), which is padded where
        entries go through the network together; or "context" [1, T, D], which may be repeated. Maps are [1, C, h, w].
        """

    def call(
        self, module: Any, x: Tensor, time: Tensor, condition: Mapping[str, Tensor], residuals: Residuals
    ) -> Tensor:
        """The network's answer to x [B, C, h, w], in its type; `time` [B] is an integer timestep or a flow's sigma."""
