"""The values on edges. They are frozen and on the CPU. Arrays are float32; `numpy()` does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from latentloom.engine.errors import BadValueError
from latentloom.engine.files.model_files import FileIdentity
from latentloom.engine.types.arrays import Array

if TYPE_CHECKING:
    import torch
    from PIL import Image as Pil

    from latentloom.engine.types.arrays import Floats


class Value:
    """Base class of values that contain arrays. A subclass sets its port type and implements `split` and `join`."""

    kind: ClassVar[str]
    __slots__ = ()

    def split(self) -> tuple[Any, list[Array]]:
        """Return this value as JSON plus arrays."""
        raise TypeError(f"{type(self).__name__} has no split()")

    @classmethod
    def join(cls, meta: Any, arrays: Sequence[Array]) -> Value:
        """Restore the value from the parts that `split` returned."""
        raise TypeError(f"{cls.__name__} has no join()")

    def essence(self) -> Any:
        """Return the part of `split`'s JSON that identifies the value. Names of files are not part of it."""
        return self.split()[0]


def _checked(kind: str, data: Any, rank: int, layout: str, *, unit: bool) -> Array:
    """Return an Array of the given rank. With `unit`, its numbers must be in 0..1."""
    array = data if isinstance(data, Array) else Array(data)
    if len(array.shape) != rank or 0 in array.shape:
        raise BadValueError(f"{kind} has the wrong shape", expected=layout, got=str(list(array.shape)))
    low, high = array.span
    if not (low >= 0 and high <= 1 if unit else np.isfinite(low) and np.isfinite(high)):
        raise BadValueError(
            f"{kind} contains numbers that are out of range",
            expected="0..1" if unit else "finite numbers",
            got=f"{low:g}..{high:g}",
            hint="clip the numbers; NaN from a model often means that it overflows in its dtype: try --dtype fp32",
        )
    return array


class Image(Value):
    """Pictures, float32 [B, H, W, C] in 0..1, C = 3 (RGB) or 4 (RGBA)."""

    kind = "IMAGE"
    __slots__ = ("_pixels",)

    def __init__(self, pixels: Any) -> None:
        self._pixels = _checked("IMAGE", pixels, 4, "[B, H, W, C]", unit=True)
        if self._pixels.shape[3] not in (3, 4):
            raise BadValueError(
                "IMAGE has the wrong number of channels", expected="3 or 4", got=str(self._pixels.shape[3])
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, W, C)."""
        return self._pixels.shape

    def __len__(self) -> int:
        return self.shape[0]

    def numpy(self) -> Floats:
        """Read-only float32 [B, H, W, C]."""
        return self._pixels.numpy()

    def pictures(self) -> list[Pil.Image]:
        """Return the pictures as PIL images of 8 bits."""
        from PIL.Image import fromarray

        from latentloom.engine.files.pictures import to_bytes

        return [fromarray(to_bytes(pixels)) for pixels in self.numpy()]

    def _repr_html_(self) -> str:
        """Return the pictures for a notebook."""
        from latentloom.engine.files.picture_html import pictures_html

        return pictures_html(self.pictures())

    def tensor(self) -> torch.Tensor:
        """float32 [B, H, W, C]. Do not modify it."""
        return self._pixels.tensor()

    def split(self) -> tuple[Any, list[Array]]:
        """See `Value.split`."""
        return None, [self._pixels]

    @classmethod
    def join(cls, meta: Any, arrays: Sequence[Array]) -> Image:
        """See `Value.join`."""
        return cls(arrays[0])


class Mask(Value):
    """Masks, float32 [B, H, W] in 0..1; 1 = repaint."""

    kind = "MASK"
    __slots__ = ("_pixels",)

    def __init__(self, pixels: Any) -> None:
        self._pixels = _checked("MASK", pixels, 3, "[B, H, W]", unit=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, W)."""
        return self._pixels.shape

    def numpy(self) -> Floats:
        """Read-only float32 [B, H, W]."""
        return self._pixels.numpy()

    def tensor(self) -> torch.Tensor:
        """float32 [B, H, W]. Do not modify it."""
        return self._pixels.tensor()

    def split(self) -> tuple[Any, list[Array]]:
        """See `Value.split`."""
        return None, [self._pixels]

    @classmethod
    def join(cls, meta: Any, arrays: Sequence[Array]) -> Mask:
        """See `Value.join`."""
        return cls(arrays[0])


