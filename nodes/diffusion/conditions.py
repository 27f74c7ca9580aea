"""Converts the conditioning of nodes to the entries that guidance uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.engine.types.values import Cond, Conditioning, Latent, Model
from latentloom.nodes.diffusion.control_residuals import Controls
from latentloom.nodes.diffusion.latent_mask import cells_of
from latentloom.nodes.diffusion.seamless import axes_of
from latentloom.nodes.families.denoiser import Denoiser, Told
from latentloom.nodes.text.prompt_times import Times

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.entries import Area, Entry

WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}  # of text embeddings


def check_conditioning(model: Model, latent: Latent, *conditionings: Conditioning) -> None:
    """Raise BadValueError for entries that do not fit the model or the latent, before anything is loaded."""
    for entry in (entry for found in conditionings for entry in found.entries):
        _check_embedding(model, entry)
        _check_batch(latent, entry)
        _check_area(latent, entry)
        _check_concat(model, latent, entry)
        _check_references(model, latent, entry)


def _check_references(model: Model, latent: Latent, entry: Cond) -> None:
    names = [name for name in entry.arrays if name.startswith("reference.")]
    if names and not model.info.get("references"):
        raise BadValueError(
            f"{_name(model)} does not support reference pictures",
            expected="a conditioning without ReferenceLatent",
            got=f"{len(names)} of them",
        )
    for shape in (entry.arrays[name].shape for name in names):
        if shape[1] != model.info["channels"] or shape[0] not in (1, latent.shape[0]):
            raise BadValueError(
                "a reference picture does not fit the model",
                expected=f"{model.info['channels']} channels, 1 or {latent.shape[0]} items",
                got=f"{shape[1]} channels, {shape[0]} items",
            )


def _check_embedding(model: Model, entry: Cond) -> None:
    width, pooled = model.info.get("context"), model.info.get("pooled")
    if width is not None and entry.embedding.shape[2] != width:
        raise BadValueError(
            f"the conditioning does not fit '{model.files[0].name if model.files else 'this model'}'",
            expected=f"{model.info['reads']} ({width} wide)"
            if "reads" in model.info
            else f"a text encoder {_of(width)}",
            got=f"one {_of(entry.embedding.shape[2])}",
            hint="encode the prompt with the CLIP of the same checkpoint",
        )
    if pooled and ("pooled" not in entry.arrays or entry.arrays["pooled"].shape[1] != pooled):
        got = str(entry.arrays["pooled"].shape[1]) if "pooled" in entry.arrays else "none"
        raise BadValueError(
            "the conditioning lacks the pooled output that the model needs",
            expected=f"{pooled} numbers, for {_name(model)}",
            got=got,
            hint="encode the prompt with the CLIP of the same checkpoint",
        )


def _of(width: int) -> str:
    return f"of {WIDTHS[width]} ({width} wide)" if width in WIDTHS else f"{width} wide"


def _name(model: Model) -> str:
    """Return the model's file name and family, for messages."""
    name = model.files[0].name if model.files else "this model"
    family = model.info.get("family")
    return f"'{name}' ({family})" if family else f"'{name}'"


def _check_batch(latent: Latent, entry: Cond) -> None:
    for name in ("mask", "concat", "concat_mask"):
        if name in entry.arrays and entry.arrays[name].shape[0] not in (1, latent.shape[0]):
            raise BadValueError(
                "a map of the conditioning has a different batch size than the latent",
                expected=f"1 or {latent.shape[0]}",
                got=str(entry.arrays[name].shape[0]),
            )


def _check_area(latent: Latent, entry: Cond) -> None:
    if "area" not in entry.extra:
        return
    _, _, height, width = latent.shape
    area = _area(entry.extra["area"], latent)
    if area.height < 1 or area.width < 1:
        raise BadValueError(
            "an area of the conditioning lies outside the picture",
            expected=f"within {width * latent.downscale}x{height * latent.downscale}",
            got="{width}x{height} at {x}, {y}".format(**entry.extra["area"]),
        )


