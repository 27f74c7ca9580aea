"""The model kind "text_encoder": a T5 or a language model in one file, the text encoder of some families."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import said_class
from latentloom.nodes.families.header import Header, weights_facts
from latentloom.nodes.families.mistral import find_mistral
from latentloom.nodes.families.qwen import find_qwen
from latentloom.nodes.families.t5 import find_t5
from latentloom.nodes.families.text_parts import header_of, lone_tower

CLASSES = ("T5", "UMT5", "Qwen", "Mistral")
"""How the class names of such text encoders begin in a folder's configuration."""

READERS: Mapping[frozenset[str], str] = {
    frozenset({"qwen3"}): "z_image",
    frozenset({"qwen2_5_vl"}): "qwen_image",
    frozenset({"mistral3"}): "flux2",
    frozenset({"l", "t5"}): "flux",
    frozenset({"l", "g", "t5"}): "sd3",
    frozenset({"g", "t5"}): "sd3",
}
"""The family for text encoders of these names if no model is given; the names are those of `texts_in`."""


def family_of(encoders: Collection[str]) -> str | None:
    """Return the family that uses text encoders of these names, or None."""
    return READERS.get(frozenset(encoders))


def _tower(header: Header) -> dict[str, Any] | None:
    """Return the facts of a file with a vision tower alone, which no encoder is; None for another file."""
    found = lone_tower(header)
    if found is None:
        return None
    facts = {"encoders": [], "width": found[1], "pooled": 0}
    return {"clip": facts, "about": f"vision tower of {found[0]}", **weights_facts(header)}


class TextEncoderFile:
    """A T5, a Qwen or a Mistral of any size, as a file or as a folder of transformers, possibly in several files.

    A file that holds only the vision tower of a Qwen counts as a part of a text encoder.
    """

    model_modules = ("transformers.models.qwen3.modeling_qwen3", "transformers.models.t5.modeling_t5")

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the encoder's name and the width of its hidden states; None for another file or folder."""
        known = path.is_file() or said_class(path).startswith(CLASSES)
        header = header_of(path) if known else None
        part = header and (find_t5(header.shapes) or find_qwen(header) or find_mistral(header.shapes))
        if header is not None and part is None:
            return _tower(header)
        if header is None or part is None:
            return None
        facts = {"encoders": [part.name], "width": part.width, "pooled": 0}
        where = " (folder)" if path.is_dir() else ""
        return {"clip": facts, "about": f"{part.title} text encoder{where}", **weights_facts(header)}

    def load(self, paths: Sequence[Path], *_: Any) -> Any:
        """Raise FileError: only a family can load its text encoder."""
        raise FileError(f"'{paths[0].name}' can be loaded only for a model family", expected="LoadCLIP with a model")
