"""ControlNets and T2I-Adapters during sampling: the controls of each entry and what they add to UNet or transformer.

A conditioning entry holds `extra["controls"]`, a list of {handle, strength, start, end, fit, resize, kind, vae}. The
n-th picture and masks are in `arrays` as "control.n.image" [B, 3, H, W], "control.n.mask" and "control.n.hole"
[B, 1, H, W].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from latentloom.engine import Array, Cond, Conditioning, Context, ControlNet, Image, Latent, Mask, Model
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.control_fit import check_fits, is_adapter, misfit
from latentloom.nodes.diffusion.control_latents import control_latent
from latentloom.nodes.diffusion.control_pictures import fitted, kinds_of, picture_of
from latentloom.nodes.diffusion.control_tokens import beside_references, progress, token_weight, weighted
from latentloom.nodes.drawing.blend import flattened
from latentloom.nodes.families.controlnet.transformer import Seen
from latentloom.nodes.families.tokens import whole

if TYPE_CHECKING:
    from torch import Tensor


def with_control(
    conditioning: Conditioning,
    control: ControlNet,
    image: Image,
    strength: float,
    start: float,
    end: float,
    mask: Mask | None,
    hole: Mask | None = None,
    **options: Any,
) -> Conditioning:
    """Add a control to every entry; `options` are fit, resize and kind, and the VAE's handle for one that sees latents.

    The control has no effect where `mask` is 0. `hole` marks the part that will be repainted and is hidden from it.
    """
    record = {"handle": control.split()[0], "strength": strength, "start": start, "end": end, **options}
    pixels = flattened(image.numpy(), 0).transpose(0, 3, 1, 2)
    masks = {name: Array(found.numpy()[:, None]) for name, found in (("mask", mask), ("hole", hole)) if found}
    return Conditioning([_with(entry, record, {"image": Array(pixels), **masks}) for entry in conditioning.entries])


def _with(entry: Cond, record: Mapping[str, Any], maps: Mapping[str, Array]) -> Cond:
    known = entry.extra.get("controls", [])
    arrays = {f"control.{len(known)}.{name}": array for name, array in maps.items()}
    return replace(entry, extra={**entry.extra, "controls": [*known, record]}, arrays={**entry.arrays, **arrays})


@dataclass(frozen=True, slots=True)
class Control:
    """A loaded ControlNet or T2I-Adapter. It acts from `start` to `end`, given as shares of the denoising process."""

    net: Any
    strength: float
    start: float
    end: float
    kind: int | None = None  # for a union ControlNet: the kind of its picture, an index into its kinds
    latents: bool = False  # whether it sees latents

    def acts(self, done: float) -> bool:
        """Whether the control acts at a share of the process. The share `end` itself is excluded, unless it is 1."""
        return self.strength != 0 and self.start <= done and (done < self.end or self.end == 1)


class Controls:
    """The controls of one run: the handles to load, and the residuals for each call of the UNet."""

    def __init__(self, model: Model, conditionings: Sequence[Conditioning], *, unet: bool = True) -> None:
        """Raise BadValueError for a control of another model family."""
        self._slots: list[tuple[int, dict[str, Any]]] = []  # index in an entry's list, and record; entries share slots
        for entry in (entry for conditioning in conditionings for entry in conditioning.entries):
            self._slots += [slot for slot in _slots(entry) if slot not in self._slots]
        self.handles = [ControlNet.join(record["handle"], []) for _, record in self._slots]
        self._model = model
        self._controls: list[Control] = []
        self._seen: dict[int, tuple[Tensor, list[Tensor]]] = {}  # a T2I-Adapter's last picture and its features
        self._latents: list[tuple[Cond, int, Tensor]] = []  # of an entry's picture, by its number
        for handle in self.handles:
            check_fits(model, handle, unet=unet)

    def encode(self, ctx: Context, latent: Latent, conditionings: Sequence[Conditioning]) -> None:
        """Encode the pictures of the controls that see latents. Raises BadValueError for the VAE of another model."""
        for entry in (entry for conditioning in conditionings for entry in conditioning.entries):
            for number, record in _slots(entry):
                if "vae" in record and self._latent(entry, number) is None:
                    made = control_latent(ctx, self._model, entry, number, latent)
                    self._latents.append((entry, number, made))

    def _latent(self, entry: Cond, number: int) -> Tensor | None:
        """Return the latent of an entry's picture; both conditionings mostly have the same pictures."""
        return next((found for one, n, found in self._latents if n == number and _same(one, entry, number)), None)

    def loaded(self, unet: Any, nets: Sequence[Any]) -> None:
        """Set the loaded modules, in the order of the handles.

        Raises BadValueError for a T2I-Adapter whose feature widths differ from those of the UNet.
        """
        for handle, net in zip(self.handles, nets, strict=True):
            if is_adapter(handle):
                self._check_widths(handle, net, unet)
        self._controls = [
            Control(net, record["strength"], record["start"], record["end"], _kind(record), "vae" in record)
            for net, (_, record) in zip(nets, self._slots, strict=True)
        ]

    def inputs(self, entry: Cond, latent: tuple[int, ...], downscale: int, like: Tensor) -> dict[str, Tensor]:
        """Return the pictures and masks of an entry's controls, named by the number of the control in the run.

        They are resized to latent x downscale. Raises BadValueError for a control that the run does not have.
        """
        size = (latent[2] * downscale, latent[3] * downscale)
        found: dict[str, Tensor | None] = {}
        for slot in _slots(entry):
            if slot not in self._slots:
                raise BadValueError(
                    "an additional conditioning has its own ControlNet",
                    expected="the ControlNets of positive and negative, or none",
                    got=slot[1]["handle"]["files"][0][0],
                )
            number, ours = slot[0], self._slots.index(slot)
            image = self._latent(entry, number) if "vae" in slot[1] else picture_of(entry, number, size, latent[0])[0]
            if image is None:
                raise BadValueError(
                    "an additional conditioning has its own picture for a ControlNet that sees latents",
                    expected="the picture of positive or negative, or no ControlNet",
                    got=slot[1]["handle"]["files"][0][0],
                )
            found |= {f"control_image_{ours}": image, f"control_mask_{ours}": _mask(entry, number, size, latent[0])}
        return {name: tensor.to(like) for name, tensor in found.items() if tensor is not None}

    def residuals(
        self, x: Tensor, timestep: Tensor, context: Tensor, inputs: Mapping[str, Tensor], **more: Any
    ) -> dict[str, Any]:
        """Return arguments for the UNet's call: the residuals of the controls that act at this timestep.

        `inputs` is the result of the method `inputs`, stacked to x's batch; `more` goes to the ControlNets
        (added_cond_kwargs).
        """
        done = 1 - int(timestep.flatten()[0]) / (self._model.info["betas"][2] - 1)
        skips: list[Tensor] = []
        levels: list[Tensor] = []
        for number, control, image, mask in self._acting(done, inputs):
            if is_adapter(self.handles[number]):
                found = self._features(number, control.net, image)
                levels = _sum(levels, [_scaled(part, control.strength, mask, part.shape[2:]) for part in found])
                continue
            told = {"controlnet_cond": image} if control.kind is None else _union(control, image)
            steps, last = control.net(x, timestep, encoder_hidden_states=context, return_dict=False, **told, **more)
            levels_of_map = skip_sizes(control.net, *x.shape[2:])
            skips = _sum(
                skips,
                [
                    _scaled(part, control.strength, mask, size)
                    for part, size in zip((*steps, last), levels_of_map, strict=True)
                ],
            )
        return {
            **({"down_intrablock_additional_residuals": levels} if levels else {}),
            **({"down_block_additional_residuals": tuple(skips[:-1])} if skips else {}),
            **({"mid_block_additional_residual": skips[-1]} if skips else {}),
        }

    def tokens(
        self, table: Tensor, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]
    ) -> dict[str, list[Tensor]]:
        """Return arguments for a transformer's call: what the controls that act at this sigma add to its blocks.

        `table` holds the sigmas of its space, `condition` its inputs with those of the method `inputs`.
        """
        total: dict[str, list[Tensor]] = {}
        if not self._controls:
            return total
        for _, control, image, mask in self._acting(progress(table, float(sigma[0])), condition):
            picture = whole(image) if control.latents else image
            seen = Seen(module, x, sigma, condition, picture, control.kind, control.strength)
            weight = token_weight(control.strength, mask, x)
            for name, samples in control.net.adapter.residuals(control.net, seen).items():
                total[name] = _sum(
                    total.get(name, []), [weighted(sample, weight, control.strength) for sample in samples]
                )
        return {name: [beside_references(part, condition) for part in parts] for name, parts in total.items()}

    def _acting(
        self, done: float, inputs: Mapping[str, Tensor]
    ) -> Iterator[tuple[int, Control, Tensor, Tensor | None]]:
        """Iterate over the controls that act at a share of the process: number, control, picture and mask."""
        for number, control in enumerate(self._controls):
            image = inputs.get(f"control_image_{number}")
            if image is not None and control.acts(done):
                yield number, control, image, inputs.get(f"control_mask_{number}")

    def _features(self, number: int, adapter: Any, image: Tensor) -> list[Tensor]:
        """Return the features of a T2I-Adapter, computed once per picture: they do not depend on the noise."""
        import torch

        from latentloom.nodes.families.controlnet.t2i_adapter import features

        if number not in self._seen or not torch.equal(self._seen[number][0], image):
            self._seen[number] = image, features(adapter, image)
        return self._seen[number][1]

    def _check_widths(self, handle: ControlNet, adapter: Any, unet: Any) -> None:
        from latentloom.nodes.families.controlnet.t2i_adapter import levels_of

        widths, found = tuple(unet.config.block_out_channels), levels_of(adapter)
        if found[: len(widths)] != widths:
            raise misfit(self._model, handle, f"one for levels of the widths {widths}", f"one for {found}")


