"""Where a text encoder's tokenizer is: beside its weights, or in a ComfyUI that they lie in. Never on a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from latentloom.engine.errors import FileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
BPE_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")


def find_tokenizer(weights: Path, folders: Sequence[str]) -> Path | None:
    """The folder of the tokenizer of a file or folder of weights; `folders` are its names.

    It is looked for in the folder of the weights, in one of `folders` beside it, and in ComfyUI's own files where the
    weights lie below its `models`.
    """
    return next((place for place in _places(weights, folders) if tokenizer_files(place)), None)


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """The files that make a tokenizer in a folder: tokenizer.json, or a BPE's vocabulary, merges and added tokens."""
    whole, parts = (folder / FILE,), tuple(folder / name for name in BPE_FILES)
    return next((files for files in (whole, parts) if all(file.is_file() for file in files)), ())


def _places(weights: Path, folders: Sequence[str]) -> Iterator[Path]:
    here = weights if weights.is_dir() else weights.parent
    yield here
    yield from (base / name for base in (here, here.parent) for name in folders)
    for parent in here.parents:
        if parent.name == "models":
            yield from (parent.parent / "comfy" / "text_encoders" / name for name in folders)


def tokenizer_digest(folder: Path) -> str:
    """What identifies a tokenizer: a hash of its files."""
    return sha256(b"".join(file.read_bytes() for file in tokenizer_files(folder))).hexdigest()


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder. Raises FileError for files that are none."""
    from tokenizers import Tokenizer

    files = tokenizer_files(folder)
    try:
        return Tokenizer.from_file(str(files[0])) if len(files) == 1 else _byte_level_bpe(*files)
    except Exception as error:  # tokenizers raises nothing more exact
        raise FileError(f"'{folder.name}' holds no tokenizer that can be read", got=str(error)) from None


def _byte_level_bpe(vocabulary: Path, merges: Path, config: Path) -> Tokenizer:
    """Qwen's tokenizer from the files of GPT-2's layout (Radford et al. 2019; Qwen2's splitting of words)."""
    import json

    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    made = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    made.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    added = json.loads(config.read_text(encoding="utf-8")).get("added_tokens_decoder", {})
    for _, token in sorted(added.items(), key=lambda pair: int(pair[0])):
        made.add_special_tokens([AddedToken(token["content"], special=bool(token.get("special")), normalized=False)])
    return made


QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
