"""Modules with the names of ComfyUI's that packs import: files, devices, resizing, progress, the server.

Written from what packs call. Everything else of these modules is a missing name.
"""

import hashlib
import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from latentloom.plugins.comfyui.bridge import previews, resizing, schemas, type_names
from latentloom.plugins.comfyui.bridge.missing import Missing, MissingModule, MissingName

FOLDERS = {
    "checkpoints": "checkpoints",
    "diffusion_models": "unet",
    "unet": "unet",
    "text_encoders": "clip",
    "clip": "clip",
}
SUFFIXES = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft", ".gguf", ".onnx")
MAX_RESOLUTION = 16384
FLAGS = {"disable_metadata": False, "cpu": True, "preview_size": 512, "verbose": False, "listen": "127.0.0.1",
         "port": 0, "base_directory": None, "multi_user": False, "deterministic": False}  # fmt: skip
Report = Callable[[int, int], None]


class Classes(dict[str, Any]):
    """ComfyUI's own classes, none of which are here."""

    def __missing__(self, name: str) -> Any:
        raise MissingName(f"nodes.NODE_CLASS_MAPPINGS['{name}']")


class FileNames(list[str]):
    """A list of files as an input's choices. It may change, so it is not part of the description of a class."""


class Files:
    """The stand-in for `folder_paths`. `output` and `temp` are folders that exist for one call."""

    def __init__(self, models: list[str], input: str) -> None:
        self.models, self.input = [Path(root) for root in models], input
        self.output = self.temp = tempfile.gettempdir()
        self.added: dict[str, list[str]] = {}

    def folders(self, name: str) -> list[str]:
        """Return the folders of a kind of models."""
        own = [str(root / FOLDERS.get(name, name)) for root in self.models]
        return [*own, *self.added.get(name, [])]

    def names(self, name: str) -> FileNames:
        """Return the names of the files of a kind, with "/" as separator."""
        found = set()
        for root in self.folders(name):
            for folder, _, files in os.walk(root, followlinks=True):
                for file in files:
                    if name in self.added or file.lower().endswith(SUFFIXES):
                        found.add(Path(folder, file).relative_to(root).as_posix())
        return FileNames(sorted(found))

    def path(self, name: str, file: str) -> str | None:
        """Return the path of a file; None if there is none."""
        for root in self.folders(name):
            place = Path(root, os.path.relpath(os.path.join("/", file), "/"))  # noqa: PTH118
            if place.is_file():
                return str(place)
        return None

    def certain(self, name: str, file: str) -> str:
        """Return the path of a file. Raises FileNotFoundError."""
        found = self.path(name, file)
        if found is None:
            raise FileNotFoundError(f"there is no file '{file}' in {name}")
        return found

    def annotated(self, name: str, default: str | None = None) -> str:
        """Return the path for a name that may end with [input], [output] or [temp]."""
        for kind, folder in (("input", self.input), ("output", self.output), ("temp", self.temp)):
            if name.endswith(f"[{kind}]"):
                return str(Path(folder, name.removesuffix(f"[{kind}]").strip()))
        return str(Path(default or self.input, name))

    def subfolders(self) -> FileNames:
        """Return the folders below the input folder, with "/" as separator."""
        root = Path(self.input)
        return FileNames(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir()))

    def save_path(self, prefix: str, folder: str, width: int = 0, height: int = 0) -> tuple[str, str, int, str, str]:
        """Return folder, name, first free number, subfolder and prefix for files to be saved."""
        prefix = prefix.replace("%width%", str(width)).replace("%height%", str(height))
        sub, name = os.path.split(os.path.normpath(prefix))
        place = Path(folder, sub)
        place.mkdir(parents=True, exist_ok=True)
        return str(place), name, 1 + sum(file.name.startswith(f"{name}_") for file in place.iterdir()), sub, prefix


def _module(name: str, **members: Any) -> Any:
    module = MissingModule(name)
    module.__dict__.update(members, __path__=[])
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


def install(files: Files, report: Report) -> None:
    """Install the stand-ins. `report(step, total)` is called by progress bars."""
    _files(files)
    _module("comfy")
    _utils(report)
    _management()
    _module("nodes", MAX_RESOLUTION=MAX_RESOLUTION, NODE_CLASS_MAPPINGS=Classes(), NODE_DISPLAY_NAME_MAPPINGS={},
            EXTENSION_WEB_DIRS={}, SaveImage=previews.SaveImage, PreviewImage=previews.ShowImage)  # fmt: skip
    _types()
    _module("server", PromptServer=SimpleNamespace(instance=Server()))
    _module("comfy_api")
    members = schemas.members(Missing, report)
    for name in ("latest", "v0_0_2", "v0_0_1"):
        _module(f"comfy_api.{name}", **members)
        _module(f"comfy_api.{name}.io", **vars(members["io"]))
        _module(f"comfy_api.{name}.ui", **vars(members["ui"]))


