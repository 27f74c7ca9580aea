"""Functions of `comfy.utils` and `node_helpers` that change tensors."""

import importlib
from typing import Any


def lanczos(samples: Any, width: int, height: int) -> Any:
    """Resize [B, C, H, W] in 0..1 with Lanczos, by way of 8 bits."""
    from PIL import Image

    torch, np = importlib.import_module("torch"), importlib.import_module("numpy")
    images = [Image.fromarray((255 * one.clamp(0, 1)).byte().movedim(0, -1).cpu().numpy()) for one in samples]
    made = [np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)) / 255 for image in images]
    return torch.stack([torch.from_numpy(one).float().movedim(-1, 0) for one in made]).to(samples.device, samples.dtype)


def upscaled(samples: Any, width: int, height: int, upscale_method: str, crop: str) -> Any:
    """Resize [B, C, H, W]. `crop` "center" cuts to the shape first."""
    torch = importlib.import_module("torch")
    if crop == "center":
        old_height, old_width = samples.shape[-2:]
        x = max(0, round((old_width - old_height * width / height) / 2))
        y = max(0, round((old_height - old_width * height / width) / 2))
        samples = samples[..., y : old_height - y, x : old_width - x]
    if upscale_method == "lanczos":
        return lanczos(samples, width, height)
    if upscale_method == "bislerp":
        upscale_method = "bilinear"
    return torch.nn.functional.interpolate(samples, size=(height, width), mode=upscale_method)


def repeated(tensor: Any, batch_size: int, dim: int = 0) -> Any:
    """Return a batch of a size: the first items, or the items again from the first."""
    torch = importlib.import_module("torch")
    index = torch.arange(batch_size, device=tensor.device) % tensor.shape[dim]
    return tensor.index_select(dim, index)


def with_equal_channels(first: Any, second: Any) -> tuple[Any, Any]:
    """Return two images [B, H, W, C] with the channels of the first: alpha is removed, or added as 1."""
    functional = importlib.import_module("torch").nn.functional
    more = first.shape[-1] - second.shape[-1]
    return first, functional.pad(second, (0, more), value=1.0) if more > 0 else second[..., : first.shape[-1]]
