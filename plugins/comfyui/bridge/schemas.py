"""The stand-in for `comfy_api.latest`: schemas of node classes of the third version (V3)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import SimpleNamespace
from typing import Any, NamedTuple

from latentloom.plugins.comfyui.bridge import previews

DEEP = ("Model", "Clip", "Vae", "Conditioning", "ControlNet", "Sampler", "Sigmas", "Noise", "Guider", "ClipVision",
        "ClipVisionOutput", "StyleModel", "Gligen", "UpscaleModel", "Audio", "Video", "Mesh", "Voxel", "LoraModel",
        "Hooks", "HookKeyframes", "SVG", "Load3D", "Photomaker", "LossMap", "TimestepsRange", "LatentOperation",
        "FlowControl", "Accumulation", "Webcam", "WanCameraEmbedding", "AudioEncoder", "AudioEncoderOutput",
        "ModelPatch", "File3DGLB")  # fmt: skip
MANY = "COMFY_MULTICOMBO_V3"  # the type of an input that takes several choices
PLAIN = {"Image": "IMAGE", "Mask": "MASK", "Latent": "LATENT", "Int": "INT", "Float": "FLOAT", "String": "STRING",
         "Boolean": "BOOLEAN", "Combo": "COMBO", "AnyType": "*"}  # fmt: skip


_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Input:
    """An input: its id, its type, whether it is optional, and its options."""

    type = "*"

    def __init__(self, id: "str | Input", *arguments: Any, **options: Any) -> None:
        self.id: str = id.id if isinstance(id, Input) else id
        self.optional: bool = options.pop("optional", False) or (isinstance(id, Input) and id.optional)
        choices = options.pop("options", arguments[0] if arguments and type(arguments[0]) is list else None)
        is_enum = isinstance(choices, type) and issubclass(choices, Enum)
        self.list_options = [one.value for one in choices] if is_enum else choices
        self.options = {name: value for name, value in options.items() if value is not None}
        self.options |= id.options if isinstance(id, Input) else {}


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


class Option(NamedTuple):
    """One choice of a DynamicCombo, with the inputs that it adds."""

    key: str
    inputs: list[Any]


class DynamicCombo(Input):
    """A choice that adds inputs. The class gets a dict: the choice under the input's own id, and what it adds."""

    type = "COMBO"

    def __init__(self, id: str, options: list[Option], **more: Any) -> None:
        super().__init__(id, [one.key for one in options], **more)
        self.added = {one.key: list(one.inputs or ()) for one in options}


class Growing(NamedTuple):
    """The inputs of an Autogrow: one input under many names, the first `least` of them required."""

    input: Any
    names: list[str]
    least: int


def by_prefix(input: Any, prefix: str = "", min: int = 1, max: int = 10) -> Growing:
    """Return an Autogrow's inputs, whose names are a prefix and a number."""
    return Growing(input, [f"{prefix}{n}" for n in range(max)], min)


def by_names(input: Any, names: list[str], min: int = 1) -> Growing:
    """Return an Autogrow's inputs with given names."""
    return Growing(input, list(names), min)


class Autogrow(Input):
    """Any number of inputs of one type. The class gets a dict of those that are given."""

    def __init__(self, id: str, template: Growing, **more: Any) -> None:
        super().__init__(id, **more)
        self.template = template


class _MatchOutput(Output):
    """An output with the type of an input. The template is its first argument or, in older packs, its second."""

    def __init__(self, *arguments: Any, display_name: str | None = None, **more: Any) -> None:
        names = [one for one in arguments if isinstance(one, str)]
        more.pop("template", None)
        super().__init__(more.pop("id", names[0] if names else None), display_name, **more)


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
        self.args, self.ui, self.expand, self.block_execution = values, ui, expand, block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        """The values; None if there are none."""
        return self.args or None

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class Hiding(SimpleNamespace):
    """The hidden inputs of a V3 class. Those that it did not ask for are None."""

    def __getattr__(self, _: str) -> None:
        return None


class Blocker:
    """A value in place of an output that stops the nodes that use it. The message may be None."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message


class Execution:
    """Reports progress to the run."""

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self._report = report

    async def set_progress(self, value: float, max_value: float, *_: Any, **__: Any) -> None:
        """Set the progress. A preview has no effect."""
        self._report(int(value), int(max_value))


class SyncExecution(Execution):
    """Reports progress to the run, without waiting."""

    def set_progress(self, value: float, max_value: float, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Set the progress."""
        self._report(int(value), int(max_value))


class ComfyNode:
    """The base of V3 classes."""

    hidden = Hiding()

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


def members(missing: Any, report: Callable[[int, int], None]) -> dict[str, Any]:
    """Return the members of the module. `missing` makes a missing name; `report(step, total)` takes progress."""
    io = SimpleNamespace(
        **{name: port_type(type) for name, type in PLAIN.items()},
        **{name: port_type(_WORDS.sub("_", name).upper()) for name in DEEP},
        Schema=Schema, NodeOutput=NodeOutput, ComfyNode=ComfyNode, Hidden=Hidden, Custom=port_type, NumberDisplay=Words,
        UploadType=Words, FolderType=Words, Input=Input, Output=Output, ComfyExtension=ComfyExtension,
    )  # fmt: skip
    io.MultiType = port_type("*")
    io.MatchType = port_type("*")
    io.MatchType.Template = _Template
    io.MatchType.Output = _MatchOutput
    io.MultiCombo = port_type(MANY)
    io.DynamicCombo = SimpleNamespace(io_type="COMBO", Type=dict, Input=DynamicCombo, Option=Option)
    growing = {"TemplatePrefix": by_prefix, "TemplateNames": by_names}
    io.Autogrow = SimpleNamespace(io_type="*", Type=dict, Input=Autogrow, **growing)
    ui = SimpleNamespace(**previews.MEMBERS)
    return {
        "io": _open(io, missing, "io"),
        "IO": _open(io, missing, "io"),
        "ui": _open(ui, missing, "ui"),
        "UI": _open(ui, missing, "ui"),
        "ComfyExtension": ComfyExtension,
        **dict.fromkeys(("ComfyAPI", "ComfyAPI_latest"), _api(Execution(report))),
        "ComfyAPISync": _api(SyncExecution(report)),
    }


def _api(execution: Execution) -> Callable[[], Any]:
    return lambda: SimpleNamespace(execution=execution)


def _open(known: SimpleNamespace, missing: Any, name: str) -> Any:
    """Return a namespace of which all other names are missing."""

    class Open(SimpleNamespace):
        def __getattr__(self, other: str) -> Any:
            if other.startswith("__"):
                raise AttributeError(other)
            return missing(f"comfy_api.latest.{name}.{other}")

    return Open(**vars(known))