def _types() -> None:
    for name in ("comfy.comfy_types", "comfy.comfy_types.node_typing"):
        _module(name, **type_names.MEMBERS)
    _module("comfy.cli_args", args=SimpleNamespace(**FLAGS))
    _module("comfy_execution")
    for name in ("graph", "graph_utils"):
        _module(f"comfy_execution.{name}", ExecutionBlocker=schemas.Blocker)


def _files(files: Files) -> None:
    module = _module(
        "folder_paths",
        base_path=files.input, models_dir=str(files.models[0]) if files.models else files.input,
        supported_pt_extensions=set(SUFFIXES), folder_names_and_paths={}, get_folder_paths=files.folders,
        get_filename_list=files.names, get_full_path=files.path, get_full_path_or_raise=files.certain,
        get_input_directory=lambda: files.input, get_output_directory=lambda: files.output,
        get_temp_directory=lambda: files.temp, get_user_directory=lambda: files.temp,
        get_input_subfolders=files.subfolders, get_annotated_filepath=files.annotated,
        get_save_image_path=files.save_path,
        exists_annotated_filepath=lambda name: Path(files.annotated(name)).exists(),
        filter_files_content_types=lambda names, _types: FileNames(names),
        add_model_folder_path=lambda name, path, is_default=False: files.added.setdefault(name, []).append(str(path)),
    )  # fmt: skip
    module.get_directory_by_type = {"input": files.input}.get


class Server:
    """The stand-in for a PromptServer: routes and messages go nowhere, because nobody listens."""

    client_id = last_node_id = None
    supports: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.routes = SimpleNamespace(**{
            method: lambda *_, **__: lambda handler: handler
            for method in ("get", "post", "put", "delete", "patch", "view", "static")
        })  # fmt: skip

    def send_sync(self, *_: Any, **__: Any) -> None:
        """Send nothing."""

    send_progress_text = add_on_prompt_handler = send_sync


def _utils(report: Report) -> None:
    class ProgressBar:
        """A progress bar that reports to the run."""

        def __init__(self, total: int, *_: Any, **__: Any) -> None:
            self.total, self.current = total, 0

        def update_absolute(self, value: int, total: int | None = None, *_: Any, **__: Any) -> None:
            """Set the progress."""
            self.total = self.total if total is None else total
            self.current = min(value, self.total)
            report(int(self.current), int(self.total))

        def update(self, value: int) -> None:
            """Add to the progress."""
            self.update_absolute(self.current + value)

    _module(
        "comfy.utils", ProgressBar=ProgressBar, common_upscale=resizing.upscaled, lanczos=resizing.lanczos,
        repeat_to_batch_size=resizing.repeated, PROGRESS_BAR_ENABLED=True,
    )  # fmt: skip
    _module(
        "node_helpers", image_alpha_fix=resizing.with_equal_channels, pillow=lambda act, argument: act(argument),
        hasher=lambda: hashlib.sha256,
    )  # fmt: skip


def _management() -> None:
    class InterruptProcessingException(Exception):
        """A run was cancelled."""

    def cpu(*_: Any, **__: Any) -> Any:
        return importlib.import_module("torch").device("cpu")

    def dtype(*_: Any, **__: Any) -> Any:
        return importlib.import_module("torch").float32

    def nothing(*_: Any, **__: Any) -> None:
        return None

    def no(*_: Any, **__: Any) -> bool:
        return False

    devices = ("get_torch_device", "intermediate_device", "unet_offload_device", "vae_device", "vae_offload_device",
               "text_encoder_device", "text_encoder_offload_device")  # fmt: skip
    quiet = ("soft_empty_cache", "unload_all_models", "throw_exception_if_processing_interrupted", "cleanup_models")
    facts = ("is_device_mps", "should_use_fp16", "should_use_bf16", "is_nvidia", "is_amd",
             "is_intel_xpu", "processing_interrupted", "xformers_enabled", "directml_enabled")  # fmt: skip
    _module(
        "comfy.model_management",
        InterruptProcessingException=InterruptProcessingException, OOM_EXCEPTION=MemoryError,
        get_free_memory=lambda *_, **__: 2**32, get_total_memory=lambda *_, **__: 2**33,
        get_torch_device_name=str, is_device_cuda=no, is_device_cpu=lambda *_: True,
        **dict.fromkeys(("intermediate_dtype", "unet_dtype", "vae_dtype", "text_encoder_dtype"), dtype),
        **dict.fromkeys(devices, cpu), **dict.fromkeys(quiet, nothing), **dict.fromkeys(facts, no),
    )  # fmt: skip
