"""Converts values between a message and what node classes take and return. Used in a pack's process only."""

import importlib
from typing import Any

from latentloom.plugins.comfyui.bridge.missing import name_of
from latentloom.plugins.comfyui.bridge.schemas import Blocker

ABSENT = "absent"


def given(value: Any, arrays: list[Any]) -> Any:
    """Return what a node class takes: tensors for pictures and masks, a dict for a latent."""
    if type(value) is list:
        return [given(item, arrays) for item in value]
    if type(value) is not dict or "is" not in value:
        return value
    tensors = [importlib.import_module("torch").from_numpy(arrays[index]) for index in value.get("arrays", ())]
    if value["is"] == "LATENT":
        return {"samples": tensors[0], **({"noise_mask": tensors[1]} if len(tensors) > 1 else {})}
    return tensors[0] if tensors else value["value"]


class Returned:
    """Collects the arrays of returned values."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []

    def value(self, kind: str, value: Any) -> Any:
        """Return a value of a kind as JSON. Raises TypeError for values that cannot leave the process."""
        if name_of(value) is not None:
            raise TypeError(f"{name_of(value)} is not here")
        if isinstance(value, Blocker):
            return {"is": ABSENT, "message": value.message}
        if kind == "IMAGE":
            return self._tensors(kind, _picture(value))
        if kind == "MASK":
            return self._tensors(kind, _mask(value))
        if kind == "LATENT":
            return self._latent(value)
        return self._plain(kind, value)

    def _tensors(self, kind: str, *tensors: Any) -> dict[str, Any]:
        first = len(self.arrays)
        self.arrays += [tensor.detach().cpu().float().numpy() for tensor in tensors]
        return {"is": kind, "arrays": list(range(first, len(self.arrays)))}

    def _latent(self, value: Any) -> dict[str, Any]:
        if type(value) is not dict or not hasattr(value.get("samples"), "detach"):
            raise TypeError(f"a LATENT is a dict with samples, not {type(value).__name__}")
        mask = value.get("noise_mask")
        return self._tensors("LATENT", value["samples"], *(() if mask is None else (_mask(mask),)))

    def _plain(self, kind: str, value: Any) -> Any:
        single = hasattr(value, "detach") and value.dim() == 0
        if single or (type(value).__module__ == "numpy" and value.ndim == 0):
            value = value.item()
        if kind == "*" and hasattr(value, "detach"):
            picture = value.dim() == 4 and value.shape[-1] in (3, 4)
            return self.value("IMAGE" if picture else "MASK", value)
        if kind == "*" and type(value) is dict and "samples" in value:
            return self._latent(value)
        convert = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool, "COMBO": str}.get(kind)
        if convert is not None and isinstance(value, (bool, int, float, str)):
            return convert(value)
        return _json(value, kind)


def _json(value: Any, kind: str) -> Any:
    """Return a value that is JSON. Raises TypeError."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_json(item, kind) for item in value]
    if isinstance(value, dict):
        return {str(name): _json(item, kind) for name, item in value.items()}
    raise TypeError(f"a {type(value).__name__} was given as {kind}; only pictures, masks, latents and JSON can leave")


def _picture(value: Any) -> Any:
    if not hasattr(value, "detach"):
        raise TypeError(f"an IMAGE is a tensor, not {type(value).__name__}")
    value = value.unsqueeze(0) if value.dim() == 3 else value
    value = value.expand(*value.shape[:-1], 3) if value.dim() == 4 and value.shape[-1] == 1 else value
    return value.float().clamp(0, 1)


def _mask(value: Any) -> Any:
    if not hasattr(value, "detach"):
        raise TypeError(f"a MASK is a tensor, not {type(value).__name__}")
    value = value.unsqueeze(0) if value.dim() == 2 else value
    if value.dim() == 4:
        value = value.squeeze(1) if value.shape[1] == 1 else value.squeeze(-1)
    return value.float().clamp(0, 1)
