"""The messages between this process and a pack's: a JSON object and arrays. Nothing is pickled."""

import json
import struct
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np

HEAD = struct.Struct(">IQ")
DEEP = frozenset({
    "MODEL", "CLIP", "VAE", "CONDITIONING", "CONTROL_NET", "SAMPLER", "SIGMAS", "NOISE", "GUIDER", "CLIP_VISION",
    "CLIP_VISION_OUTPUT", "STYLE_MODEL", "GLIGEN", "UPSCALE_MODEL", "AUDIO", "VIDEO", "HOOKS", "LORA_MODEL", "MESH",
    "VOXEL", "PHOTOMAKER", "LATENT_OPERATION", "HOOK_KEYFRAMES", "TIMESTEPS_RANGE", "MODEL_PATCH", "AUDIO_ENCODER",
    "AUDIO_ENCODER_OUTPUT", "LOSS_MAP", "BASIC_PIPE", "DETAILER_PIPE", "SEGS", "IPADAPTER", "INSIGHTFACE",
})  # fmt: skip  # values that stay in ComfyUI's process
MAX_JSON, MAX_DATA = 64 * 2**20, 16 * 2**30


class Message(NamedTuple):
    """A JSON object, and the float32 arrays that it refers to by index."""

    body: dict[str, Any]
    arrays: list[Any]


def write(stream: IO[bytes], body: dict[str, Any], arrays: Sequence[Any] = ()) -> None:
    """Write a message. Raises OSError, and ValueError or TypeError for a body that is not JSON."""
    parts = [np.ascontiguousarray(array, dtype="<f4") for array in arrays]
    text = json.dumps([body, [list(part.shape) for part in parts]]).encode()
    stream.write(HEAD.pack(len(text), sum(part.nbytes for part in parts)) + text)
    for part in parts:
        stream.write(part.data if part.size else b"")
    stream.flush()


def read(stream: IO[bytes]) -> Message:
    """Read the next message. Raises EOFError at the end of the stream, ValueError for a message that is malformed."""
    text, data = HEAD.unpack(_exactly(stream, HEAD.size))
    if text > MAX_JSON or data > MAX_DATA:
        raise ValueError(f"a message of {text} + {data} bytes is too large")
    body, shapes = json.loads(_exactly(stream, text))
    sizes = [int(np.prod(shape, dtype=np.int64)) * 4 for shape in shapes]
    if sum(sizes) != data or min(sizes, default=0) < 0:
        raise ValueError("the arrays have another size than the message says")
    return Message(body, [_array(stream, shape, size) for shape, size in zip(shapes, sizes, strict=True)])


def _array(stream: IO[bytes], shape: list[int], size: int) -> Any:
    return np.frombuffer(bytearray(_exactly(stream, size)), dtype="<f4").reshape(shape)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found
