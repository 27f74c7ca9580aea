"""What a family of transformers is: how its files are told apart, built, told and called, and what suits it.

A family is one class in one short file. It is a model kind and the denoiser of its networks at once; its base does
what all families share.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.engine.errors import FileError
from latentloom.engine.models.weights import not_in_float16
from latentloom.nodes.families.conversion import converted_pieces
from latentloom.nodes.families.denoiser import Denoiser, Residuals, Told
from latentloom.nodes.families.folder import folder_weights, read_json, said_class
from latentloom.nodes.families.header import Header, Shapes, below, read_header, weights_facts
from latentloom.nodes.families.key_tables import Names, Origin, Parts, authors_layers, authors_shapes
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.stable_diffusion.building import build_vae
from latentloom.nodes.families.stable_diffusion.facts import vae_facts
from latentloom.nodes.families.stable_diffusion.parts import find_vae
from latentloom.nodes.families.text_parts import TITLES, FoundText, prefixes, texts_in
from latentloom.nodes.families.tokenizers import EncoderTokenizer
from latentloom.nodes.families.unused import warn_unused

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

PREFIXES = ("", "model.diffusion_model.", "diffusion_model.")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a network is in a file: behind a prefix, with the shapes of its tensors by its authors' names."""

    prefix: str
    shapes: Shapes
    converted: bool = False  # whether the file has diffusers' names


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
    texts: ClassVar[Mapping[str, str]]
    """Its text encoders by their names, see `texts_in`, and the folder of each in diffusers' layout."""
    needs: ClassVar[tuple[str, ...]]
    """Those of them that it cannot do without."""
    tokenizer: ClassVar[tuple[str, EncoderTokenizer]]
    """Which of them needs a tokenizer from the disk, and what that is called."""
    renamed: ClassVar[Names] = ()
    """How its authors call the network's layers, where diffusers calls them otherwise."""
    fused: ClassVar[Parts] = ()
    """Layers that are one in their files and several in diffusers' class."""
    patch: ClassVar[int] = 2
    """Cells of a latent that a token takes, along each axis."""
    converted_mark: ClassVar[str] = ""
    """A weight in files of diffusers' names, where authors have others; "" for a family without such files."""
    narrow: ClassVar[bool] = False
    """Whether it overflows in fp16, so that it computes in fp32 where the rest computes in fp16."""
    multiple: ClassVar[int] = 0
    """What the sides of the latents that it is called with are multiples of, in cells; 0 stands for `patch`."""

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
    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """The text reader over the files or folders of its text encoders; see `TextReader`. `info` is the handle's."""

    @abstractmethod
    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The velocity n - x0 at x [B, C, h, w], whose sides are multiples of `multiple`; sigma is float32 [B]."""

    def build(self, config: Mapping[str, Any]) -> Any:
        """The network, which has no weights yet, for files by the authors' names."""
        return self._class()(**config)

    def vae_facts_of(self, folder: Path) -> dict[str, Any]:
        """Of the VAE in a folder: an AutoencoderKL, where a family says nothing else."""
        config = read_json(folder / "config.json")
        return vae_facts(2 ** (len(config["block_out_channels"]) - 1), config["latent_channels"])

    def vae_facts_in(self, header: Header) -> dict[str, Any] | None:
        """Of the VAE that a file holds beside the network; None without one."""
        vae = find_vae(header)
        return vae and vae_facts(vae.shape.downscale, vae.shape.channels, encodes=vae.shape.encodes)

    def load_vae(self, path: Path) -> Any:
        """The VAE of a folder, or of a file that holds one beside the network."""
        return _vae(path)

    # What all families share

    @property
    def denoiser(self) -> Denoiser:
        """Itself: it is told and called as a denoiser is."""
        return self

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Facts by component; see `ModelKind`."""
        if path.is_file():
            return self._recognised_file(path, read_header(path))
        folder = _network_folder(path)
        if said_class(folder) != self.module.partition(":")[2]:
            return None
        parts = self._parts(path) if folder != path else {}
        shift = scheduler_shift(path, self.patch)
        return self._recognised(read_json(folder / "config.json"), f"{self.title} (folder)", parts, shift)

    def _recognised_file(self, path: Path, header: Header) -> Mapping[str, Any] | None:
        try:
            found = self._place(header.shapes)
            config = found and self.config(found.shapes)
        except (KeyError, IndexError, ValueError):  # only a part of one
            return None
        if config is None:
            return None
        made = self._recognised(config, header.title or self.title, self._parts_in(path, header))
        return {**made, **weights_facts(header)}

    def _recognised(
        self, config: Mapping[str, Any], about: str, parts: Mapping[str, Any], more: Mapping[str, Any] = {}
    ) -> dict[str, Any]:
        known = {"prediction": "flow", "family": self.name, "preview": False, "reads": self.reads, "vae": self.vae}
        unet = {**known, **self.facts(config), **more}
        if "clip" in parts:
            parts = {**parts, "clip": {**parts["clip"], **reading_facts(unet)}}
        return {"unet": unet, **parts, "about": about}

    def _parts(self, path: Path) -> dict[str, Any]:
        """The text encoders and the VAE of a folder."""
        return {"clip": self.clip_facts(self._text_folders(path)), "vae": self.vae_facts_of(path / "vae")}

    def _parts_in(self, path: Path, header: Header) -> dict[str, Any]:
        """The text encoders and the VAE that a file holds beside the network; encoders that do not do are none."""
        vae, found = self.vae_facts_in(header), dict[str, Any]()
        with contextlib.suppress(FileError):
            found["clip"] = self.clip_facts([path])
        if vae is not None:
            found["vae"] = vae
        return found

    def _text_folders(self, path: Path) -> list[Path]:
        return [path / name for name in self.texts if (path / name).is_dir()]

    @abstractmethod
    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """What is known of text encoders without loading them. Raises FileError for those of another family."""

    def chosen(self, paths: Sequence[Path]) -> dict[str, FoundText]:
        """Its text encoders among those of files or folders, by name.

        Raises FileError where one is missing that it needs, and for one that it does not read.
        """
        found = texts_in(paths, self.texts)
        foreign = [one for name, one in found.items() if name not in self.texts.values()]
        if foreign:
            raise FileError(
                f"'{foreign[0].path.name}' is not a text encoder of {self.title}",
                expected=self.reads,
                got=foreign[0].title,
            )
        missing = [TITLES[name] for name in self.needs if name not in found]
        if missing:
            names = " and ".join(f"'{path.name}'" for path in paths) or "the folder"
            raise FileError(
                f"{self.title} needs a text encoder that is missing: {' and '.join(missing)}",
                expected=self.reads,
                got=f"{' and '.join(one.title for one in found.values()) or 'no text encoder'} in {names}",
                hint="put its file in models/clip (ComfyUI: text_encoders) and add it to LoadCLIP",
            )
        return found

    def missing_tokenizer(self, paths: Sequence[Path]) -> FileError:
        """That the files or folders of its text encoders, or of all of it, have no tokenizer, and where it may be."""
        name, files = self.tokenizer
        return files.missing(self.chosen(self._text_folders(paths[0]) or paths)[name].path)

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """The part that info["component"] names: "unet", "clip" or "vae"."""
        if info["component"] == "clip":
            return self.reader(self._text_folders(paths[0]) or paths, info)
        if info["component"] == "vae":
            return self.load_vae(paths[0])
        return self._network(paths[0])

    def _network(self, path: Path) -> Any:
        """The network. It carries its `Origin`, for LoRAs, which may have its authors' names."""
        made = self._from_folder(path) if path.is_dir() else self._from_file(path)
        layers = [name.removesuffix(".weight") for name in made.state_dict() if name.endswith(".weight")]
        made.origin = Origin(self.title, authors_layers(layers, self.renamed, self.fused))
        return not_in_float16(made) if self.narrow else made

    def _from_folder(self, path: Path) -> Any:
        return _from_folder(self._class(), _network_folder(path))

    def _from_file(self, path: Path) -> Any:
        header = read_header(path)
        found = self._place(header.shapes)
        if found is None:
            raise FileError(f"'{path.name}' is not a model of type {self.title}")
        config, weights = self.config(found.shapes), Weights(path)

        def pieces(names: list[str]) -> dict[str, Piece]:
            if found.converted:
                return {name: Piece(found.prefix + name) for name in names}
            return converted_pieces(lambda tensors: self.convert(tensors), found.shapes, found.prefix)

        build = self._class() if found.converted else lambda **given: self.build(given)
        made = assemble(lambda: build(**config), pieces, weights, self.title)
        warn_unused(weights, found.prefix, prefixes(header))
        return made

    def _class(self) -> Any:
        package, _, name = self.module.partition(":")
        return getattr(import_module(package), name)

    def _place(self, shapes: Shapes) -> Place | None:
        """Where the network is in a file."""
        for prefix in PREFIXES:
            found = below(shapes, prefix)
            converted = self.converted_mark in found
            shapes_there = self.authors_shapes(found) if converted else found
            if self.matches(shapes_there):
                return Place(prefix, shapes_there, converted)
        return None

    def authors_shapes(self, shapes: Shapes) -> Shapes:
        """The shapes of a file of diffusers' names, by its authors' names, where they say its configuration."""
        return authors_shapes(shapes, self.renamed, self.fused)

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """The prompt, its mask and its pooled output, and the guidance that some are told; see `Denoiser`."""
        import torch

        made = {"prompt": told.put(entry.embedding.tensor())}
        if "prompt_mask" in entry.arrays:
            made["prompt_mask"] = told.put(entry.arrays["prompt_mask"].tensor())
        if told.info.get("pooled"):
            made["pooled"] = told.put(entry.arrays["pooled"].tensor())
        if "guidance" in told.info:
            guidance = entry.extra.get("guidance", told.info["guidance"])
            made["guidance"] = told.put(torch.tensor([[guidance]], dtype=torch.float32))
        return made

    def added(self, residuals: Mapping[str, Any]) -> Mapping[str, Any]:
        """What ControlNets add, as the network takes it: a tensor for each of its layers."""
        return residuals

    def call(
        self,
        module: Any,
        x: Tensor,
        time: Tensor,
        condition: Mapping[str, Tensor],
        residuals: Residuals,
    ) -> Tensor:
        """The velocity, for sides of any length: cells that a token lacks at an edge repeat the last ones."""
        from torch.nn.functional import pad

        height, width = x.shape[2:]
        cells = self.multiple or self.patch
        whole = pad(x, (0, -width % cells, 0, -height % cells), mode="replicate")
        more = residuals(whole, time, condition)
        guided = partial(module, **self.added(more)) if more else module
        return self.answer(guided, whole, time, condition)[..., :height, :width]


