"""Whether pieces that were loaded apart belong together, told before anything is computed."""

from latentloom.engine import Conditioning, Model
from latentloom.engine.errors import BadValueError

WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}


def check_fit(model: Model, *conditionings: Conditioning) -> None:
    """Raise BadValueError for conditioning of another width than the UNet takes, with both names."""
    wanted = model.info.get("context")
    for entry in (entry for conditioning in conditionings for entry in conditioning.entries):
        width = entry.embedding.shape[2]
        if wanted is not None and width != wanted:
            name = model.files[0].name if model.files else "the model"
            raise BadValueError(
                f"the conditioning does not fit '{name}'",
                expected=f"a text encoder {_named(wanted)}",
                got=f"one {_named(width)}",
                hint="a model and its text encoders belong together: wire both from one checkpoint",
            )


def _named(width: int) -> str:
    return f"of {WIDTHS[width]} ({width} wide)" if width in WIDTHS else f"{width} wide"
