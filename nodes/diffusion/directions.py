"""Resizes latents: the directions of the vectors of cells by spherical interpolation, their lengths by linear."""

from typing import Any

ALMOST = 1 - 1e-5  # cosine from which two directions count as the same
OPPOSITE = 1e-5 - 1


def resize_by_direction(samples: Any, height: int, width: int) -> Any:
    """Resize a tensor [B, C, H, W], first across, then down. Returns [B, C, height, width].

    Cells lie at (i + 0.5) / count, as in bilinear interpolation, and the outermost ones are repeated. Between two
    neighbours the direction of a cell's vector [C] follows the great circle (Shoemake 1985), and its length a line.
    """
    wide = _along(samples.float(), width)
    return _along(wide.transpose(2, 3), height).transpose(2, 3).to(samples.dtype)


def _along(samples: Any, count: int) -> Any:
    """Resize the last axis."""
    import torch

    old = samples.shape[-1]
    place = ((torch.arange(count, device=samples.device) + 0.5) * old / count - 0.5).clamp(0, old - 1)
    first = place.floor().long()
    second = (first + 1).clamp(max=old - 1)
    return _between(samples[..., first], samples[..., second], (place - first).to(samples.dtype))


def _between(a: Any, b: Any, share: Any) -> Any:
    import torch

    lengths = [torch.linalg.vector_norm(one, dim=1, keepdim=True) for one in (a, b)]
    one, other = (torch.where(length > 0, vector / length.clamp_min(1e-30), 0)
                  for vector, length in zip((a, b), lengths, strict=True))  # fmt: skip
    cosine = (one * other).sum(1, keepdim=True)
    angle = torch.acos(cosine.clamp(-1, 1))
    sine = torch.sin(angle).clamp_min(1e-30)
    turned = (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other) / sine
    made = turned * (lengths[0] * (1 - share) + lengths[1] * share)
    made = torch.where(cosine > ALMOST, a, made)
    return torch.where(cosine < OPPOSITE, a * (1 - share) + b * share, made)
