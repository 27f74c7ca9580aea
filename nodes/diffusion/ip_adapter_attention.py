"""The attention of an IP-Adapter: cross-attention to image tokens in addition to the attention to text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate, scaled_dot_product_attention

from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.timeline import Moment

if TYPE_CHECKING:
    from torch import Tensor


class ImageAttention:
    """Keys and values [2, tokens, width] for each cross-attention layer: index 0 without the picture, 1 with it."""

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]], weight: float, start: float, end: float) -> None:
        """The picture has an effect from `start` to `end`, given as shares of the steps."""
        self._pairs, self._weight = pairs, weight
        self._start, self._end = start, end
        self._moment = Moment(0.0)
        self._chosen: Tensor | None = None  # for each item of a forward pass, 0 without and 1 with the picture
        self._mask: Tensor | None = None

    @contextlib.contextmanager
    def on(self, moment: Moment, chosen: Tensor, mask: Tensor | None) -> Iterator[None]:
        """Enable image attention for forward passes inside a with-block.

        `chosen` [B] is 1 for items that see the picture; `mask` [B, 1, h, w] limits its effect to a region.
        """
        self._moment, self._chosen, self._mask = moment, chosen, mask
        try:
            yield
        finally:
            self._chosen = self._mask = None

    @contextlib.contextmanager
    def over(self, unet: Any, name: str) -> Iterator[None]:
        """Wrap the cross-attention processors of a UNet inside a with-block, and restore them at its end.

        `name` is the adapter's name for messages. Raises BadValueError for an adapter of another UNet.
        """
        before = dict(unet.attn_processors)
        layers = [layer for layer in before if "attn2" in layer]
        found = [key.shape[2] for key, _ in self._pairs]
        wanted = [unet.get_submodule(layer.removesuffix(".processor")).to_q.out_features for layer in layers]
        if found != wanted:
            raise BadValueError(
                f"the IP-Adapter '{name}' does not fit the model",
                expected=f"one for {len(wanted)} layers of the widths {sorted(set(wanted))}",
                got=f"one for {len(found)} of {sorted(set(found))}",
            )
        pairs = dict(zip(layers, self._pairs, strict=True))
        wrapped = {n: _Processor(self, old, *pairs[n]) if n in pairs else old for n, old in before.items()}
        try:
            unet.set_attn_processor(wrapped)
            yield
        finally:
            unet.set_attn_processor(before)

    def look(self, layer: Any, hidden: Tensor, keys: Tensor, values: Tensor) -> Tensor | None:
        """Return the layer's image attention [B, places, width], or None if the picture has no effect."""
        if self._chosen is None or not self._weight or not self._moment.within(self._start, self._end):
            return None
        parts = (layer.to_q(hidden), keys[self._chosen].to(hidden), values[self._chosen].to(hidden))
        q, k, v = (part.unflatten(2, (layer.heads, -1)).transpose(1, 2) for part in parts)
        found = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2) * self._weight
        return found if self._mask is None else found * _places(self._mask, found.shape[1]).to(found)


def _places(mask: Tensor, count: int) -> Tensor:
    """Resize a mask [B, 1, h, w] to a layer, [B, places, 1]. The size is halved until the number of places matches."""
    height, width = mask.shape[2:]
    while height * width > count:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != count:
        raise BadValueError(
            "the IP-Adapter's mask does not fit the layers of the model",
            expected="layers whose sides are those of the latent, halved",
            got=f"{count} places",
        )
    return interpolate(mask, (height, width), mode="area").flatten(2).transpose(1, 2)


class _Processor:
    """A diffusers attention processor: adds the image attention to the output of the original processor."""

    def __init__(self, control: ImageAttention, before: Any, keys: Tensor, values: Tensor) -> None:
        self._control, self._before, self._keys, self._values = control, before, keys, values

    def __call__(self, layer: Any, hidden_states: Tensor, *arguments: Any, **more: Any) -> Tensor:
        answer: Tensor = self._before(layer, hidden_states, *arguments, **more)
        found = self._control.look(layer, hidden_states, self._keys, self._values)
        if found is None:
            return answer
        project = layer.to_out[0]  # linear, so a term may be added after it instead of before, minus the bias
        bias = project(torch.zeros_like(found[:1, :1]))
        return answer + (project(found) - bias) / layer.rescale_output_factor
