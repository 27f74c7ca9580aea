"""The patch kind "lora": a loaded denoiser or text encoder with the changes of a LoRA file."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from latentloom.engine import Patch
from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.lora.adapter_config import AdapterConfig, adapter_configs, adapter_of, alpha_of
from latentloom.nodes.families.lora.deltas import changed
from latentloom.nodes.families.lora.key_names import Network, Target, changes
from latentloom.nodes.families.lora.layers import Rows, groups_of, layers_of
from latentloom.nodes.families.lora.value import tensors_of
from latentloom.nodes.families.merge import section_of
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.network_titles import layers_title
from latentloom.nodes.families.unused import harmless, warn_left
from latentloom.nodes.text.chat import ChatReader
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.encoder import Encoder
from latentloom.nodes.text.joined import JoinedReader

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FITS = "a LoRA works only with the model family it was trained on"


@dataclass(frozen=True, slots=True)
class _Lora:
    """A LoRA that is put on a model, from a file or from the workflow."""

    name: str
    weights: Weights | dict[str, Tensor]
    changes: Mapping[Target, Mapping[str, str]]
    strength: float
    sections: Mapping[str, float]  # further factors, by third of a UNet
    configs: Mapping[Network, AdapterConfig]

    def at(self, layer: str) -> float:
        """The strength for a layer, named as the network names it."""
        return self.strength * self.sections.get(section_of(f"{layer}.") or "", 1.0)

    def networks(self) -> set[Network]:
        """The networks that it changes."""
        return {target.network for target in self.changes}

    def factors(self, target: Target, parts: Mapping[str, str]) -> dict[str, Tensor]:
        """The tensors of a target's change, with the alpha that the header says where no tensor does."""
        import torch

        found = {part: self.weights[name] for part, name in parts.items()}
        if "down" in found and "alpha" not in found:
            alpha = alpha_of(self.configs, target, found["down"].shape[0])
            found |= {} if alpha is None else {"alpha": torch.tensor(alpha)}
        return found


class _Change(NamedTuple):
    """A file's change of the rows that a name of it means: the tensor of each factor."""

    lora: _Lora
    target: Target
    parts: Mapping[str, str]
    rows: Rows


def apply_loras(module: Any, patches: Sequence[Patch], paths: Sequence[Sequence[Path]]) -> Any:
    """A copy of the module that shares every weight but the changed ones; the module itself stays as it is.

    The changes of all files add up in float32 and are rounded once. Layers that the module does not have are passed
    over, which a warning counts. Raises FileError when it has none of those of a file, when one of them has another
    shape, and for strengths by third of what is no UNet.
    """
    loras = [_opened(patch, files) for patch, files in zip(patches, paths, strict=True)]
    if isinstance(module, ChatReader):
        (model,) = _texts({"te1": module.model}, loras)
        return replace(module, model=model)
    if isinstance(module, JoinedReader):
        return _joined(module, loras)
    if isinstance(module, TextEncoder):
        networks = _networks(module.encoders)
        models = {networks[clip.name]: clip.model for clip in module.encoders}
        return _with_models(module.encoders, _texts(models, loras))
    _check_thirds(module, loras)
    return _patched(module, "unet", loras)


def _check_thirds(module: Any, loras: Sequence[_Lora]) -> None:
    """Raise FileError for strengths by third, where the network has none."""
    divided = [lora for lora in loras if lora.sections]
    if divided and hasattr(module, "origin"):
        raise FileError(
            f"the LoRA '{divided[0].name}' has a strength for each part of a UNet, and {_title(module)} is not a UNet",
            expected="a UNet",
            got=_title(module),
            hint="LoadLora and LoadLoraModel use one strength for all layers",
        )