class Latent(Value):
    """Latents, float32 [B, C, h, w], unscaled, with an optional noise mask [B, H, W] (in pixels; 1 = repaint).

    `downscale` is the number of pixels per latent cell along each axis.
    """

    kind = "LATENT"
    __slots__ = ("_samples", "downscale", "noise_mask")

    def __init__(self, samples: Any, noise_mask: Mask | None = None, *, downscale: int = 8) -> None:
        self._samples = _checked("LATENT", samples, 4, "[B, C, h, w]", unit=False)
        self.noise_mask = noise_mask
        self.downscale = downscale

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, C, h, w)."""
        return self._samples.shape

    def numpy(self) -> Floats:
        """Read-only float32 [B, C, h, w]."""
        return self._samples.numpy()

    def tensor(self) -> torch.Tensor:
        """float32 [B, C, h, w]. Do not modify it."""
        return self._samples.tensor()

    def split(self) -> tuple[Any, list[Array]]:
        """See `Value.split`."""
        meta = {"downscale": self.downscale, "mask": self.noise_mask is not None}
        return meta, [self._samples, *([self.noise_mask._pixels] if self.noise_mask else [])]

    @classmethod
    def join(cls, meta: Any, arrays: Sequence[Array]) -> Latent:
        """See `Value.join`."""
        mask = Mask(arrays[1]) if meta["mask"] else None
        return cls(arrays[0], mask, downscale=meta["downscale"])


@dataclass(frozen=True, slots=True)
class Cond:
    """One entry of a conditioning: an embedding [1, T, D] and its parameters.

    `extra` holds numbers and strings (strength, start, end, size, ...). `arrays` holds further arrays by name (pooled
    embedding [1, P], mask [B, H, W], ...).
    """

    embedding: Array
    extra: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


class Conditioning(Value):
    """The conditioning of a sampler: a tuple of entries."""

    kind = "CONDITIONING"
    __slots__ = ("entries",)

    def __init__(self, entries: Sequence[Cond]) -> None:
        if not entries:
            raise BadValueError("CONDITIONING is empty", expected="at least one entry", got="none")
        for entry in entries:
            _checked("CONDITIONING", entry.embedding, 3, "[1, T, D]", unit=False)
        self.entries = tuple(entries)

    def split(self) -> tuple[Any, list[Array]]:
        """See `Value.split`."""
        meta, arrays = [], []
        for entry in self.entries:
            names = sorted(entry.arrays)
            meta.append({"extra": dict(entry.extra), "arrays": names})
            arrays += [entry.embedding, *(entry.arrays[name] for name in names)]
        return meta, arrays

    def essence(self) -> Any:
        """Return `split`'s JSON without the names of the files of controls."""
        return [_without_names(entry) for entry in self.split()[0]]

    @classmethod
    def join(cls, meta: Any, arrays: Sequence[Array]) -> Conditioning:
        """See `Value.join`."""
        source = iter(arrays)
        return cls([Cond(next(source), m["extra"], {name: next(source) for name in m["arrays"]}) for m in meta])


def _without_names(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's JSON, with each control's handle replaced by its essence."""
    controls = entry["extra"].get("controls", [])
    bare = [{**control, "handle": ControlNet.join(control["handle"], ()).essence()} for control in controls]
    return {**entry, "extra": {**entry["extra"], "controls": bare}} if bare else dict(entry)


@dataclass(frozen=True, slots=True)
class Patch:
    """A change to a model, as data: a registered kind, its parameters, and its files and arrays."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FileIdentity, ...] = ()
    arrays: tuple[Array, ...] = ()


class Handle(Value):
    """A reference to a model that need not be loaded: its files, which part of them, and its patches in order.

    `model_kind` names the registered loader. `info` holds facts that nodes need before loading (channels, prediction
    type, downscale, ...).
    """

    __slots__ = ("files", "info", "model_kind", "patches")

    def __init__(
        self,
        model_kind: str,
        files: Sequence[FileIdentity],
        info: Mapping[str, Any] | None = None,
        patches: Sequence[Patch] = (),
    ) -> None:
        self.model_kind = model_kind
        self.files = tuple(files)
        self.info = dict(info or {})
        self.patches = tuple(patches)

    def patched(self, *patches: Patch) -> Handle:
        """Return this model with further patches."""
        return type(self)(self.model_kind, self.files, self.info, (*self.patches, *patches))

    def split(self) -> tuple[Any, list[Array]]:
        """See `Value.split`."""
        patches = [
            {
                "kind": p.kind,
                "parameters": dict(p.parameters),
                "files": [[f.name, f.sha256] for f in p.files],
                "n": len(p.arrays),
            }
            for p in self.patches
        ]
        meta = {
            "model_kind": self.model_kind,
            "files": [[f.name, f.sha256] for f in self.files],
            "info": self.info,
            "patches": patches,
        }
        return meta, [array for patch in self.patches for array in patch.arrays]

    def essence(self) -> Any:
        """Return `split`'s JSON without the names of files, which are identified by content."""
        meta, _ = self.split()
        bare = [{**patch, "files": [sha256 for _, sha256 in patch["files"]]} for patch in meta["patches"]]
        return {**meta, "files": [file.sha256 for file in self.files], "patches": bare}

    @classmethod
    def join(cls, meta: Any, arrays: Sequence[Array]) -> Handle:
        """See `Value.join`."""
        source = iter(arrays)
        patches = [
            Patch(
                p["kind"],
                p["parameters"],
                tuple(FileIdentity(*f) for f in p["files"]),
                tuple(next(source) for _ in range(p["n"])),
            )
            for p in meta["patches"]
        ]
        return cls(meta["model_kind"], [FileIdentity(*f) for f in meta["files"]], meta["info"], patches)


class Model(Handle):
    """A denoising network (UNet)."""

    kind = "MODEL"
    __slots__ = ()


class Clip(Handle):
    """A text encoder with its tokenizer."""

    kind = "CLIP"
    __slots__ = ()


class ClipVision(Handle):
    """A CLIP image encoder."""

    kind = "CLIP_VISION"
    __slots__ = ()


class Vae(Handle):
    """A VAE: encodes pictures to latents and decodes latents to pictures."""

    kind = "VAE"
    __slots__ = ()


class ControlNet(Handle):
    """A network that adds spatial guidance to a denoising network."""

    kind = "CONTROLNET"
    __slots__ = ()


VALUE_TYPES: tuple[type[Value], ...] = (Image, Mask, Latent, Conditioning, Model, Clip, ClipVision, Vae, ControlNet)