def _check_concat(model: Model, latent: Latent, entry: Cond) -> None:
    needed, channels = model.info.get("in_channels", latent.shape[1]), latent.shape[1]
    if needed == channels:
        return
    mask, found = entry.arrays.get("concat_mask"), entry.arrays.get("concat")
    masks = 0 if mask is None else model.info.get("mask_channels", 1)
    given = channels + (0 if found is None else found.shape[1]) + masks
    if given != needed:
        raise BadValueError(
            f"{_name(model)} needs input channels in addition to the noise",
            expected=f"{needed} channels",
            got=f"{given}",
            hint="InpaintConditioning adds them for an inpainting model (SD with 9 channels, Flux Fill), "
            "InstructConditioning for a model with an image input (InstructPix2Pix, Flux Depth and Canny)",
        )
    if found is not None and found.shape[2:] != latent.shape[2:]:
        raise BadValueError(
            "the picture of the conditioning has a different size than the latent",
            expected=f"{latent.shape[3] * latent.downscale}x{latent.shape[2] * latent.downscale}",
            got=f"{found.shape[3] * latent.downscale}x{found.shape[2] * latent.downscale}",
        )


def _area(area: Any, latent: Latent) -> Area:
    """Convert an area in pixels to cells, clipped to the latent."""
    from latentloom.nodes.diffusion.entries import Area

    step, (height, width) = latent.downscale, latent.shape[2:]
    top, left = area["y"] // step, area["x"] // step
    return Area(top, left, min(area["height"] // step, height - top), min(area["width"] // step, width - left))


@dataclass(frozen=True, slots=True)
class EntryMaker:
    """Makes entries for one model and one latent. Their tensors have the model's device and dtype."""

    model: Model
    latent: Latent
    denoiser: Denoiser
    device: Any
    dtype: Any
    controls: Controls

    def __call__(self, conditioning: Conditioning, *, negative: bool = False) -> tuple[Entry, ...]:
        """Return the entries of a conditioning; `negative` marks one that guidance leads away from.

        Raises BadValueError for a conditioning that does not fit the model or the latent.
        """
        check_conditioning(self.model, self.latent, conditioning)
        return tuple(self._entry(found, negative=negative) for found in conditioning.entries)

    def _entry(self, found: Cond, *, negative: bool) -> Entry:
        from latentloom.nodes.diffusion.entries import Entry

        extra = found.extra
        return Entry(
            condition=self._condition(found, negative=negative),
            strength=extra.get("strength", 1.0),
            mask=self._cells(found.arrays["mask"].tensor()) if "mask" in found.arrays else None,
            area=_area(extra["area"], self.latent) if "area" in extra else None,
            start=extra.get("start", 0.0),
            end=extra.get("end", 1.0),
            times=Times(**extra.get("times", {})),
            around=axes_of(self.model.patches),
        )

    def _condition(self, found: Cond, *, negative: bool) -> dict[str, Tensor]:
        """Return the network's condition for an entry, with the inputs of the entry's controls."""
        latent = self.latent
        told = Told(self.model.info, latent.shape, latent.downscale, self._put, self._cells, negative)
        made = self.denoiser.tells(found, told)
        return {**made, **self._controls(found, next(iter(made.values())))}

    def _controls(self, found: Cond, like: Tensor) -> dict[str, Tensor]:
        """Return the pictures and masks of the ControlNets, cropped to the entry's area if it has one.

        Latents are cropped with x, like all maps of its size.
        """
        from latentloom.nodes.diffusion.entries import Area

        step = self.latent.downscale
        maps = self.controls.inputs(found, self.latent.shape, step, like)
        if "area" not in found.extra:
            return maps
        area = _area(found.extra["area"], self.latent)
        pixels = Area(area.top * step, area.left * step, area.height * step, area.width * step)
        cells = self.latent.shape[2:]
        return {name: value if value.shape[2:] == cells else pixels.of(value) for name, value in maps.items()}

    def _cells(self, mask: Tensor) -> Tensor:
        return cells_of(mask, self.latent.shape[2:])

    def _put(self, value: Tensor) -> Tensor:
        return value.to(self.device, self.dtype)
