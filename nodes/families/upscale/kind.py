"""The model kind "upscaler": RRDBNet in ESRGAN's and Real-ESRGAN's layouts, and SRVGG, found by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.engine.models.weights import in_float32
from latentloom.nodes.families.header import Shapes, below, counted, read_header
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.unused import warn_unused

LAYERS_OF_A_BLOCK = 15  # of RRDBNet: three dense blocks of five
PREFIXES = ("", "params_ema.", "params.")
_BLOCK = re.compile(r"body\.(\d+)\.rdb(\d)\.conv(\d)\.")


@dataclass(frozen=True, slots=True)
class UpscalerPart:
    """An upscaler in a file: the arguments of its network, and the names of its weights."""

    network: str  # RRDBNet or SRVGG
    arguments: Mapping[str, int]
    scale: int
    names: Mapping[str, str]  # prefix of the network's names -> prefix in the file

    @property
    def reach(self) -> int:
        """The radius of the receptive field in pixels: one for each layer at the picture's size."""
        if self.network == "SRVGG":
            return self.arguments["layers"] + 2
        layers = 2 + LAYERS_OF_A_BLOCK * self.arguments["blocks"]
        return layers * self.arguments["folds"] + 2


class UpscalerKind:
    """A network that makes pictures larger."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of an "upscaler"; None for another file."""
        part = find_upscaler(read_header(path).shapes) if path.is_file() else None
        if part is None:
            return None
        return {
            "upscaler": {"scale": part.scale, "reach": part.reach},
            "about": f"upscaler x{part.scale} ({part.network})",
        }

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load an RRDBNet or SRVGG."""
        from latentloom.nodes.families.upscale import networks

        part = find_upscaler(read_header(paths[0]).shapes)
        if part is None:
            raise FileError(f"'{paths[0].name}' contains no {info['component']}")
        network, arguments, names = getattr(networks, part.network), dict(part.arguments), part.names

        def pieces(wanted: list[str]) -> dict[str, Piece]:
            return {name: Piece(_source(name, names)) for name in wanted}

        weights = Weights(paths[0])
        made = assemble(lambda: network(**arguments), pieces, weights, "upscaler")
        warn_unused(weights)
        return in_float32(made)


def _source(name: str, names: Mapping[str, str]) -> str:
    match = _BLOCK.match(name)
    if match is not None and "body" in names:
        return names["body"].format(*match.groups()) + name[match.end() :]
    ours = next(start for start in names if name.startswith(start))
    return names[ours] + name.removeprefix(ours)


def find_upscaler(shapes: Shapes) -> UpscalerPart | None:
    """Find the upscaler of a file."""
    for prefix in PREFIXES:
        known = below(shapes, prefix)
        try:
            found = _srvgg(known, prefix) or _real_esrgan(known, prefix) or _esrgan(known, prefix)
        except KeyError:
            found = None
        if found is not None:
            return found
    return None


def _srvgg(shapes: Shapes, prefix: str) -> UpscalerPart | None:
    if "body.1.weight" not in shapes or len(shapes["body.1.weight"]) != 1:
        return None
    last = counted(shapes, "body.{}.") - 1
    scale = isqrt(shapes[f"body.{last}.weight"][0] // 3)
    arguments = {"width": shapes["body.0.weight"][0], "layers": (last - 2) // 2, "scale": scale}
    return UpscalerPart("SRVGG", arguments, scale, {"": prefix})


def _real_esrgan(shapes: Shapes, prefix: str) -> UpscalerPart | None:
    """Real-ESRGAN's names are those of our network, except for the layers that double the size."""
    if "conv_first.weight" not in shapes or "body.0.rdb1.conv1.weight" not in shapes:
        return None
    ups = {f"ups.{n - 1}.": f"{prefix}conv_up{n}." for n in (1, 2, 3) if f"conv_up{n}.weight" in shapes}
    blocks = counted(shapes, "body.{}.")
    return _rrdb(shapes, "conv_first", "body.0.rdb1.conv1", blocks, {**ups, "": prefix}, len(ups))


def _esrgan(shapes: Shapes, prefix: str) -> UpscalerPart | None:
    """ESRGAN numbers its layers: 0 is the first, 1 the body with its last layer, then three for each doubling."""
    if "model.0.weight" not in shapes or "model.1.sub.0.RDB1.conv1.0.weight" not in shapes:
        return None
    blocks = counted(shapes, "model.1.sub.{}.") - 1
    rest = sorted({int(name.split(".")[1]) for name in shapes} - {0, 1})
    *ups, hr, last = rest
    names = {
        "conv_first.": f"{prefix}model.0.",
        "conv_body.": f"{prefix}model.1.sub.{blocks}.",
        **{f"ups.{n}.": f"{prefix}model.{up}." for n, up in enumerate(ups)},
        "conv_hr.": f"{prefix}model.{hr}.",
        "conv_last.": f"{prefix}model.{last}.",
        "body": f"{prefix}model.1.sub.{{}}.RDB{{}}.conv{{}}.0.",
    }
    return _rrdb(shapes, "model.0", "model.1.sub.0.RDB1.conv1.0", blocks, names, len(ups))


def _rrdb(
    shapes: Shapes, first: str, inner: str, blocks: int, names: Mapping[str, str], doublings: int
) -> UpscalerPart | None:
    width, channels = shapes[f"{first}.weight"][:2]
    folds = isqrt(channels // 3)
    scale = 2**doublings // folds
    if 3 * folds**2 != channels or scale < 1:
        return None
    sizes = {"width": width, "growth": shapes[f"{inner}.weight"][0], "blocks": blocks}
    return UpscalerPart("RRDBNet", {**sizes, "doublings": doublings, "folds": folds}, scale, names)
