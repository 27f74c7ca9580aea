"""What a family of transformers is: how its files are told apart, built, told and called, and what suits it.

A family is one class in one short file. It is a model kind and the denoiser of its networks at once; its base does
what all families share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.engine.errors import FileError
from latentloom.nodes.families.conversion import converted_pieces
from latentloom.nodes.families.denoiser import Denoiser, Residuals, Told
from latentloom.nodes.families.folder import folder_weights, read_json
from latentloom.nodes.families.header import Shapes, read_header
from latentloom.nodes.families.module_loading import Piece, Weights, assemble

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

PREFIXES = ("", "model.diffusion_model.", "diffusion_model.")


class Family(ABC):
    """A family of flow-matching transformers. What it leaves open is said by a class below it."""

    unet = False
    name: ClassVar[str]
    """The model kind that it is registered under."""
    title: ClassVar[str]
    """What people call it."""
    module: ClassVar[str]
    """The class of the network, "package:class"."""
    reads: ClassVar[str]
    """The text encoder that it was trained with, for messages."""
    vae: ClassVar[str]
    """The VAE that it was trained with, for messages."""
    patch: ClassVar[int] = 2
    """Cells of a latent that a token takes, along each axis."""

    @abstractmethod
    def matches(self, shapes: Shapes) -> bool:
        """Whether tensors are those of a network of this family, as its authors name them."""

    @abstractmethod
    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Arguments of the network's class."""

    @abstractmethod
    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What sampling needs to know. `shift` is a rule of `flow.flow_table`."""

    @abstractmethod
    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Tensors by the names of the network's class, of those by the authors' names."""

    @abstractmethod
    def reader(self, paths: Sequence[Path]) -> Any:
        """The text reader over the files or folders of its text encoders; see `TextReader`."""

    @abstractmethod
    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The velocity n - x0 at x [B, C, h, w], whose sides are multiples of `patch`; sigma is float32 [B]."""

    # What all families share

    @property
    def denoiser(self) -> Denoiser:
        """Itself: it is told and called as a denoiser is."""
        return self

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Facts by component; see `ModelKind`."""
        if path.is_file():
            found = self._prefix(read_header(path).shapes)
            return None if found is None else self._recognised(self.config(found[1]), self.title)
        if not (path / "transformer" / "config.json").is_file():
            return None
        config = read_json(path / "transformer" / "config.json")
        if config.get("_class_name") != self.module.partition(":")[2]:
            return None
        return {**self._recognised(config, f"{self.title} (folder)"), **self._parts(path)}

    def _recognised(self, config: Mapping[str, Any], about: str) -> dict[str, Any]:
        known = {"prediction": "flow", "family": self.name, "preview": False, "reads": self.reads, "vae": self.vae}
        return {"unet": {**known, **self.facts(config)}, "about": about}

    def _parts(self, path: Path) -> dict[str, Any]:
        """The text encoder and the VAE of a folder."""
        vae = read_json(path / "vae" / "config.json")
        downscale = 2 ** (len(vae["block_out_channels"]) - 1)
        return {
            "clip": self.clip_facts([path / "text_encoder"]),
            "vae": {"downscale": downscale, "channels": vae["latent_channels"]},
        }

    @abstractmethod
    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """What is known of text encoders without loading them. Raises FileError for those of another family."""

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """The part that info["component"] names: "unet", "clip" or "vae"."""
        if info["component"] == "clip":
            folder = paths[0] / "text_encoder"
            return self.reader([folder] if folder.is_dir() else paths)
        if info["component"] == "vae":
            from diffusers import AutoencoderKL

            return _from_folder(AutoencoderKL, paths[0] / "vae")
        return self._network(paths[0])

    def _network(self, path: Path) -> Any:
        package, _, name = self.module.partition(":")
        cls = getattr(import_module(package), name)
        if path.is_dir():
            return _from_folder(cls, path / "transformer")
        found = self._prefix(read_header(path).shapes)
        if found is None:
            raise FileError(f"'{path.name}' is no {self.title}")
        prefix, shapes = found
        config = self.config(shapes)

        def pieces(names: list[str]) -> dict[str, Piece]:  # noqa: ARG001
            return converted_pieces(lambda tensors: self.convert(tensors), shapes, prefix)

        return assemble(lambda: cls(**config), pieces, Weights(path), self.title)

    def _prefix(self, shapes: Shapes) -> tuple[str, Shapes] | None:
        """Where the network is in a file, and its tensors by their names there."""
        for prefix in PREFIXES:
            below = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
            if self.matches(below):
                return prefix, below
        return None

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """The prompt and its mask; see `Denoiser`."""
        made = {"prompt": told.put(entry.embedding.tensor())}
        if "prompt_mask" in entry.arrays:
            made["prompt_mask"] = told.put(entry.arrays["prompt_mask"].tensor())
        return made

    def call(
        self,
        module: Any,
        x: Tensor,
        time: Tensor,
        condition: Mapping[str, Tensor],
        residuals: Residuals,  # noqa: ARG002
    ) -> Tensor:
        """The velocity, for sides of any length: cells that a token lacks at an edge repeat the last ones."""
        from torch.nn.functional import pad

        height, width = x.shape[2:]
        whole = pad(x, (0, -width % self.patch, 0, -height % self.patch), mode="replicate")
        return self.answer(module, whole, time, condition)[..., :height, :width]


def _from_folder(cls: Any, folder: Path) -> Any:
    config, weights = read_json(folder / "config.json"), folder_weights(folder)
    return assemble(lambda: cls.from_config(config), lambda names: {n: Piece(n) for n in names}, weights, folder.name)
