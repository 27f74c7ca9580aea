"""The model kind "redux": Flux.1 Redux (Black Forest Labs 2024) turns the states of SigLIP into tokens of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.nodes.families.folder import folder_weights, said_class
from latentloom.nodes.families.header import weights_facts
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.text_parts import header_of
from latentloom.nodes.families.unused import warn_unused

CLASS = "ReduxImageEncoder"


class ReduxKind:
    """As one file or as a folder in diffusers' layout."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of a "style_model"; None for another file or folder."""
        if path.is_dir() and said_class(path) != CLASS:
            return None
        header = header_of(path)
        up, down = (header.shapes.get(f"redux_{side}.weight", ()) for side in ("up", "down"))
        if len(up) != 2 or len(down) != 2:
            return None
        facts = {"image": up[1], "context": down[0]}
        return {"style_model": facts, "about": "Flux.1 Redux", **weights_facts(header)}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load a diffusers ReduxImageEncoder."""
        from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder

        weights = folder_weights(paths[0]) if paths[0].is_dir() else Weights(paths[0])
        arguments = {"redux_dim": info["image"], "txt_in_features": info["context"]}
        made = assemble(
            lambda: ReduxImageEncoder(**arguments), lambda names: {n: Piece(n) for n in names}, weights, "style model"
        )
        warn_unused(weights)
        return made
