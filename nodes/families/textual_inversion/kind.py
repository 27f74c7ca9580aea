"""The model kind "embedding": recognised here, and loaded when a prompt names it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import Header, read_header

ENCODERS = {"clip_l": "l", "clip_g": "g", "clip_h": "h"}  # tensor names in SDXL's files
MOST_VECTORS = 75  # that fit into a chunk


class EmbeddingFile:
    """An embedding in AUTOMATIC1111's or diffusers' layout, or in SDXL's with vectors for two encoders."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return number and width of the vectors by encoder ("" if not named in the file); None for another file."""
        header = read_header(path) if path.is_file() else None
        found = find_vectors(header) if header is not None else None
        if header is None or found is None:
            return None
        shapes = {encoder: header.shapes[name] for encoder, name in found.items()}
        count = _rows(next(iter(shapes.values())))
        widths = {encoder: shape[-1] for encoder, shape in shapes.items()}
        of = f"{count} vector{'s' * (count != 1)}"
        return {"embedding": {"vectors": count, "widths": widths}, "about": f"embedding ({of})"}

    def load(self, paths: Sequence[Path], *_: Any) -> Any:
        """Raise FileError: an embedding is used by its name in a prompt."""
        raise FileError(
            f"'{paths[0].name}' is an embedding, which is used by its name in a prompt", expected="embedding:name"
        )


def find_vectors(header: Header) -> dict[str, str] | None:
    """Return the tensor name of each encoder: "l", "g", "h", or "" for a single tensor that names no encoder."""
    names = {ENCODERS.get(name, ""): name for name in header.shapes}
    if len(names) != len(header.shapes) or ("" in names and len(names) > 1):
        return None
    shapes = list(header.shapes.values())
    if not shapes or any(not 1 <= len(shape) <= 2 or 0 in shape for shape in shapes):
        return None
    weights = any(name.rpartition(".")[2] in ("weight", "bias") for name in names.values())
    rows = {_rows(shape) for shape in shapes}
    return None if weights or len(rows) > 1 or max(rows) > MOST_VECTORS else names


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) == 2 else 1
