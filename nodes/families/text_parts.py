"""Finds the text encoders of files and folders by content, and loads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import folder_header, folder_weights, read_json, said_class
from latentloom.nodes.families.header import Header, read_header
from latentloom.nodes.families.mistral import MistralPart, find_mistral, load_mistral
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.qwen import QwenPart, find_qwen, load_qwen
from latentloom.nodes.families.qwen_vision import find_tower, load_tower
from latentloom.nodes.families.stable_diffusion.building import build_encoder
from latentloom.nodes.families.stable_diffusion.parts import TextPart, find_text, find_vae
from latentloom.nodes.families.t5 import T5Part, find_t5, load_t5
from latentloom.nodes.families.unused import warn_unused
from latentloom.nodes.families.wan_vae import vae_prefix
from latentloom.nodes.text.clip_tokenizer import SIZE
from latentloom.nodes.text.encoder import Encoder
from latentloom.nodes.text.vision_tower import VisionTower

TITLES = {"l": "CLIP-L", "g": "CLIP-G", "h": "CLIP-H", "t5": "T5-XXL", "mistral3": "Mistral Small 3"}
TITLES |= {"qwen3": "Qwen3", "qwen3_vl": "Qwen3-VL", "qwen2_5_vl": "Qwen2.5-VL"}
TRANSFORMERS = ("model.diffusion_model.", "diffusion_model.")


@dataclass(frozen=True, slots=True)
class FoundText:
    """A text encoder of a file or folder."""

    part: TextPart | T5Part | QwenPart | MistralPart
    path: Path
    beside: Path | None = None  # the file of its vision tower, if that is another one

    @property
    def width(self) -> int:
        """The width of the hidden states."""
        return self.part.shape.width if isinstance(self.part, TextPart) else self.part.width

    @property
    def pooled(self) -> int:
        """The width of the pooled output; 0 without one."""
        return (self.part.shape.projection or self.part.shape.width) if isinstance(self.part, TextPart) else 0

    @property
    def title(self) -> str:
        """The title shown to people."""
        return TITLES[self.part.name] if isinstance(self.part, TextPart) else self.part.title

    def module(self) -> Any:
        """Load the network of a T5, a Qwen or a Mistral."""
        others = [prefix for prefix in prefixes(header_of(self.path)) if prefix != self.part.prefix]
        loaders: Any = {T5Part: load_t5, QwenPart: load_qwen, MistralPart: load_mistral}
        load = loaders[type(self.part)]
        return load(self.part, self.path, others)

    @property
    def sees(self) -> bool:
        """Whether a Qwen2.5-VL or Qwen3-VL has a vision tower, in its file or in another."""
        root = getattr(self.part, "root", None)
        if self.beside is not None or root is None:
            return self.beside is not None
        return find_tower(header_of(self.path).shapes, root) is not None

    def tower(self) -> VisionTower:
        """Load the vision tower of a Qwen2.5-VL or Qwen3-VL."""
        assert isinstance(self.part, QwenPart)
        path, root = (self.path, self.part.root) if self.beside is None else (self.beside, "")
        header = header_of(path)
        return load_tower(path, header.shapes, root, prefixes(header))

    def clip(self, rule: str) -> Encoder:
        """Load a CLIP with the settings of a Stable Diffusion family; see `build_encoder`."""
        from transformers import CLIPTextConfig

        assert isinstance(self.part, TextPart)
        if self.part.shape.vocabulary != SIZE:
            raise FileError(
                f"'{self.path.name}' has its own vocabulary",
                expected=f"CLIP's {SIZE} tokens",
                got=str(self.part.shape.vocabulary),
            )
        folder = self.path.is_dir()
        weights = folder_weights(self.path) if folder else Weights(self.path)
        config = CLIPTextConfig.from_dict(read_json(self.path / "config.json")) if folder else None
        made = build_encoder(self.part, rule, weights, config)
        warn_unused(weights, self.part.prefix, prefixes(header_of(self.path)))
        return made


def header_of(path: Path) -> Header:
    """Return the header of a file, or of all files of a folder."""
    return folder_header(path) if path.is_dir() else read_header(path)


def texts_in(paths: Sequence[Path], folders: Mapping[str, str] = {}) -> dict[str, FoundText]:
    """Find the text encoders of files and folders by name: "l", "g", "h", "t5", "umt5", "mistral3", or a Qwen's name.

    `folders` maps folder names to CLIP names. A file with a vision tower alone belongs to the Qwen of its kind. Raises
    FileError for two encoders of one name, and for a vision tower that fits none of them.
    """
    found: dict[str, FoundText] = {}
    for one in (FoundText(part, path) for path in paths for part in _parts(path, folders.get(path.name))):
        if one.part.name in found:
            names = f"'{found[one.part.name].path.name}' and '{one.path.name}'"
            raise FileError(f"{names} are the same text encoder", expected="different ones", got=f"{one.title} twice")
        found[one.part.name] = one
    for path in paths:
        tower = lone_tower(header_of(path))
        if tower is not None:
            found = _with_tower(found, path, *tower)
    return found


def lone_tower(header: Header) -> tuple[str, int] | None:
    """Return the title and the width of a vision tower in a file without a text encoder; None for another file."""
    found = find_tower(header.shapes, "")
    if found is None or find_qwen(header) is not None:
        return None
    prefix, kind = found
    return kind.title, header.shapes.get(prefix + kind.width, (0,))[0]


def _with_tower(found: Mapping[str, FoundText], path: Path, title: str, width: int) -> dict[str, FoundText]:
    """Return the text encoders, with the tower for that of its kind; a Qwen3 with the tower of a Qwen3-VL is one."""
    names = ("qwen3_vl", "qwen3") if title == "Qwen3-VL" else ("qwen2_5_vl",)
    name = next((name for name in names if name in found), None)
    if name is None or found[name].width != width:
        got = " and ".join(f"{one.title} ({one.width} wide)" for one in found.values()) or "no text encoder"
        raise FileError(
            f"'{path.name}' is a vision tower for another text encoder",
            expected=f"a {title} that is {width} wide",
            got=got,
            hint="connect the text encoder that it was made for to LoadCLIP, too",
        )
    part = found[name].part
    assert isinstance(part, QwenPart)
    one = replace(found[name], part=replace(part, deep=title == "Qwen3-VL"), beside=path)
    return {**{other: text for other, text in found.items() if other != name}, one.part.name: one}


def _parts(path: Path, name: Any) -> Iterator[TextPart | T5Part | QwenPart | MistralPart]:
    header = header_of(path)
    for part in find_text(header):
        yield _in_folder(part, name, path, header) if path.is_dir() and name else part
    for other in (find_t5(header.shapes), find_qwen(header), find_mistral(header.shapes)):
        if other is not None:
            yield other


def _in_folder(part: TextPart, name: Any, path: Path, header: Header) -> TextPart:
    """Name a CLIP by its folder. Its pooled output is projected if the class in the folder's configuration does so."""
    projects = said_class(path) == "CLIPTextModelWithProjection"
    projection = header.shapes.get("text_projection.weight", (0,))[0] if projects else 0
    return replace(part, name=name, shape=replace(part.shape, projection=projection))


def prefixes(header: Header) -> list[str]:
    """Return the name prefixes of a file's parts: its transformer, text encoders and VAE."""
    shapes = header.shapes
    vae, t5, qwen, wan = find_vae(header), find_t5(shapes), find_qwen(header), vae_prefix(shapes)
    parts = [part.prefix for part in (vae, t5, qwen, *find_text(header)) if part is not None]
    networks = [prefix for prefix in TRANSFORMERS if any(name.startswith(prefix) for name in shapes)]
    return [*networks, *parts, *([qwen.root] if qwen else []), *([wan] if wan else [])]
