"""Low-rank adapters (LoRA, Hu et al. 2021) on the layers of a loaded network, which is never written to.

An adapter adds scale * up(down(x)) to the output of a layer, by a hook that is there for the duration of a with-block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latentloom.engine import Array
from latentloom.engine.errors import BadValueError
from latentloom.nodes.families.lora.key_names import Target, changes
from latentloom.nodes.families.lora.value import Lora

Layers = Literal["all", "attention"]
Names = Literal["lora_unet", "lora_te", "lora_te1", "lora_te2", "transformer"]
"""How names in a file begin: kohya's for Stable Diffusion, diffusers' for transformers."""
ATTENTION = ("attn", "attention")


@dataclass(frozen=True, slots=True)
class Adapter:
    """The adapter of one layer: float32 `down` [r, in] or [r, in, k, k], and `up` [out, r] or [out, r, 1, 1]."""

    names: Names
    layer: str
    module: nn.Module
    down: Tensor
    up: Tensor
    scale: float

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Add to the output of the layer; it is a forward hook."""
        x = inputs[0].float()
        if isinstance(module, nn.Conv2d):
            hidden = nn.functional.conv2d(x, self.down, None, module.stride, module.padding, module.dilation)
            more = nn.functional.conv2d(hidden, self.up)
        else:
            more = nn.functional.linear(nn.functional.linear(x, self.down), self.up)
        return output + (self.scale * more).to(output.dtype)

    def tensors(self) -> dict[str, Array]:
        """Return the tensors for a file."""
        if self.names == "transformer":
            start = f"transformer.{self.layer}"
            return {f"{start}.lora_A.weight": Array(self.down), f"{start}.lora_B.weight": Array(self.up * self.scale)}
        # transformers' text models have no "text_model." in front of their layers any more; files do
        layer = self.layer if self.names == "lora_unet" else f"text_model.{self.layer}"
        start, rank = f"{self.names}_{layer.replace('.', '_')}", self.down.shape[0]
        factors = {"lora_down.weight": Array(self.down), "lora_up.weight": Array(self.up)}
        alpha = Array(torch.tensor([self.scale * rank]))
        return {**{f"{start}.{name}": array for name, array in factors.items()}, f"{start}.alpha": alpha}


def chosen(network: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    """Return the layers that get an adapter: linear layers and convolutions inside the network's blocks.

    "attention" takes the linear layers of attention only.
    """
    found = {}
    for name, module in network.named_modules():
        if not any(part.isdigit() for part in name.split(".")) or not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        attends = any(part.startswith(ATTENTION) or part.endswith(ATTENTION) for part in name.split("."))
        if layers == "all" or (attends and isinstance(module, nn.Linear)):
            found[name] = module
    return {name: module for name, module in found.items() if getattr(module, "groups", 1) == 1}


def adapters_of(
    network: nn.Module, names: Names, layers: Layers, rank: int, alpha: float, generator: torch.Generator, device: Any
) -> list[Adapter]:
    """Make adapters that change nothing yet: `down` is drawn with deviation 1 / rank, and `up` is 0.

    Raises BadValueError if the rank is larger than a side of one of the layers.
    """
    found, made = chosen(network, layers), []
    _check_rank(found, rank)
    for layer, module in found.items():
        shape = tuple(module.weight.shape)
        down = torch.randn((rank, *shape[1:]), generator=generator) / rank
        up = torch.zeros((shape[0], rank, *(1,) * (len(shape) - 2)))
        factors = (factor.to(device).requires_grad_() for factor in (down, up))
        made.append(Adapter(names, layer, module, *factors, alpha / rank))
    return made


def _check_rank(found: Mapping[str, nn.Module], rank: int) -> None:
    sides = {name: min(module.weight.shape[0], module.weight[0].numel()) for name, module in found.items()}
    layer = min(sides, key=lambda name: sides[name])
    if rank > sides[layer]:
        raise BadValueError(
            f"the rank {rank} is larger than the layer '{layer}'",
            expected=f"at most {sides[layer]}",
            got=str(rank),
            hint="a rank of 4 to 32 is usual",
        )


@contextlib.contextmanager
def attached(adapters: Sequence[Adapter]) -> Iterator[None]:
    """Attach adapters to their layers for the duration of a with-block."""
    with contextlib.ExitStack() as stack:
        for adapter in adapters:
            stack.callback(adapter.module.register_forward_hook(adapter).remove)
        yield


def go_on_from(adapters: Sequence[Adapter], lora: Lora) -> None:
    """Start adapters with the weights of a LoRA. Layers that it lacks start at nothing.

    Raises BadValueError if it has another rank or layers that would be lost.
    """
    known = changes(lora.tensors)
    own = {next(iter(changes(adapter.tensors()))): adapter for adapter in adapters}
    lost = [target.layer for target in known if target not in own]
    if lost:
        raise BadValueError(
            f"'{lora.title}' has layers that this training would lose",
            expected="the same layers, model and text encoder setting as in its training",
            got=f"{len(lost)} of {len(known)}, such as '{lost[0]}'",
        )
    for target, parts in known.items():
        _start(own[target], target, {part: lora.tensors[name].tensor() for part, name in parts.items()})


def _start(adapter: Adapter, target: Target, factors: Mapping[str, Tensor]) -> None:
    if set(factors) - {"alpha"} != {"up", "down"} or factors["down"].shape != adapter.down.shape:
        raise BadValueError(
            f"the training cannot go on from the layer '{target.layer}'",
            expected=f"a LoRA of rank {adapter.down.shape[0]}",
            got=", ".join(f"{part} {list(factor.shape)}" for part, factor in factors.items()),
        )
    rank = factors["down"].shape[0]
    scale = float(factors["alpha"]) / rank if "alpha" in factors else 1.0
    with torch.no_grad():
        adapter.down.copy_(factors["down"])
        adapter.up.copy_(factors["up"].reshape(adapter.up.shape) * (scale / adapter.scale))
