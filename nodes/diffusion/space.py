"""Spaces: the meaning of x at a noise level sigma, and of a network's output there.

The start and the end of a run, its mask and its network calls use the model's space; samplers see only x, sigma and the
prediction of x0. There are two spaces: `VarianceExploding`, x = x0 + sigma n, and `Flow`, x = (1 - sigma) x0 + sigma n.
Between nodes, a latent with remaining noise is x0 + level n in both spaces; see `Space.level`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from latentloom.engine import Model

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.coordinates import Coordinates
    from latentloom.nodes.diffusion.prediction import Network, Predict


class Space(Protocol):
    """Defines how noise and latent are mixed. Latents are scaled; `sigma` is on the model's own scale."""

    table: Tensor
    """The model's sigmas, ascending, float64 on the CPU."""

    def start(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Return the x that a run starts from; `noise` is zero if the latent already has noise."""

    def noised(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Return a latent with noise of level sigma."""

    def left(self, x: Tensor, sigma: float) -> Tensor:
        """Return the latent at the end of a run: x0 at sigma 0, else x0 + `level(sigma)` n."""

    def level(self, sigma: float) -> float:
        """Return the ratio of noise to signal at sigma."""

    def seen(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return x as the network receives it."""

    def time(self, sigma: float) -> float:
        """Return the training timestep of a sigma."""

    def raised(self, sigmas: Tensor, churn: float) -> Tensor:
        """Return the sigmas after the noise was raised by a share; see `sampler.churned`."""

    def prediction(self, network: Network) -> Predict:
        """Adapt the network to a prediction of x0."""

    def velocity(self, x: Tensor, x0: Tensor, sigma: float) -> Tensor:
        """Return the velocity v for x and x0."""

    def from_velocity(self, x: Tensor, v: Tensor, sigma: float) -> Tensor:
        """Return x0 for x and the velocity v."""

    def coordinates(self, sigmas: Tensor, *, stochastic: bool) -> Coordinates:
        """Return the variables in which a sampler computes."""


def space_of(model: Model, cells: tuple[int, ...] | None = None, steps: int = 20) -> Space:
    """Return the space of a model.

    Its sigmas may depend on the number of steps and on the latent's size `cells` (height, width), by default the
    training size.
    """
    info = model.info
    if info["prediction"] != "flow":
        from latentloom.nodes.diffusion.variance_exploding import VarianceExploding, stride_of, table_of

        return VarianceExploding(table_of(info), info["prediction"], stride_of(info))
    from latentloom.nodes.diffusion.flow import Flow, flow_table

    return Flow(flow_table(info["shift"], cells or (info["size"], info["size"]), steps))


def finished(info: Mapping[str, Any], sigmas: Tensor) -> Tensor:
    """Adapt the sigmas of a run to a model: for some flows the last nonzero sigma has a fixed value."""
    terminal = info.get("shift", {}).get("terminal", 0.0)
    if not terminal or len(sigmas) < 2:
        return sigmas
    from latentloom.nodes.diffusion.flow import stretched

    return stretched(sigmas, terminal)