def _slots(entry: Cond) -> list[tuple[int, dict[str, Any]]]:
    return list(enumerate(entry.extra.get("controls", [])))


def _same(one: Cond, other: Cond, number: int) -> bool:
    """Whether two entries have the same control of that number, with the same picture."""
    if one.extra["controls"][number : number + 1] != other.extra["controls"][number : number + 1]:
        return False
    pairs = [[entry.arrays.get(f"control.{number}.{part}") for entry in (one, other)] for part in ("image", "hole")]
    return all(a is b or (a is not None and b is not None and a.equals(b)) for a, b in pairs)


def _sum(total: list[Tensor], parts: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(total, parts, strict=True)] if total else parts


def _mask(entry: Cond, number: int, size: tuple[int, int], batch: int) -> Tensor | None:
    array, fit = entry.arrays.get(f"control.{number}.mask"), entry.extra["controls"][number].get("fit", "fill")
    return None if array is None else fitted(array, size, batch, "mask", fit, "smooth")


def _kind(record: Mapping[str, Any]) -> int | None:
    kind = record.get("kind")
    return None if kind is None else kinds_of(record["handle"]["info"]).index(kind)


def _union(control: Control, image: Tensor) -> dict[str, Any]:
    """Return the arguments of a union ControlNet: its picture and the picture's kind."""
    import torch

    types = torch.zeros(image.shape[0], control.net.config.num_control_type, device=image.device)
    types[:, control.kind] = 1
    return {"controlnet_cond": [image], "control_type": types, "control_type_idx": [control.kind]}


def skip_sizes(net: Any, height: int, width: int) -> list[tuple[int, int]]:
    """Return the height and width of each skip connection that a ControlNet adds to, and of the middle block.

    A mask needs them if the network pools its residuals globally: the residuals then have a size of 1 x 1.
    """
    layers, count = net.config.layers_per_block, len(net.config.block_out_channels)
    sizes = [(height, width)]
    for block in range(count):
        sizes += [(height, width)] * layers
        if block < count - 1:
            height, width = -(-height // 2), -(-width // 2)
            sizes.append((height, width))
    return [*sizes, (height, width)]


def _scaled(part: Tensor, strength: float, mask: Tensor | None, size: tuple[int, ...]) -> Tensor:
    from torch.nn.functional import interpolate

    if mask is None:
        return part * strength
    return part * strength * interpolate(mask, size, mode="area")
