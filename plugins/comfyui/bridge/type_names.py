"""The stand-in for `comfy.comfy_types`: names of port types, and names that only annotations and bases use."""

from enum import StrEnum
from typing import Any

DEEP = frozenset({
    "MODEL", "CLIP", "VAE", "CONDITIONING", "CONTROL_NET", "SAMPLER", "SIGMAS", "NOISE", "GUIDER", "CLIP_VISION",
    "CLIP_VISION_OUTPUT", "STYLE_MODEL", "GLIGEN", "UPSCALE_MODEL", "AUDIO", "VIDEO", "HOOKS", "LORA_MODEL", "MESH",
    "VOXEL", "PHOTOMAKER", "LATENT_OPERATION", "HOOK_KEYFRAMES", "TIMESTEPS_RANGE", "MODEL_PATCH", "AUDIO_ENCODER",
    "AUDIO_ENCODER_OUTPUT", "LOSS_MAP", "BASIC_PIPE", "DETAILER_PIPE", "SEGS", "IPADAPTER", "INSIGHTFACE",
})  # fmt: skip
"""Values that stay in ComfyUI's process."""


class IO(StrEnum):
    """The names of port types."""

    STRING = "STRING"
    IMAGE = "IMAGE"
    MASK = "MASK"
    LATENT = "LATENT"
    BOOLEAN = "BOOLEAN"
    INT = "INT"
    FLOAT = "FLOAT"
    COMBO = "COMBO"
    CONDITIONING = "CONDITIONING"
    SAMPLER = "SAMPLER"
    SIGMAS = "SIGMAS"
    GUIDER = "GUIDER"
    NOISE = "NOISE"
    CLIP = "CLIP"
    CONTROL_NET = "CONTROL_NET"
    VAE = "VAE"
    MODEL = "MODEL"
    LORA_MODEL = "LORA_MODEL"
    CLIP_VISION = "CLIP_VISION"
    CLIP_VISION_OUTPUT = "CLIP_VISION_OUTPUT"
    STYLE_MODEL = "STYLE_MODEL"
    GLIGEN = "GLIGEN"
    UPSCALE_MODEL = "UPSCALE_MODEL"
    AUDIO = "AUDIO"
    VIDEO = "VIDEO"
    WEBCAM = "WEBCAM"
    POINT = "POINT"
    FACE_ANALYSIS = "FACE_ANALYSIS"
    BBOX = "BBOX"
    SEGS = "SEGS"
    ANY = "*"
    NUMBER = "FLOAT,INT"
    PRIMITIVE = "STRING,FLOAT,INT,BOOLEAN"


class NodeBase:
    """The base of classes that name one."""


MEMBERS: dict[str, Any] = {
    "IO": IO,
    **dict.fromkeys(("ComfyNodeABC", "CheckLazyMixin"), NodeBase),
    **dict.fromkeys(("InputTypeDict", "InputTypeOptions", "HiddenInputTypeDict", "FileLocator"), dict),
}
