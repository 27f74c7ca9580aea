"""The patch kind "lora": a loaded UNet or text encoder with the changes of a LoRA file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from latentloom.engine import Patch
from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.lora.adapter_config import AdapterConfig, adapter_configs, adapter_of, alpha_of
from latentloom.nodes.families.lora.deltas import changed
from latentloom.nodes.families.lora.key_names import Network, Target, changes
from latentloom.nodes.families.merge import section_of
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.stable_diffusion.unet_keys import original_names
from latentloom.nodes.families.unused import harmless, warn_left
from latentloom.nodes.text.chat import ChatReader
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.encoder import Encoder
from latentloom.nodes.text.joined import JoinedReader

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Lora:
    """A LoRA file that is put on a model."""

    name: str
    weights: Weights
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
    """A file's change of one layer: the tensor of each factor."""

    lora: _Lora
    target: Target
    parts: Mapping[str, str]


def apply_loras(module: Any, patches: Sequence[Patch], paths: Sequence[Sequence[Path]]) -> Any:
    """A copy of the module that shares every weight but the changed ones; the module itself stays as it is.

    The changes of all files add up in float32 and are rounded once. Layers that the module does not have are passed
    over. Raises FileError when it has none of those of a file, or when one of them has another shape.
    """
    loras = [_opened(patch, files[0]) for patch, files in zip(patches, paths, strict=True)]
    if isinstance(module, ChatReader):
        raise _no_match(loras[0].name, "text encoder")
    if isinstance(module, JoinedReader):
        return module.with_clips(_encoders(module.encoders, loras))
    if isinstance(module, TextEncoder):
        return TextEncoder(_encoders(module.encoders, loras))
    _check_whole(module, loras)
    return _patched(module, "unet", loras)


def _encoders(encoders: Sequence[Encoder], loras: Sequence[_Lora]) -> tuple[Encoder, ...]:
    networks = _networks(encoders)
    for lora in loras:
        if not lora.networks() & set(networks.values()):
            raise _no_match(lora.name, "text encoder")
    return tuple(_encoder(encoder, networks[encoder.name], loras) for encoder in encoders)


def _check_whole(module: Any, loras: Sequence[_Lora]) -> None:
    """Raise FileError for a LoRA of which a transformer has some layers only: half a LoRA is another one.

    In UNets a few layers are passed over, as other programs do.
    """
    if type(module).__name__.startswith("UNet"):
        return
    layers = _layers(module)
    for lora in loras:
        own = [target for target in lora.changes if target.network == "unet"]
        known = sum(target.layer in layers for target in own)
        if 0 < known < len(own):
            missing = next(target.layer for target in own if target.layer not in layers)
            raise FileError(
                f"the LoRA '{lora.name}' changes layers that this model has not under these names",
                expected=f"all of its {len(own)} layers",
                got=f"{known}; the first that is not there is '{missing}'",
            )


def _opened(patch: Patch, path: Path) -> _Lora:
    weights = Weights(path)
    strength, sections = patch.parameters["strength"], patch.parameters.get("sections", {})
    name = patch.files[0].name
    beside = patch.parameters.get("adapter")
    configs = adapter_configs(read_header(path).metadata, name) if beside is None else adapter_of(beside)
    return _Lora(name, weights, changes(weights.keys()), strength, sections, configs)


def _networks(encoders: Sequence[Encoder]) -> dict[str, Network]:
    """What a LoRA calls each encoder: a single one is the first, SDXL's bigG the second."""
    single = len(encoders) == 1
    return {encoder.name: "te1" if single or encoder.name == "l" else "te2" for encoder in encoders}


def _encoder(encoder: Encoder, network: Network, loras: Sequence[_Lora]) -> Encoder:
    own = [lora for lora in loras if network in lora.networks()]
    return replace(encoder, model=_patched(encoder.model, network, own)) if own else encoder


def _patched(module: Any, network: Network, loras: Sequence[_Lora]) -> Any:
    from torch.nn import Parameter

    wanted = _wanted(network, _layers(module), loras)
    made = _sharing_copy(module)
    for layer, found in wanted.items():
        place = made.get_submodule(layer)
        turn = _in_order(made.get_submodule(layer.rpartition(".")[0]))
        for attribute, tensor in _new_weights(place, layer, found, turn).items():
            setattr(place, attribute, Parameter(tensor, requires_grad=False))
    return made


