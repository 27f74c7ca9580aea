"""LoRA files and what they make of a model."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from latentloom.engine import FileIdentity, Patch
from latentloom.nodes.families.lora.patch import apply_loras


def applied(module: Any, path: Path, strength: float = 1.0) -> Any:
    return applied_together(module, [(path, strength)])


def applied_together(module: Any, loras: list[tuple[Path, float]]) -> Any:
    patches = [Patch("lora", {"strength": s}, (FileIdentity(path.name, "0" * 64),)) for path, s in loras]
    return apply_loras(module, patches, [[path] for path, _ in loras])


def written(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path
