"""The patch kind "lora": a loaded UNet or text encoder with the changes of a LoRA file."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.engine import Patch
from latentloom.engine.errors import FileError
from latentloom.nodes.families.lora.deltas import changed
from latentloom.nodes.families.lora.key_names import Network, Target, changes
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.stable_diffusion.unet_keys import original_names
from latentloom.nodes.text.encoder import Encoder, TextEncoder

if TYPE_CHECKING:
    from torch import Tensor

Changes = Mapping[Target, Mapping[str, str]]


def apply_lora(module: Any, patch: Patch, paths: Sequence[Path]) -> Any:
    """A copy of the module that shares every weight but the changed ones; the module itself stays as it is.

    Layers that the module does not have are passed over. Raises FileError when it has none of them, or when one of them
    has another shape.
    """
    weights = Weights(paths[0])
    found, strength = changes(weights.keys()), patch.parameters["strength"]
    name = patch.files[0].name
    if not isinstance(module, TextEncoder):
        return _patched(module, "unet", weights, found, strength, name)
    networks = _networks(module)
    if not any(target.network in networks.values() for target in found):
        raise _no_match(name, "text encoder")
    encoders = [
        _encoder(encoder, networks[encoder.name], weights, found, strength, name) for encoder in module.encoders
    ]
    return TextEncoder(tuple(encoders))


def _networks(module: TextEncoder) -> dict[str, Network]:
    """What a LoRA calls each encoder: a single one is the first, SDXL's bigG the second."""
    single = len(module.encoders) == 1
    return {encoder.name: "te1" if single or encoder.name == "l" else "te2" for encoder in module.encoders}


def _encoder(
    encoder: Encoder, network: Network, weights: Weights, found: Changes, strength: float, name: str
) -> Encoder:
    if not any(target.network == network for target in found):
        return encoder
    return replace(encoder, model=_patched(encoder.model, network, weights, found, strength, name))


def _patched(module: Any, network: Network, weights: Weights, found: Changes, strength: float, name: str) -> Any:
    from torch.nn import Parameter

    layers = _layers(module)
    wanted = [(layers[target.layer], parts) for target, parts in found.items() if _known(target, network, layers)]
    if not wanted:
        raise _no_match(name, "UNet" if network == "unet" else "text encoder")
    made = _sharing_copy(module)
    for layer, parts in wanted:
        place = made.get_submodule(layer)
        for attribute, tensor in _new_weights(place, parts, weights, strength, name, layer):
            setattr(place, attribute, Parameter(tensor, requires_grad=False))
    return made


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


def _new_weights(
    place: Any, parts: Mapping[str, str], weights: Weights, strength: float, name: str, layer: str
) -> Iterator[tuple[str, Tensor]]:
    """The attributes of a layer that change, with their new values in the old dtype."""
    factors = {part: weights[tensor].to(place.weight.device) for part, tensor in parts.items()}
    bias = factors.pop("diff_b", None)
    if bias is not None and place.bias is not None:
        yield "bias", (place.bias.float() + strength * bias.float()).to(place.bias.dtype)
    if factors:
        yield "weight", _weight(place.weight, factors, strength, name, layer)


def _weight(weight: Tensor, factors: dict[str, Tensor], strength: float, name: str, layer: str) -> Tensor:
    import torch

    try:
        found = changed(weight.float(), factors, strength)
    except (ValueError, RuntimeError, KeyError) as error:
        raise FileError(
            f"the LoRA '{name}' does not fit the model: its change of '{layer}' has another shape",
            expected=str(list(weight.shape)),
            got=", ".join(f"{part} {list(factor.shape)}" for part, factor in factors.items()),
            hint="a LoRA fits the family that it was trained on: SD 1.x, SD 2.x or SDXL",
        ) from error
    if not torch.isfinite(found).all():
        raise FileError(
            f"the LoRA '{name}' holds numbers that are not finite",
            expected="finite numbers",
            got=f"NaN or infinity in the change of '{layer}'",
        )
    return found.to(weight.dtype)


def _no_match(name: str, part: str) -> FileError:
    return FileError(
        f"the LoRA '{name}' changes nothing of this {part}",
        expected=f"layers of the {part}",
        got="layers of another model",
        hint="a LoRA fits the family that it was trained on: SD 1.x, SD 2.x or SDXL",
    )
