"""Spaces: what x is at a noise level sigma, and what a network's answer there means.

A run starts, mixes in what a mask keeps, asks the network and ends in its model's space; samplers see only x, sigma and
the prediction of x0. Two spaces are known: `VarianceExploding`, x = x0 + sigma n, and `Flow`, x = (1 - sigma) x0 +
sigma n. At the edges of nodes a latent that has noise left is x0 + level n in either, see `Space.level`.
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
    """How noise and picture mix. Latents are scaled; `sigma` is a number of the model's own scale."""

    table: Tensor
    """The model's sigmas, ascending, float64 on the CPU."""

    def start(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """The x that a run starts from; `noise` is zero where the latent has noise already."""

    def noised(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """A latent with the noise of a level."""

    def left(self, x: Tensor, sigma: float) -> Tensor:
        """The latent that a run ends with: x0 at sigma 0, else x0 + `level(sigma)` n."""

    def level(self, sigma: float) -> float:
        """How much noise there is at sigma for one part of picture."""

    def seen(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """x as the network sees it."""

    def time(self, sigma: float) -> float:
        """The place of a sigma in the model's training, in its timesteps."""

    def raised(self, sigmas: Tensor, churn: float) -> Tensor:
        """Sigmas whose noise is raised by a share; see `sampler.churned`."""

    def prediction(self, network: Network) -> Predict:
        """The network as a prediction of x0."""

    def velocity(self, x: Tensor, x0: Tensor, sigma: float) -> Tensor:
        """The velocity that leads from x to x0."""

    def from_velocity(self, x: Tensor, v: Tensor, sigma: float) -> Tensor:
        """The x0 that a velocity leads to."""

    def coordinates(self, sigmas: Tensor, *, stochastic: bool) -> Coordinates:
        """In which variables a sampler computes."""


def space_of(model: Model, cells: tuple[int, ...] | None = None, steps: int = 20) -> Space:
    """The space of a model. Where its sigmas depend on the picture's size or on the steps, those of a latent of `cells`
    (height, width), by default of the size of the training.
    """
    info = model.info
    if info["prediction"] != "flow":
        from latentloom.nodes.diffusion.variance_exploding import VarianceExploding, stride_of, table_of

        return VarianceExploding(table_of(info), info["prediction"], stride_of(info))
    from latentloom.nodes.diffusion.flow import Flow, flow_table

    return Flow(flow_table(info["shift"], cells or (info["size"], info["size"]), steps))


def finished(info: Mapping[str, Any], sigmas: Tensor) -> Tensor:
    """The sigmas of a run as a model takes them: some flows end above 0, whatever the schedule."""
    terminal = info.get("shift", {}).get("terminal", 0.0)
    if not terminal or len(sigmas) < 2:
        return sigmas
    from latentloom.nodes.diffusion.flow import stretched

    return stretched(sigmas, terminal)
