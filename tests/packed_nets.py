"""Layers with packed weights in a toy format, and the same decoded."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from devices import FakeDevice
from torch import Tensor, nn

from latentloom.engine.models.packed import Packed
from latentloom.nodes.families.packing.weight import PackedWeight

WIDTH = 256


@dataclass(frozen=True)
class Rows:
    """Bytes times a scale for each row. `seen` are devices that want to know what is read."""

    seen: list[FakeDevice] = field(default_factory=list)

    def rows(self, parts: Sequence[Tensor], first: int, last: int, dtype: torch.dtype) -> Tensor:
        for device in self.seen:
            for part in parts:
                device.check_reading(part)
        return parts[0][first:last].flatten(1).float() * parts[1][first:last, None]

    def sliced(self, parts: Sequence[Tensor], first: int, last: int) -> tuple[Tensor, ...]:
        return tuple(part[first:last] for part in parts)


def packed(weight: Tensor, decoder: Rows = Rows()) -> nn.Parameter:
    scale = weight.abs().flatten(1).amax(1) / 127
    numbers = (weight / scale.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8)
    return nn.Parameter(PackedWeight(Packed(decoder, (numbers, scale), tuple(weight.shape))), requires_grad=False)


def net(depth: int = 4, device: FakeDevice | None = None) -> nn.Sequential:
    """Layers whose weights are packed, with plain biases."""
    torch.manual_seed(0)
    layers = [nn.Linear(WIDTH, WIDTH) for _ in range(depth)]
    for layer in layers:
        layer.weight = packed(layer.weight.detach(), Rows([device] if device else []))
    return nn.Sequential(*layers).requires_grad_(False)


def decoded(module: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same with plain weights."""
    made = copy.deepcopy(module)
    for layer in made.modules():
        if hasattr(getattr(layer, "weight", None), "packed"):
            layer.weight = nn.Parameter(layer.weight.float(), requires_grad=False)
    return made.to(dtype)