def _joined(reader: JoinedReader, loras: Sequence[_Lora]) -> JoinedReader:
    """CLIPs and a T5, each by its own name."""
    models: dict[Network, Any] = {"te2" if clip.name == "g" else "te1": clip.model for clip in reader.encoders}
    models |= {} if reader.t5 is None else {"te3": reader.t5.model}
    made = _texts(models, loras)
    t5 = reader.t5 and replace(reader.t5, model=made.pop())
    return replace(reader, clips=_with_models(reader.encoders, made), t5=t5)


def _with_models(encoders: Sequence[Encoder], models: Sequence[Any]) -> TextEncoder:
    return TextEncoder(tuple(replace(clip, model=model) for clip, model in zip(encoders, models, strict=True)))


def _texts(models: Mapping[Network, Any], loras: Sequence[_Lora]) -> list[Any]:
    """Text encoders with the changes of those files that have some for them."""
    for lora in loras:
        if not lora.networks() & models.keys():
            raise _no_match(lora, min(lora.networks()), "text encoder")
        _warn_of_others(lora, models.keys())
    return [
        _patched(model, network, own) if (own := [lora for lora in loras if network in lora.networks()]) else model
        for network, model in models.items()
    ]


def _warn_of_others(lora: _Lora, networks: Collection[Network]) -> None:
    """Tell which of a file's tensors are for text encoders that are not there."""
    others = {target for target in lora.changes if target.network not in {*networks, "unet"}}
    left = sorted(name for target in others for name in lora.changes[target].values())
    warn_left(lora.name, left, lora.weights.keys(), "tensors")


def _opened(patch: Patch, paths: Sequence[Path]) -> _Lora:
    strength, sections = patch.parameters["strength"], patch.parameters.get("sections", {})
    if not paths:
        tensors = tensors_of(patch)
        return _Lora(patch.parameters["title"], tensors, changes(tensors), strength, sections, {})
    path, name = paths[0], patch.files[0].name
    weights = Weights(path)
    beside = patch.parameters.get("adapter")
    configs = adapter_configs(read_header(path).metadata, name) if beside is None else adapter_of(beside)
    return _Lora(name, weights, changes(weights.keys()), strength, sections, configs)


def _networks(encoders: Sequence[Encoder]) -> dict[str, Network]:
    """What a LoRA calls each encoder: a single one is the first, SDXL's bigG the second."""
    single = len(encoders) == 1
    return {encoder.name: "te1" if single or encoder.name == "l" else "te2" for encoder in encoders}


def _patched(module: Any, network: Network, loras: Sequence[_Lora]) -> Any:
    from torch.nn import Parameter

    wanted = _wanted(module, network, loras)
    made = _sharing_copy(module)
    for changes_of_group in wanted.values():
        for (layer, attribute), tensor in _new_tensors(module, changes_of_group).items():
            setattr(made.get_submodule(layer), attribute, Parameter(tensor, requires_grad=False))
    return made


def _wanted(module: Any, network: Network, loras: Sequence[_Lora]) -> dict[tuple[str, ...], list[_Change]]:
    """The changes of layers that a network has, file by file, by the layers that change together.

    Raises FileError for a file that changes none.
    """
    layers = layers_of(module)
    groups, wanted = groups_of(layers), dict[tuple[str, ...], list[_Change]]()
    for lora in loras:
        known = [
            _Change(lora, target, usable, layers[target.layer])
            for target, parts in lora.changes.items()
            if target.network == network and target.layer in layers
            if (usable := _usable(parts, layers[target.layer], module))
        ]
        if not known:
            raise _no_match(lora, network, _title(module) if network == "unet" else "text encoder")
        for change in known:
            wanted.setdefault(groups[change.rows.layers[0]], []).append(change)
        _warn_left(lora, network, known)
    return wanted


def _usable(parts: Mapping[str, str], rows: Rows, module: Any) -> dict[str, str]:
    """The factors of a change but that of a bias where there is none."""
    return {part: name for part, name in parts.items() if part != "diff_b" or rows.sources(module, "bias") is not None}


