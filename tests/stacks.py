"""A model kind for tests: a stack of linear layers in a safetensors file, with patches that are right and wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from latentloom.engine import Patch

LOADED: list[str] = []
"""The files that were loaded, in order."""


class StackKind:
    """Reads files whose keys are `0.weight`, `0.bias`, `1.weight`, ..."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        return {} if path.suffix == ".stack" else None

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> nn.Module:
        LOADED.append(paths[0].name)
        state = load_file(paths[0])
        width = state["0.weight"].shape[0]
        with torch.device("meta"):
            stack = nn.Sequential(*(nn.Linear(width, width) for _ in range(len(state) // 2)))
        stack.load_state_dict(state, assign=True)
        return stack.eval()


def scale(module: nn.Sequential, patch: Patch, paths: Sequence[Path]) -> nn.Sequential:
    """Scale the first layer's weight by parameters["by"]."""
    module[0].weight = nn.Parameter(module[0].weight * patch.parameters["by"], requires_grad=False)
    return module


def scale_together(module: nn.Sequential, patches: Sequence[Patch], paths: Sequence[Sequence[Path]]) -> nn.Sequential:
    """Scale the first layer's weight by the sum of parameters["by"]; `paths` are those of each patch."""
    assert len(paths) == len(patches)
    by = sum(patch.parameters["by"] for patch in patches)
    module[0].weight = nn.Parameter(module[0].weight * by, requires_grad=False)
    return module


def vandal(module: nn.Sequential, patch: Patch, paths: Sequence[Path]) -> nn.Sequential:
    """Write into the weights that all share."""
    module[0].weight.data.mul_(2)
    module[0].weight.requires_grad_(False).mul_(2)
    return module


def write_stack(path: Path, width: int, depth: int, dtype: torch.dtype = torch.float16) -> Path:
    """A file of random layers that keep the size of what goes through them."""
    generator = torch.Generator().manual_seed(depth)
    state: dict[str, Tensor] = {}
    for n in range(depth):
        state[f"{n}.weight"] = (torch.randn(width, width, generator=generator) / width**0.5).to(dtype)
        state[f"{n}.bias"] = torch.zeros(width, dtype=dtype)
    save_file(state, path)
    return path
