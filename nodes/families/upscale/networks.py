"""RRDBNet (Wang et al. 2018, ESRGAN) and SRVGG (Wang et al. 2021, Real-ESRGAN's compact network)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle, pixel_unshuffle


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class DenseBlock(nn.Module):
    """Five convolutions; each receives the outputs of all previous ones."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for n in range(1, 6):
            setattr(self, f"conv{n}", _conv(width + (n - 1) * growth, width if n == 5 else growth))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same."""
        seen = x
        for n in range(1, 5):
            seen = torch.cat([seen, leaky_relu(self.get_submodule(f"conv{n}")(seen), 0.2)], dim=1)
        grown: Tensor = self.get_submodule("conv5")(seen)
        return x + 0.2 * grown


class ResidualBlock(nn.Module):
    """Three dense blocks with a residual connection."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same."""
        found: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + 0.2 * found


class RRDBNet(nn.Module):
    """ESRGAN's generator. `folds` is the factor of the pixel unshuffle at the input, used for small scales."""

    def __init__(self, width: int, growth: int, blocks: int, doublings: int, folds: int = 1) -> None:
        super().__init__()
        self.folds = folds
        self.conv_first = _conv(3 * folds**2, width)
        self.body = nn.Sequential(*(ResidualBlock(width, growth) for _ in range(blocks)))
        self.conv_body = _conv(width, width)
        self.ups = nn.ModuleList(_conv(width, width) for _ in range(doublings))
        self.conv_hr, self.conv_last = _conv(width, width), _conv(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in 0..1, H and W multiples of `folds` -> [B, 3, scale * H, scale * W]."""
        first = self.conv_first(pixel_unshuffle(x, self.folds))
        found = first + self.conv_body(self.body(first))
        for up in self.ups:
            found = leaky_relu(up(interpolate(found, scale_factor=2, mode="nearest")), 0.2)
        last: Tensor = self.conv_last(leaky_relu(self.conv_hr(found), 0.2))
        return last


class SRVGG(nn.Module):
    """A sequence of convolutions whose output is added to the enlarged picture."""

    def __init__(self, width: int, layers: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        parts: list[nn.Module] = [_conv(3, width), nn.PReLU(width)]
        for _ in range(layers):
            parts += [_conv(width, width), nn.PReLU(width)]
        self.body = nn.Sequential(*parts, _conv(width, 3 * scale**2))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in 0..1 -> [B, 3, scale * H, scale * W]."""
        return pixel_shuffle(self.body(x), self.scale) + interpolate(x, scale_factor=self.scale, mode="nearest")
