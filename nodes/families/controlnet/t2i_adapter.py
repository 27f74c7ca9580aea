"""The model kind "t2i_adapter" (Mou et al. 2023): for SD 1.x and SDXL, with key names of TencentARC or diffusers.

It is used through the same nodes as a ControlNet, but its features depend only on the picture and not on the noise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import Header, Shapes, counted, read_header
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.stable_diffusion.facts import TITLES
from latentloom.nodes.families.unused import warn_unused

PREFIXES = ("adapter.", "")
ORIGINAL_LAYERS = 2  # resnets per level in TencentARC's full adapters, which number them across levels
XL_CHANNELS = (256, 768)  # after a pixel unshuffle by 16, for grey or RGB pictures
_FULL = re.compile(r"adapter\.body\.(\d+)\.(?:resnets\.(\d+)\.)?")


@dataclass(frozen=True, slots=True)
class AdapterPart:
    """A T2I-Adapter in a file: the arguments of diffusers' T2IAdapter, and the layout of the file's names."""

    prefix: str
    original: bool
    arguments: Mapping[str, Any]

    @property
    def family(self) -> str:
        """ "sdxl", or "sd1" for the others."""
        return "sdxl" if self.arguments["adapter_type"] == "full_adapter_xl" else "sd1"

    def source(self, name: str) -> str:
        """Return the name in the file for a weight of the module."""
        if not self.original:
            return self.prefix + name.removeprefix("adapter.")
        if self.arguments["adapter_type"] == "light_adapter":
            return name.removeprefix("adapter.").replace(".resnets.", ".body.")
        match = _FULL.match(name)
        if match is None:
            return name.removeprefix("adapter.")
        number = int(match[1]) * self.arguments["num_res_blocks"] + int(match[2] or 0)
        return f"body.{number}.{name[match.end() :]}"


class T2IAdapterKind:
    """A network that looks at a picture once and adds what it sees to the UNet's features."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of a "t2i_adapter"; None for another file or folder."""
        file = _weights_file(path)
        part = find_adapter(read_header(file)) if file else None
        if part is None:
            return None
        facts = {"family": part.family, "t2i_adapter": True}
        return {"controlnet": facts, "about": f"{TITLES[part.family]} T2I-Adapter"}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load a diffusers T2IAdapter."""
        from diffusers import T2IAdapter

        file = _weights_file(paths[0])
        part = find_adapter(read_header(file)) if file else None
        if file is None or part is None:
            raise FileError(f"'{paths[0].name}' contains no {info['component']}")
        source, arguments = part.source, part.arguments

        def pieces(names: list[str]) -> dict[str, Piece]:
            return {name: Piece(source(name)) for name in names}

        weights = Weights(file)
        made = assemble(lambda: T2IAdapter(**arguments), pieces, weights, "T2I-Adapter")
        warn_unused(weights)
        return made


def _weights_file(path: Path) -> Path | None:
    """Return the file itself; for a folder of a T2I-Adapter its plain weights, else a variant; None for others."""
    if path.is_file():
        return path
    try:
        found = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("_class_name") != "T2IAdapter":
        return None
    files = sorted(path.glob("*.safetensors"), key=lambda file: (len(file.name), file.name))
    return files[0] if files else None


def find_adapter(header: Header) -> AdapterPart | None:
    """Find the T2I-Adapter of a file, in either layout."""
    for prefix in PREFIXES:
        shapes = header.below(prefix)
        try:
            found = _light(shapes, prefix) or _full(shapes, prefix)
        except (KeyError, IndexError):
            found = None
        if found is not None:
            return found
    return None


def _light(shapes: Shapes, prefix: str) -> AdapterPart | None:
    if "body.0.in_conv.weight" not in shapes or "body.0.out_conv.weight" not in shapes:
        return None
    original = "body.0.body.0.block1.weight" in shapes
    levels = counted(shapes, "body.{}.")
    widths = [shapes[f"body.{level}.out_conv.weight"][0] for level in range(levels)]
    layers = counted(shapes, f"body.0.{'body' if original else 'resnets'}.{{}}.")
    folded = shapes["body.0.in_conv.weight"][1]
    return _part(prefix, original, "light_adapter", widths[:-1], layers, folded)


def _full(shapes: Shapes, prefix: str) -> AdapterPart | None:
    if "conv_in.weight" not in shapes:
        return None
    original = "body.0.block1.weight" in shapes
    if not original and "body.0.resnets.0.block1.weight" not in shapes:
        return None
    layers = ORIGINAL_LAYERS if original else counted(shapes, "body.0.resnets.{}.")
    levels = counted(shapes, "body.{}.") // (layers if original else 1)
    firsts = [f"body.{layers * n}.block1" if original else f"body.{n}.resnets.0.block1" for n in range(levels)]
    folded = shapes["conv_in.weight"][1]
    kind = "full_adapter_xl" if folded in XL_CHANNELS else "full_adapter"
    return _part(prefix, original, kind, [shapes[f"{name}.weight"][0] for name in firsts], layers, folded)


def _part(prefix: str, original: bool, kind: str, widths: list[int], layers: int, folded: int) -> AdapterPart | None:
    fold = 16 if kind == "full_adapter_xl" else 8
    if folded not in (fold**2, 3 * fold**2):
        return None
    arguments = {
        "in_channels": folded // fold**2,
        "channels": widths,
        "num_res_blocks": layers,
        "downscale_factor": fold,
        "adapter_type": kind,
    }
    return AdapterPart(prefix, original, arguments)


def levels_of(adapter: Any) -> tuple[int, ...]:
    """Return the widths of an adapter's features, one per level of the UNet; XL's last one is for the middle block."""
    widths = tuple(adapter.config.channels)
    return (*widths, widths[-1]) if adapter.config.adapter_type == "light_adapter" else widths


def features(adapter: Any, image: Any) -> list[Any]:
    """Compute an adapter's features of pictures [B, 3, H, W] in 0..1, one for each level of the UNet."""
    from torch.nn.functional import pad

    if adapter.config.in_channels == 1:
        image = image.mean(dim=1, keepdim=True)
    fold = adapter.config.downscale_factor
    image = pad(image, (0, -image.shape[3] % fold, 0, -image.shape[2] % fold), mode="replicate")
    found: list[Any] = adapter(image)
    return found
