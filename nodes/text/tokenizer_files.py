"""Finds a text encoder's tokenizer: beside its weights or in the ComfyUI that contains them, never on a network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from latentloom.engine.errors import FileError
from latentloom.nodes.text.qwen_tokenizer import qwen_rules
from latentloom.nodes.text.sentencepiece import unigram
from latentloom.nodes.text.tekken import tekken

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE, SPIECE, TEKKEN = "tokenizer.json", "spiece.model", "tekken.json"
BPE_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
_MODEL = re.compile(rb'"type"\s*:\s*"(BPE|Unigram|WordPiece|WordLevel)"')


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The files of a text encoder's tokenizer: the `folders` that may contain them, and the tokenizer's kind.

    The kind distinguishes it from the tokenizer of another encoder in the same folder.
    """

    kind: Literal["BPE", "Unigram"]
    folders: tuple[str, ...]
    tekken: bool = False  # whether it may be Mistral's tekken.json

    @property
    def layouts(self) -> tuple[tuple[str, ...], ...]:
        """The alternative sets of file names; a tokenizer needs all files of one set."""
        return (*([(TEKKEN,)] if self.tekken else []), (FILE,), BPE_FILES if self.kind == "BPE" else (SPIECE,))

    def find(self, weights: Path) -> Path | None:
        """Return the folder of the tokenizer for a file or folder of weights, or None.

        Searched are the `folders` in the weights' folder and in its parent, the weights' folder itself, and ComfyUI's
        own files if the weights are below its `models` folder.
        """
        return next((place for place in self._places(weights) if self.files(place)), None)

    def files(self, folder: Path) -> tuple[Path, ...]:
        """Return the files of a tokenizer of this kind in a folder; empty if there is none."""
        layouts = (tuple(folder / name for name in names) for names in self.layouts)
        return next((files for files in layouts if all(file.is_file() for file in files) and self._fit(files)), ())

    def digest(self, weights: Path) -> str:
        """Return a hash of the tokenizer's files, or "" if the weights have no tokenizer."""
        folder = self.find(weights)
        return "" if folder is None else sha256(b"".join(f.read_bytes() for f in self.files(folder))).hexdigest()

    def load(self, weights: Path) -> Tokenizer:
        """Load the tokenizer for weights, without padding and truncation.

        Raises FileError if there is none or it cannot be read.
        """
        folder = self.find(weights)
        if folder is None:
            raise self.missing(weights)
        try:
            made = _loaded(self.files(folder))
        except Exception as error:  # the tokenizers library raises no narrower class
            raise FileError(f"'{folder.name}' contains no readable tokenizer", got=str(error)) from None
        made.no_padding()
        made.no_truncation()
        return made

    def missing(self, weights: Path) -> FileError:
        """Return the error for weights without a tokenizer, with the places where it may be."""
        files = ", or ".join(" and ".join(names) for names in self.layouts)
        folders = " or ".join(f"'{name}'" for name in self.folders)
        return FileError(
            f"'{weights.name}' has no tokenizer",
            expected=f"{files}, in the folder of the file, in a folder {folders} next to it, or in the ComfyUI "
            "installation that contains it",
            got="none of them",
        )

    def _fit(self, files: Sequence[Path]) -> bool:
        """Whether files are of this kind. A file that does not name its kind is accepted; loading it may fail."""
        if files[0].name != FILE:
            return True
        said = _MODEL.search(files[0].read_bytes())
        return said is None or said[1].decode() == self.kind

    def _places(self, weights: Path) -> Iterator[Path]:
        here = weights if weights.is_dir() else weights.parent
        yield from (base / name for base in (here, here.parent) for name in self.folders)
        yield here
        for parent in here.parents:
            if parent.name == "models":
                yield from (parent.parent / "comfy" / "text_encoders" / name for name in self.folders)


def _loaded(files: Sequence[Path]) -> Tokenizer:
    from tokenizers import Tokenizer

    if files[0].name in (SPIECE, TEKKEN):
        return (unigram if files[0].name == SPIECE else tekken)(files[0].read_bytes())
    return Tokenizer.from_file(str(files[0])) if len(files) == 1 else _byte_level_bpe(*files)


def _byte_level_bpe(vocabulary: Path, merges: Path, config: Path) -> Tokenizer:
    """Build Qwen's tokenizer from files in GPT-2's layout (Radford et al. 2019), with the word splitting of Qwen2."""
    import json

    from tokenizers import AddedToken, Tokenizer, models

    made = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    qwen_rules(made)
    added = json.loads(config.read_text(encoding="utf-8")).get("added_tokens_decoder", {})
    for _, token in sorted(added.items(), key=lambda pair: int(pair[0])):
        made.add_special_tokens([AddedToken(token["content"], special=bool(token.get("special")), normalized=False)])
    return made
