"""What a LoRA's header, or a file beside it, says of its strength: the configuration of adapters.

diffusers writes it into the header, PEFT beside `adapter_model.safetensors`.

PEFT scales by alpha / r, with rank-stabilised LoRA (Kalajdzievski 2023) by alpha / sqrt(r).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.engine.files.model_files import ADAPTER, configuration_of
from latentloom.nodes.families.folder import read_json
from latentloom.nodes.families.lora.key_names import Network, Target

KEY = "lora_adapter_metadata"  # of a safetensors header; its keys are PART.NAME
_PARTS: Mapping[str, tuple[Network, ...]] = {  # a T5 is the last text encoder of its pipeline
    "unet": ("unet",),
    "transformer": ("unet",),
    "text_encoder": ("te1", "te3"),
    "text_encoder_2": ("te2", "te3"),
    "text_encoder_3": ("te3",),
}


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """A network's adapter: the alpha of its layers."""

    alpha: float | None = None
    patterns: Mapping[str, float] = field(default_factory=dict)  # by how a layer's name ends, "_" for "."
    stabilised: bool = False

    def of(self, layer: str, rank: int) -> float | None:
        """The alpha for a layer as kohya's files count, whose scale is alpha / rank; None where nothing is said."""
        found = [value for end, value in self.patterns.items() if layer == end or layer.endswith(f"_{end}")]
        alpha = found[0] if found else self.alpha
        return None if alpha is None else alpha * (sqrt(rank) if self.stabilised else 1.0)


NOTHING = AdapterConfig()


def adapter_configs(metadata: Mapping[str, str], name: str) -> dict[Network, AdapterConfig]:
    """The adapters that a header describes, by network. Raises FileError for a description that cannot be read."""
    if KEY not in metadata:
        return {}
    try:
        said = json.loads(metadata[KEY])
        own = {key.partition(".")[0] for key, _ in said.items()}
        return {network: _config(said, part) for part in _PARTS if part in own for network in _PARTS[part]}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(f"the LoRA '{name}' has a configuration that cannot be read", got=f"{KEY}: {error}") from None


def _config(said: Mapping[str, Any], part: str) -> AdapterConfig:
    begin = f"{part}." if part else ""
    own = {key.removeprefix(begin): value for key, value in said.items() if key.startswith(begin)}
    alpha = own.get("lora_alpha")
    patterns = {_flat(layer): float(value) for layer, value in (own.get("alpha_pattern") or {}).items()}
    return AdapterConfig(None if alpha is None else float(alpha), patterns, bool(own.get("use_rslora")))


def _flat(layer: str) -> str:
    return layer.lstrip("^").replace(".", "_").removeprefix("text_model_")


def adapter_beside(path: Path) -> dict[str, Any] | None:
    """What PEFT's file beside an adapter says of its strength, as JSON; None without one.

    Raises FileError for a file that cannot be read.
    """
    beside = configuration_of(path)
    if path.name != ADAPTER or not beside.is_file():
        return None
    said = read_json(beside)
    kept = {name: said[name] for name in ("lora_alpha", "alpha_pattern", "use_rslora") if name in said}
    _checked(kept, beside.name)
    return kept


def adapter_of(said: Mapping[str, Any]) -> dict[Network, AdapterConfig]:
    """The adapter that `adapter_beside` found: it is of whatever network the file changes."""
    config = _config(said, "")
    return dict.fromkeys(itertools.chain.from_iterable(_PARTS.values()), config)


def _checked(said: Mapping[str, Any], name: str) -> None:
    try:
        _config(said, "")
    except (ValueError, TypeError, AttributeError) as error:
        raise FileError(f"'{name}' next to the LoRA cannot be read", got=str(error)) from None


def alpha_of(configs: Mapping[Network, AdapterConfig], target: Target, rank: int) -> float | None:
    """The alpha that a header says for a target; None where it says nothing."""
    return configs.get(target.network, NOTHING).of(target.layer, rank)
