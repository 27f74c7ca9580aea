"""Selection of batch items: the inputs that several nodes share, and the slice that they make."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from latentloom.engine.errors import BadValueError

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

First = Annotated[
    int, Field(ge=0, le=65535, description="Index of the first selected item; 0 is the first of the batch.")
]
Count = Annotated[int, Field(ge=1, le=65536, description="Number of selected items.")]
Times = Annotated[int, Field(ge=1, le=1024, description="How many times the batch is repeated.")]


def picked(items: "Floats", first: int, count: int) -> "Floats":
    """Return `count` items of [B, ...] from `first`. Raises BadValueError if the batch has too few items."""
    if first + count > items.shape[0]:
        raise BadValueError(
            "the batch does not have that many items",
            expected=f"items within 0..{items.shape[0] - 1}",
            got=f"{first}..{first + count - 1}",
        )
    return items[first : first + count]
