"""The built-in samplers, with their code."""

from importlib import import_module

from latentloom.nodes.diffusion.sampler import Sampler
from latentloom.nodes.diffusion.samplers import SAMPLERS


def builtin_samplers() -> tuple[Sampler, ...]:
    """Return all samplers, in the order in which an interface shows them."""
    return tuple(
        Sampler(name, getattr(import_module(f"latentloom.nodes.diffusion.{module}"), name), **facts)
        for name, module, facts in SAMPLERS
    )