def _wanted(network: Network, layers: Mapping[str, str], loras: Sequence[_Lora]) -> dict[str, list[_Change]]:
    """The changes of each layer that a network has, file by file. Raises FileError for a file that has none."""
    wanted: dict[str, list[_Change]] = {}
    for lora in loras:
        known = {target: parts for target, parts in lora.changes.items() if _known(target, network, layers)}
        if not known:
            raise _no_match(lora.name, "UNet" if network == "unet" else "text encoder")
        for target, parts in known.items():
            wanted.setdefault(layers[target.layer], []).append(_Change(lora, target, parts))
        _warn_left(lora, network, known)
    return wanted


def _warn_left(lora: _Lora, network: Network, known: Mapping[Target, Mapping[str, str]]) -> None:
    """Tell which of a file's tensors change nothing: those for layers that the network lacks, and those of no LoRA."""
    names = lora.weights.keys()
    ours = {name for target, parts in lora.changes.items() if target.network == network for name in parts.values()}
    used = {name for parts in known.values() for name in parts.values()}
    parsed = {name for parts in lora.changes.values() for name in parts.values()}
    warn_left(lora.name, sorted(ours - used), names, "tensors")
    warn_left(lora.name, [name for name in names if name not in parsed and not harmless(name)], names, "tensors")


def _known(target: Target, network: Network, layers: Mapping[str, str]) -> bool:
    return target.network == network and target.layer in layers


def _layers(module: Any) -> dict[str, str]:
    """Every layer by the names that files call it: its own and, in a UNet, the original's."""
    names = [name.removesuffix(".weight") for name in module.state_dict() if name.endswith(".weight")]
    found = {original.rstrip(".").replace(".", "_"): name for name, original in _originals(names)}
    return {**found, **{name.replace(".", "_"): name for name in names}}


def _originals(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((name.removesuffix("."), original) for name, original in original_names(f"{n}." for n in names).items())


def _sharing_copy(module: Any) -> Any:
    """A copy of a module's structure over the same tensors."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def _in_order(parent: Any) -> Callable[[Tensor], Tensor]:
    """What puts the rows of a layer in the order that LoRAs of its name mean, and back.

    A last norm that is read as its authors' file has it has its halves the other way round than diffusers.
    """
    import torch

    def turned(tensor: Tensor) -> Tensor:
        return torch.cat(list(reversed(tensor.chunk(2))))

    return turned if type(parent).__name__ == "ShiftFirst" else lambda tensor: tensor


def _new_weights(
    place: Any, layer: str, found: Sequence[_Change], turn: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The attributes of a layer that change, with their new values in the old dtype."""
    made: dict[str, Tensor] = {}
    for lora, target, parts in found:
        factors = {part: tensor.to(place.weight.device) for part, tensor in lora.factors(target, parts).items()}
        bias = factors.pop("diff_b", None)
        if bias is not None and place.bias is not None:
            made["bias"] = made.get("bias", turn(place.bias.float())) + lora.at(layer) * bias.float()
        if factors:
            made["weight"] = _weight(made.get("weight", turn(place.weight.float())), factors, lora, layer)
    return {name: turn(tensor).to(_rounded(getattr(place, name).dtype)) for name, tensor in made.items()}


def _rounded(dtype: torch.dtype) -> torch.dtype:
    """The type that a changed weight of that type gets: one byte per number is too coarse for small changes."""
    import torch

    return torch.float16 if dtype.itemsize == 1 else dtype


def _weight(weight: Tensor, factors: dict[str, Tensor], lora: _Lora, layer: str) -> Tensor:
    """A weight with one file's change, float32."""
    import torch

    try:
        found = changed(weight, factors, lora.at(layer))
    except (ValueError, RuntimeError, KeyError) as error:
        raise FileError(
            f"the LoRA '{lora.name}' does not fit the model: its change of '{layer}' has another shape",
            expected=str(list(weight.shape)),
            got=", ".join(f"{part} {list(factor.shape)}" for part, factor in factors.items()),
            hint="a LoRA fits the family that it was trained on: SD 1.x, SD 2.x or SDXL",
        ) from error
    if not torch.isfinite(found).all():
        raise FileError(
            f"the LoRA '{lora.name}' holds numbers that are not finite",
            expected="finite numbers",
            got=f"NaN or infinity in the change of '{layer}'",
        )
    return found


def _no_match(name: str, part: str) -> FileError:
    return FileError(
        f"the LoRA '{name}' changes nothing of this {part}",
        expected=f"layers of the {part}",
        got="layers of another model",
        hint="a LoRA fits the family that it was trained on: SD 1.x, SD 2.x or SDXL",
    )
