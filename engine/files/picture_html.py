"""Pictures as HTML, for notebooks."""

import base64
import io
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image as Pil

MOST = 64  # pictures that are shown
SIDE = 1024  # larger pictures are shown smaller
_STYLE = "max-width:100%;margin:2px;vertical-align:top"


def pictures_html(pictures: "Iterable[Pil.Image]") -> str:
    """Return pictures side by side, with a note on those that are not shown."""
    rest = iter(pictures)
    shown = "".join(picture_html(picture) for picture in islice(rest, MOST))
    left = sum(1 for _ in rest)
    return f"<div>{shown}</div>" + (f"<div>and {left} more</div>" if left else "")


def picture_html(picture: "Pil.Image") -> str:
    """Return a picture as an element with its content; WebP, at most SIDE pixels a side."""
    small, out = picture, io.BytesIO()
    if max(picture.size) > SIDE:
        small = picture.copy()
        small.thumbnail((SIDE, SIDE))
    small.save(out, "WEBP", quality=90)
    data = base64.b64encode(out.getvalue()).decode()
    width, height = small.size
    title = f"{picture.width}x{picture.height}"
    return (
        f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}" title="{title}" style="{_STYLE}">'
    )
