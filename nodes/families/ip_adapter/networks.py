"""The networks of an IP-Adapter, with its files' key names: image to tokens, and tokens to keys and values."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

HEAD_WIDTH = 64


class ImageProjection(nn.Module):
    """The plain adapter's projection: one linear layer maps an image embedding [B, E] to tokens."""

    def __init__(self, image: int, context: int, tokens: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Linear(image, tokens * context), nn.LayerNorm(context)

    def forward(self, x: Tensor) -> Tensor:
        """[B, E] -> [B, tokens, context]."""
        found: Tensor = self.norm(self.proj(x).reshape(len(x), -1, self.norm.normalized_shape[0]))
        return found


class PerceiverAttention(nn.Module):
    """Attention of queries to a picture's hidden states and to the queries."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q, self.to_kv = nn.Linear(width, inner, bias=False), nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, states: Tensor, latents: Tensor) -> Tensor:
        """[B, T, D] and queries [B, Q, D] -> [B, Q, D]."""
        states, latents = self.norm1(states), self.norm2(latents)
        k, v = self.to_kv(torch.cat([states, latents], dim=1)).chunk(2, dim=-1)
        q, k, v = (part.unflatten(2, (-1, HEAD_WIDTH)).transpose(1, 2) for part in (self.to_q(latents), k, v))
        found: Tensor = self.to_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return found


class Resampler(nn.Module):
    """The plus adapter's projection: learned queries attend to a picture's hidden states (Perceiver resampler)."""

    def __init__(self, image: int, context: int, width: int, inner: int, queries: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(1, queries, width))
        self.proj_in, self.proj_out = nn.Linear(image, width), nn.Linear(width, context)
        self.norm_out = nn.LayerNorm(context)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(width, inner), _feed_forward(width, hidden)]) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, E] -> [B, queries, context]."""
        latents, x = self.latents.expand(len(x), -1, -1), self.proj_in(x)
        for attention, forward in self.layers:  # type: ignore[misc]
            latents = attention(x, latents) + latents
            latents = forward(latents) + latents
        found: Tensor = self.norm_out(self.proj_out(latents))
        return found


def _feed_forward(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, width, bias=False)
    )


class KeysAndValues(nn.Module):
    """The key and value layers for image tokens of one cross-attention layer."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.to_k_ip, self.to_v_ip = (nn.Linear(context, width, bias=False) for _ in range(2))


class IPAdapterNet(nn.Module):
    """A whole adapter: a projection, and key and value layers for each cross-attention of the UNet, by its number."""

    def __init__(self, image_proj: nn.Module, context: int, widths: Sequence[tuple[str, int]]) -> None:
        super().__init__()
        self.image_proj = image_proj
        self.ip_adapter = nn.ModuleDict({number: KeysAndValues(context, width) for number, width in widths})

    def forward(self, pictures: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Image embeddings or hidden states [B, ...] -> key and value [B, tokens, width] for each layer."""
        tokens = self.image_proj(pictures)
        return [(layer.to_k_ip(tokens), layer.to_v_ip(tokens)) for layer in self.ip_adapter.values()]
