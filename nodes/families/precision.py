"""The patch kind "precision": sets the dtype that a loaded model computes in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentloom.engine import Patch


def apply_precision(module: Any, patch: Patch, paths: Sequence[Path]) -> Any:  # noqa: ARG001
    """The module with all its layers told what to compute in: {"dtype"}. Its weights stay those of the file."""
    import torch

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[patch.parameters["dtype"]]
    for layer in module.modules():
        layer.computes_in = dtype
    return module
