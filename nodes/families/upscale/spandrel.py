"""The model kind "spandrel": all upscalers and restorers that the optional library spandrel supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import FileError
from latentloom.engine.models.weights import in_float32
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.module_loading import Weights

if TYPE_CHECKING:
    from torch import nn


def installed() -> bool:
    """Whether the library is installed."""
    return find_spec("spandrel") is not None


class OtherUpscalerKind:
    """A network of another kind (SwinIR, HAT, DAT, SPAN, ...) that makes pictures larger or better."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of an "upscaler"; None for another file, and without the library."""
        if not (installed() and path.is_file() and read_header(path).shapes):
            return None
        found = _described(path)
        if found is None:
            return None
        return {
            "upscaler": {"scale": found.scale, "architecture": found.architecture.name},
            "about": f"upscaler x{found.scale} ({found.architecture.name})",
        }

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load a module that maps pictures [B, 3, H, W] in 0..1 to pictures `scale` times as large."""
        found = _described(paths[0]) if installed() else None
        if found is None:
            raise FileError(f"'{paths[0].name}' contains no {info['component']}")
        return _module(found)


def _described(path: Path) -> Any:
    """Load a weights file with spandrel; None if spandrel does not support it, or if it is not for RGB pictures."""
    from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError

    weights = Weights(path)
    try:
        found = ModelLoader("cpu").load_from_state_dict({name: weights[name] for name in weights.keys()})  # noqa: SIM118
    except UnsupportedModelError:
        return None
    rgb = isinstance(found, ImageModelDescriptor) and found.input_channels == found.output_channels == 3
    return found if rgb else None


def _module(found: Any) -> nn.Module:
    from torch import Tensor, nn

    class Described(nn.Module):
        """A network with spandrel's description: the sizes that it accepts, and its call."""

        def __init__(self) -> None:
            super().__init__()
            self.network = found.model

        def forward(self, x: Tensor) -> Tensor:
            """Pictures [B, 3, H, W] in 0..1 -> [B, 3, scale * H, scale * W]."""
            large: Tensor = found(x)
            return large

    return in_float32(Described().eval().requires_grad_(False))
