"""Input and model files: by name for workflows, by content for cache keys."""

from dataclasses import dataclass, field
from pathlib import Path

ADAPTER = "adapter_model.safetensors"  # PEFT uses this name for every adapter


def configuration_of(path: Path) -> Path:
    """Return the path of a model file's configuration, which may not exist: NAME.yaml, or JSON for PEFT's adapters."""
    return path.with_name("adapter_config.json") if path.name == ADAPTER else path.with_suffix(".yaml")


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """A model or input file, identified by content. The name is for messages only."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file in the input folder, or a file given on the command line or in Python."""

    name: str
    path: str
    sha256: str
    stamp: str = field(default="", compare=False)
    """The stamp of the file before it was hashed (see `engine.files.stamps`)."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file or diffusers folder in one of the model folders."""

    name: str
    path: str
    sha256: str
    stamp: str = field(default="", compare=False)
    """The stamp of the file before it was hashed (see `engine.files.stamps`)."""
    beside: str = ""
    """The sha256 of the configuration file (see `configuration_of`), which loaders read; "" if there is none."""

    @property
    def identity(self) -> FileIdentity:
        """The identity that results may store."""
        return FileIdentity(self.name, self.sha256)