def _network_folder(path: Path) -> Path:
    """The folder of a network: that in the folder of a whole model, or the folder itself."""
    return path / "transformer" if (path / "transformer").is_dir() else path


def reading_facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the facts of a model say of how its text encoders read, and of what they give."""
    length = {"text_length": info["text_length"]} if "text_length" in info else {}
    return {"width": info["context"], "pooled": info.get("pooled", 0), **length}


def scheduler_shift(path: Path, patch: int) -> dict[str, Any]:
    """The rule of shift that a folder's scheduler says, see `flow.flow_table`; nothing for a folder without one."""
    place = path / "scheduler" / "scheduler_config.json"
    said = read_json(place) if place.is_file() else {}
    terminal = {"terminal": said["shift_terminal"]} if said.get("shift_terminal") else {}
    if said.get("use_dynamic_shifting"):
        low = [said.get("base_image_seq_len", 256), said.get("base_shift", 0.5)]
        high = [said.get("max_image_seq_len", 4096), said.get("max_shift", 1.15)]
        return {"shift": {"by": "size", "low": low, "high": high, "patch": patch, "count": 10_000, **terminal}}
    return {"shift": {"shift": said["shift"], **terminal}} if "shift" in said else {}


def _vae(path: Path) -> Any:
    if path.is_dir():
        from diffusers import AutoencoderKL

        return _from_folder(AutoencoderKL, path / "vae")
    header, weights = read_header(path), Weights(path)
    part = find_vae(header)
    if part is None:
        raise FileError(f"'{path.name}' has no VAE")
    made = build_vae(part, weights)
    warn_unused(weights, part.prefix, prefixes(header))
    return made


def _from_folder(cls: Any, folder: Path) -> Any:
    config, weights = read_json(folder / "config.json"), folder_weights(folder)
    made = assemble(lambda: cls.from_config(config), lambda names: {n: Piece(n) for n in names}, weights, folder.name)
    warn_unused(weights)
    return made
