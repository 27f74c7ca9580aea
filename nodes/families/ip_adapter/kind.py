"""The model kind "ip_adapter": the plain and the plus layout, for SD 1.x and SDXL, found by names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import Header, counted, read_header
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.unused import warn_unused

WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}  # of text embeddings
TOKENS = 4  # of the plain adapter
_KEY = "ip_adapter."


@dataclass(frozen=True, slots=True)
class AdapterPart:
    """An IP-Adapter in a file."""

    plus: bool
    image: int  # width of the image embedding, or for plus of the hidden states
    context: int
    layers: tuple[tuple[str, int], ...]  # number and width of each cross-attention


class IPAdapterKind:
    """Lets a UNet look at a picture beside the text."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of an "ip_adapter"; None for another file."""
        part = find_ip_adapter(read_header(path)) if path.is_file() else None
        if part is None:
            return None
        family = f"{WIDTHS[part.context]} " if part.context in WIDTHS else ""
        facts = {"plus": part.plus, "image": part.image, "context": part.context, "layers": len(part.layers)}
        return {"ip_adapter": facts, "about": f"{family}IP-Adapter{' plus' if part.plus else ''}"}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load an IPAdapterNet."""
        header = read_header(paths[0])
        part = find_ip_adapter(header)
        if part is None:
            raise FileError(f"'{paths[0].name}' contains no {info['component']}")
        found = part

        def pieces(names: list[str]) -> dict[str, Piece]:
            return {name: Piece(name) for name in names}

        weights = Weights(paths[0])
        made = assemble(lambda: _net(found, header), pieces, weights, "IP-Adapter")
        warn_unused(weights)
        return made


def find_ip_adapter(header: Header) -> AdapterPart | None:
    """Find the IP-Adapter of a file; None for other files and for FaceID adapters, which use face encoders."""
    numbers = sorted({name.split(".")[1] for name in header.shapes if name.startswith(_KEY)}, key=_number)
    try:
        keys = [(number, header.shapes[f"{_KEY}{number}.to_k_ip.weight"]) for number in numbers]
        shapes = header.below("image_proj.")
        if "proj.weight" in shapes:
            plus, image = False, shapes["proj.weight"][1]
        else:
            plus, image = True, shapes["proj_in.weight"][1]
            _ = shapes["latents"]
        return AdapterPart(plus, image, keys[0][1][1], tuple((number, shape[0]) for number, shape in keys))
    except (KeyError, IndexError):
        return None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1


def _net(part: AdapterPart, header: Header) -> Any:
    from latentloom.nodes.families.ip_adapter.networks import ImageProjection, IPAdapterNet, Resampler

    shapes = header.below("image_proj.")
    if not part.plus:
        tokens = shapes["proj.weight"][0] // part.context
        return IPAdapterNet(ImageProjection(part.image, part.context, tokens), part.context, part.layers)
    resampler = Resampler(
        image=part.image,
        context=part.context,
        width=shapes["latents"][2],
        inner=shapes["layers.0.0.to_q.weight"][0],
        queries=shapes["latents"][1],
        depth=counted(shapes, "layers.{}."),
        hidden=shapes["layers.0.1.1.weight"][0],
    )
    return IPAdapterNet(resampler, part.context, part.layers)