def _warn_left(lora: _Lora, network: Network, known: Sequence[_Change]) -> None:
    """Tell which of a file's tensors change nothing: those for layers that the network lacks, and those of no LoRA."""
    names = lora.weights.keys()
    ours = {name for target, parts in lora.changes.items() if target.network == network for name in parts.values()}
    used = {name for change in known for name in change.parts.values()}
    parsed = {name for parts in lora.changes.values() for name in parts.values()}
    warn_left(lora.name, sorted(ours - used), names, "tensors")
    warn_left(lora.name, [name for name in names if name not in parsed and not harmless(name)], names, "tensors")


def _sharing_copy(module: Any) -> Any:
    """A copy of a module's structure over the same tensors."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def _new_tensors(module: Any, changes_of_group: Sequence[_Change]) -> dict[tuple[str, str], Tensor]:
    """By layer and attribute, the new tensors in the old dtype."""
    made: dict[tuple[str, str], Tensor] = {}  # float32
    for change in changes_of_group:
        factors = change.lora.factors(change.target, change.parts)
        bias = factors.pop("diff_b", None)
        if bias is not None:
            _apply(module, change, "bias", {"diff": bias}, made)
        if factors:
            _apply(module, change, "weight", factors, made)
    return {
        (layer, attribute): tensor.to(_rounded(getattr(module.get_submodule(layer), attribute).dtype), copy=True)
        for (layer, attribute), tensor in made.items()
    }


def _apply(
    module: Any, change: _Change, attribute: str, factors: Mapping[str, Tensor], made: dict[tuple[str, str], Tensor]
) -> None:
    """Put the tensors of a change's layers after it in `made`, on top of what is there."""
    rows, found = change.rows, change.rows.sources(module, attribute)
    assert found is not None
    now = [made.get((layer, attribute), tensor) for layer, tensor in zip(rows.layers, found, strict=True)]
    placed = {part: tensor.to(found[0].device) for part, tensor in factors.items()}
    whole = _changed(rows.joined(now, module), placed, change)
    parts = rows.split(whole, [len(tensor) for tensor in found], module)
    made |= {(layer, attribute): part for layer, part in zip(rows.layers, parts, strict=True)}


def _rounded(dtype: torch.dtype) -> torch.dtype:
    """The type that a changed weight of that type gets: one byte per number is too coarse for small changes."""
    import torch

    return torch.float16 if dtype.itemsize == 1 else dtype


def _changed(weight: Tensor, factors: Mapping[str, Tensor], change: _Change) -> Tensor:
    """A weight or bias with one file's change, float32."""
    import torch

    lora, layer = change.lora, " + ".join(change.rows.layers)
    try:
        found = changed(weight, factors, lora.at(change.rows.layers[0]))
    except (ValueError, RuntimeError, KeyError) as error:
        raise FileError(
            f"the LoRA '{lora.name}' does not fit the model: its change of '{layer}' has a different shape",
            expected=str(list(weight.shape)),
            got=", ".join(f"{part} {list(factor.shape)}" for part, factor in factors.items()),
            hint=FITS,
        ) from error
    if not torch.isfinite(found).all():
        raise FileError(
            f"the LoRA '{lora.name}' contains numbers that are not finite",
            expected="finite numbers",
            got=f"NaN or infinity in the change of '{layer}'",
        )
    return found


def _title(module: Any) -> str:
    """What people call a denoiser."""
    return module.origin.title if hasattr(module, "origin") else "UNet"


def _no_match(lora: _Lora, network: Network, part: str) -> FileError:
    layers = [target.layer for target in lora.changes if target.network == network]
    return FileError(
        f"the LoRA '{lora.name}' does not change this {part}",
        expected=f"layers of the {part}",
        got=f"{len(layers)} layer{'s' * (len(layers) != 1)} of {layers_title(layers)}, such as '{layers[0]}'",
        hint=FITS,
    )
