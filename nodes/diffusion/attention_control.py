"""Prompt-to-Prompt (Hertz et al. 2023): a source picture and its edit are sampled in one batch and share attention.

The first half of the batch holds the sources, the second half their edits. While control is on, an edit uses the
cross-attention maps of its source for the tokens that both prompts share, and the queries and keys of its source in
self-attention.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentloom.nodes.diffusion.timeline import Moment

MOST_PLACES = 32**2  # of self-attention; layers with more positions determine textures, not the layout


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the tokens of an edited prompt correspond to those of the source prompt.

    `mapper` [T_source, T_edit] maps the source's attention to the edit's tokens. `kept` [T_edit] is 1 for tokens that
    use the source's attention and 0 for tokens that use their own. `weights` [T_edit] scale the edit's maps.
    """

    mapper: Tensor
    kept: Tensor
    weights: Tensor

    def edit(self, source: Tensor, own: Tensor) -> Tensor:
        """Return the edit's maps [..., places, T_edit], computed from the maps of both prompts."""
        mapper, kept, weights = (part.to(source) for part in (self.mapper, self.kept, self.weights))
        return (source @ mapper * kept + own * (1 - kept)) * weights


class AttentionControl:
    """Controls the attention layers of a UNet during a run."""

    def __init__(self, alignment: Alignment, cross: float, self_attention: float) -> None:
        """`cross` and `self_attention` are the shares of the steps, from the first, that use the source's attention."""
        self._alignment, self._cross, self._self = alignment, cross, self_attention
        self._moment = Moment(0.0)
        self._on = False

    @contextlib.contextmanager
    def on(self, moment: Moment) -> Iterator[None]:
        """Control the forward passes of both halves inside a with-block. Other passes are not changed."""
        self._on, self._moment = True, moment
        try:
            yield
        finally:
            self._on = False

    @contextlib.contextmanager
    def over(self, unet: Any) -> Iterator[None]:
        """Replace the attention processors of a UNet inside a with-block, and restore them at its end."""
        before = dict(unet.attn_processors)
        try:
            unet.set_attn_processor(
                {name: _Processor(self, old, cross="attn2" in name) for name, old in before.items()}
            )
            yield
        finally:
            unet.set_attn_processor(before)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float, *, cross: bool) -> Tensor | None:
        """Return the layer's attention output [B, heads, places, d], or None if the layer is not controlled."""
        if not self._on or not self._moment.within(0, self._cross if cross else self._self):
            return None
        if cross:
            maps = ((q * scale).float() @ k.float().transpose(-1, -2)).softmax(dim=-1).to(v)
            source, own = maps.chunk(2)
            return torch.cat([source, self._alignment.edit(source, own)]) @ v
        if q.shape[2] > MOST_PLACES:
            return None
        q, k = (torch.cat([part.chunk(2)[0]] * 2) for part in (q, k))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale)


class _Processor:
    """A diffusers attention processor: uses the control's output, or calls the original processor if there is none."""

    def __init__(self, control: AttentionControl, before: Any, *, cross: bool) -> None:
        self._control, self._before, self._cross_attention = control, before, cross

    def __call__(
        self, layer: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **more: Any
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        parts = (layer.to_q(hidden_states), layer.to_k(context), layer.to_v(context))
        q, k, v = (part.unflatten(2, (layer.heads, -1)).transpose(1, 2) for part in parts)
        found = self._control.attend(q, k, v, layer.scale, cross=self._cross_attention)
        if found is None:
            answer: Tensor = self._before(layer, hidden_states, encoder_hidden_states, **more)
            return answer
        joined = found.transpose(1, 2).flatten(2)
        answer = layer.to_out[1](layer.to_out[0](joined))
        return answer / layer.rescale_output_factor
