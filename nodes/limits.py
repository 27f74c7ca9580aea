"""How large pictures may become, checked before any work, so that a small document cannot ask for all of the memory."""

from latentloom.engine.errors import BadValueError
from latentloom.engine.pictures import MAX_PIXELS

MAX_SIDE = 16384
MAX_BATCH_PIXELS = 2**30  # 12 GiB as RGB floats


def check_size(width: int, height: int, batch: int = 1) -> None:
    """Raise BadValueError for pictures that are larger than this program makes them."""
    if max(width, height) > MAX_SIDE:
        raise _too_large(width, height, batch, f"at most {MAX_SIDE} pixels a side")
    if width * height > MAX_PIXELS:
        raise _too_large(width, height, batch, f"at most {MAX_PIXELS} pixels a picture")
    if width * height * batch > MAX_BATCH_PIXELS:
        raise _too_large(width, height, batch, f"at most {MAX_BATCH_PIXELS} pixels a batch")


def _too_large(width: int, height: int, batch: int, expected: str) -> BadValueError:
    got = f"{width}x{height}" if batch == 1 else f"{batch} of {width}x{height}"
    return BadValueError("the result would be too large", expected=expected, got=got)
