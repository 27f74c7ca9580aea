"""Inputs that several nodes share for the scaling and cropping of pictures and masks."""

from typing import Annotated

from pydantic import Field

from latentloom.engine import Mask
from latentloom.nodes.drawing.limits import MAX_SIDE
from latentloom.nodes.drawing.resize import Fit, Method

Width = Annotated[int, Field(ge=0, le=MAX_SIDE, description="Pixels; 0 follows from the height, or the factor.")]
Height = Annotated[int, Field(ge=0, le=MAX_SIDE, description="Pixels; 0 follows from the width, or the factor.")]
Factor = Annotated[float, Field(ge=0.01, le=64, description="How many times as large, without width and height.")]
Filter = Annotated[Method, Field(description="The filter; lanczos is the sharpest, nearest keeps hard pixels.")]
Fitting = Annotated[
    Fit,
    Field(
        description="With width and height: stretch to them, fit inside them, fill them and cut off what sticks "
        "out, or pad with black (transparent) borders."
    ),
]
MultipleOf = Annotated[int, Field(ge=1, le=512, description="Round both sides to multiples of this; a VAE wants 8.")]
GoesAlong = Annotated[Mask | None, Field(description="A mask of the picture: the same is done to it.")]
Left = Annotated[int, Field(ge=0, le=MAX_SIDE, description="Left edge, in pixels from the left.")]
Upper = Annotated[int, Field(ge=0, le=MAX_SIDE, description="Upper edge, in pixels from the top.")]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE, description="Pixels.")]
