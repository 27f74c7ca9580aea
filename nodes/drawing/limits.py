"""Limits of picture sizes, checked before any work, so that a small workflow cannot request all of the memory."""

from latentloom.engine import Context, Latent, Model
from latentloom.engine.errors import BadValueError
from latentloom.engine.files.pictures import MAX_PIXELS

MAX_SIDE = 16384
MAX_BATCH_PIXELS = 2**30  # 12 GiB as RGB floats


def check_size(width: int, height: int, batch: int = 1) -> None:
    """Raise BadValueError for pictures above the size limits."""
    if max(width, height) > MAX_SIDE:
        raise _too_large(width, height, batch, f"at most {MAX_SIDE} pixels a side")
    if width * height > MAX_PIXELS:
        raise _too_large(width, height, batch, f"at most {MAX_PIXELS} pixels a picture")
    if width * height * batch > MAX_BATCH_PIXELS:
        raise _too_large(width, height, batch, f"at most {MAX_BATCH_PIXELS} pixels a batch")


def check_latent(latent: Latent, batch: int) -> None:
    """Raise BadValueError if `batch` items of a latent's size exceed the pixel limit of a batch.

    Only a batch larger than the latent's own is checked: an existing latent may have any size.
    """
    height, width = (side * latent.downscale for side in latent.shape[2:])
    if width * height * batch > MAX_BATCH_PIXELS and batch > latent.shape[0]:
        raise _too_large(width, height, batch, f"at most {MAX_BATCH_PIXELS} pixels a batch")


def warn_of_size(ctx: Context, model: Model, latent: Latent) -> None:
    """Warn of a picture with at least four times the pixels of the model's training size, or at most a quarter."""
    trained, step = model.info["size"], latent.downscale
    height, width = latent.shape[2:]
    if trained**2 / 4 < height * width < trained**2 * 4:
        return
    what = "repeats things" if height * width > trained**2 else "lacks detail"
    known, size = (f"{a * step}x{b * step}" for a, b in ((trained, trained), (width, height)))
    text = f"the model was trained on {known} pixels; a picture of {size} often {what}"
    ctx.warn("unusual_size", f"{text}: start closer to that size, and upscale in a second pass")


def _too_large(width: int, height: int, batch: int, expected: str) -> BadValueError:
    got = f"{width}x{height}" if batch == 1 else f"{batch} of {width}x{height}"
    return BadValueError("the result would be too large", expected=expected, got=got)
