"""The model kind "lora": told apart, and never loaded by itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.lora.key_names import changes


class LoraFile:
    """A LoRA, LoCon, LoHa, LoKr or DoRA: a change to models, as a safetensors file."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Which networks it changes, see `key_names.Network`; None for another file."""
        if not path.is_file():
            return None
        found = changes(read_header(path).shapes)
        networks = sorted({target.network for target in found})
        return {"lora": networks, "about": f"LoRA ({len(found)} layers)"} if found else None

    def load(self, paths: Sequence[Path], *_: Any) -> Any:
        """Raise FileError: a LoRA is a patch on a model."""
        raise FileError(f"'{paths[0].name}' is a LoRA, which is loaded on top of a model", expected="LoadLora")
