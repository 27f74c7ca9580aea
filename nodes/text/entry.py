"""The entry of a conditioning for an encoded text."""

from latentloom.engine import Array, Clip, Cond
from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.reader import ReadText


def entry_of(clip: Clip, told: ReadText) -> Cond:
    """Make an entry of an encoded text. Raises BadValueError for numbers that are not finite."""
    if not told.embedding.isfinite().all():
        raise BadValueError(
            f"the text encoder '{name_of(clip)}' returned numbers that are not finite",
            expected="finite numbers",
            got="NaN or infinity",
            hint="some text encoders overflow in fp16: try --dtype bf16 or fp32",
        )
    more = {"pooled": told.pooled, "prompt_mask": told.mask, "picture_slots": told.slots}
    arrays = {name: Array(tensor) for name, tensor in more.items() if tensor is not None}
    return Cond(Array(told.embedding), {}, arrays)


def name_of(clip: Clip) -> str:
    """Return the name of a text encoder for messages."""
    return clip.files[0].name if clip.files else clip.model_kind
