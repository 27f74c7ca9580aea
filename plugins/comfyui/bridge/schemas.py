"""The stand-in for `comfy_api.latest`: schemas of node classes of the third version (V3)."""

from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

DEEP = ("Model", "Clip", "Vae", "Conditioning", "ControlNet", "Sampler", "Sigmas", "Noise", "Guider", "ClipVision",
        "ClipVisionOutput", "StyleModel", "Gligen", "UpscaleModel", "Audio", "Video", "Mesh", "Voxel", "LoraModel",
        "Hooks", "HookKeyframes", "SVG", "Load3D", "Photomaker", "LossMap", "TimestepsRange", "LatentOperation",
        "FlowControl", "Accumulation", "Webcam", "WanCameraEmbedding", "AudioEncoder", "AudioEncoderOutput",
        "ModelPatch", "File3DGLB")  # fmt: skip
PLAIN = {"Image": "IMAGE", "Mask": "MASK", "Latent": "LATENT", "Int": "INT", "Float": "FLOAT", "String": "STRING",
         "Boolean": "BOOLEAN", "Combo": "COMBO", "AnyType": "*"}  # fmt: skip


class Input:
    """An input: its id, its type, whether it is optional, and its options."""

    type = "*"

    def __init__(self, id: str, *arguments: Any, **options: Any) -> None:
        self.id = id
        self.optional = bool(options.pop("optional", False))
        self.list_options = options.pop("options", arguments[0] if arguments and type(arguments[0]) is list else None)
        self.options = {name: value for name, value in options.items() if value is not None}


class Output:
    """An output: its type, and its name."""

    type = "*"

    def __init__(self, id: str | None = None, display_name: str | None = None, *, is_output_list: bool = False,
                 **_: Any) -> None:  # fmt: skip
        self.name = display_name or id or self.type
        self.is_list = is_output_list


class _Template:
    """The name of a type that inputs and outputs share."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


class _MatchOutput(Output):
    """An output with the type of an input."""

    def __init__(
        self, _template: Any = None, id: str | None = None, display_name: str | None = None, **more: Any
    ) -> None:
        super().__init__(id, display_name, **more)


def port_type(name: str) -> Any:
    """Return the class of a port type, with its Input and Output."""
    return SimpleNamespace(
        io_type=name,
        Type=object,
        Input=type("Input", (Input,), {"type": name}),
        Output=type("Output", (Output,), {"type": name}),
    )


@dataclass
class Schema:
    """What a V3 class says of itself."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    hidden: list[Any] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_dev_only: bool = False
    is_api_node: bool = False
    price_badge: Any = None
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False
    essentials_category: Any = None
    search_aliases: list[str] = field(default_factory=list)
    has_intermediate_output: bool = False


class NodeOutput:
    """What a V3 class returns."""

    def __init__(self, *values: Any, ui: Any = None, expand: Any = None, block_execution: Any = None, **_: Any) -> None:
        self.values, self.ui, self.expand, self.block_execution = values, ui, expand, block_execution


class ComfyNode:
    """The base of V3 classes."""

    hidden = SimpleNamespace(unique_id=None, prompt=None, extra_pnginfo=None, dynprompt=None)

    @classmethod
    def define_schema(cls) -> Schema:
        """Return the schema."""
        raise NotImplementedError

    @classmethod
    def execute(cls, **_: Any) -> Any:
        """Run the node."""
        raise NotImplementedError


class ComfyExtension:
    """The base of a pack's extension."""

    async def on_load(self) -> None:
        """Prepare the pack."""

    async def get_node_list(self) -> list[type]:
        """Return the classes of the pack."""
        raise NotImplementedError


class Words(StrEnum):
    """Words of the editor, which have no effect here."""

    number = "number"
    slider = "slider"
    image = "image_upload"
    input = "input"
    output = "output"
    temp = "temp"


class Hidden(StrEnum):
    """The hidden inputs."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"


def members(missing: Any) -> dict[str, Any]:
    """Return the members of the module. `missing` makes a missing name."""
    io = SimpleNamespace(
        **{name: port_type(type) for name, type in PLAIN.items()},
        **{name: port_type(name.upper()) for name in DEEP},
        Schema=Schema, NodeOutput=NodeOutput, ComfyNode=ComfyNode, Hidden=Hidden, Custom=port_type, NumberDisplay=Words,
        UploadType=Words, FolderType=Words, Input=Input, Output=Output, ComfyExtension=ComfyExtension,
    )  # fmt: skip
    io.MultiType = port_type("*")
    io.MatchType = port_type("*")
    io.MatchType.Template = _Template
    io.MatchType.Output = _MatchOutput
    for name in ("DynamicCombo", "Autogrow", "MultiCombo", "DynamicSlot"):
        setattr(io, name, missing(f"comfy_api.latest.io.{name}"))
    return {
        "io": io,
        "IO": io,
        "ComfyExtension": ComfyExtension,
        "ui": missing("comfy_api.latest.ui"),
        "Types": missing("comfy_api.latest.Types"),
    }
