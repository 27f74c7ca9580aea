"""Inputs that several nodes share for the scaling and cropping of pictures and masks."""

from typing import Annotated

from pydantic import Field

from latentloom.engine import Mask
from latentloom.nodes.drawing.limits import MAX_SIDE
from latentloom.nodes.drawing.resize import Fit, Method

Width = Annotated[
    int,
    Field(
        ge=0, le=MAX_SIDE, description="Width in pixels; 0: from the height and the aspect ratio, or from the factor."
    ),
]
Height = Annotated[
    int,
    Field(
        ge=0, le=MAX_SIDE, description="Height in pixels; 0: from the width and the aspect ratio, or from the factor."
    ),
]
Factor = Annotated[float, Field(ge=0.01, le=64, description="Scale factor; used if width and height are 0.")]
Filter = Annotated[Method, Field(description="Resampling filter; lanczos is the sharpest, nearest keeps hard pixels.")]
Fitting = Annotated[
    Fit,
    Field(
        description="With width and height: stretch, fit inside, fill and crop the rest, or pad with black (or "
        "transparent) borders."
    ),
]
MultipleOf = Annotated[
    int, Field(ge=1, le=512, description="Round both sides to multiples of this number; a VAE needs 8.")
]
GoesAlong = Annotated[Mask | None, Field(description="A mask of the image; it is changed in the same way.")]
Left = Annotated[int, Field(ge=0, le=MAX_SIDE, description="Left edge of the rectangle, in pixels.")]
Upper = Annotated[int, Field(ge=0, le=MAX_SIDE, description="Upper edge of the rectangle, in pixels.")]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE, description="Size in pixels.")]
