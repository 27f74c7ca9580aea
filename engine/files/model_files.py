"""Files as workflows name them and as keys know them."""

from dataclasses import dataclass, field
from pathlib import Path

ADAPTER = "adapter_model.safetensors"  # as PEFT calls every adapter


def configuration_of(path: Path) -> Path:
    """Where the configuration of a model file is, if it has one: NAME.yaml, or for PEFT's adapters a JSON file."""
    return path.with_name("adapter_config.json") if path.name == ADAPTER else path.with_suffix(".yaml")


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """A model or input file as results know it: its content. The name is for messages only."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file below the input folder, or one that was given on the command line or in Python."""

    name: str
    path: str
    sha256: str
    stamp: str = field(default="", compare=False)
    """What the file system told of it before it was hashed (see `engine.files.stamps`)."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file or diffusers folder below one of the model folders."""

    name: str
    path: str
    sha256: str
    stamp: str = field(default="", compare=False)
    """What the file system told of it before it was hashed (see `engine.files.stamps`)."""
    beside: str = ""
    """The sha256 of the configuration beside the file (see `configuration_of`), which loaders read; "" without one."""

    @property
    def identity(self) -> FileIdentity:
        """What results may remember of it."""
        return FileIdentity(self.name, self.sha256)
