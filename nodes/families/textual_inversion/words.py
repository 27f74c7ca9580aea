"""Embeddings in prompts.

`embedding:name` names an embedding in AUTOMATIC1111's and in ComfyUI's grammar. In AUTOMATIC1111's grammar the bare
name works too, unless it is a single token of the tokenizer ("cat"); then it remains a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from latentloom.engine.errors import BadValueError, FileError
from latentloom.engine.files.catalog import word
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.textual_inversion.kind import find_vectors
from latentloom.nodes.text.prompt_weights import Grammar, Section, Span

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = "models/embeddings"
_EXPLICIT = r"embedding:(?P<name>[^\s,()\[\]:]+)"
MOST_WARNINGS = 20  # of one kind per prompt
_PUNCTUATION = ".;!?'\""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Vectors that replace a name: [n, D] for each encoder."""

    name: str
    vectors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.vectors.values())))


class File(Protocol):
    """The file of an embedding."""

    path: Any  # text or Path


class Vocabulary(Protocol):
    """The required facts of a text encoder: its tokenizer, and the width of its token vectors by encoder."""

    tokenizer: Any
    widths: Mapping[str, int]


class Embeddings:
    """The embeddings that prompts for one text encoder may name."""

    def __init__(self, files: Mapping[str, File], grammar: Grammar, encoder: Vocabulary, clip: str) -> None:
        """`clip` is the text encoder's name in messages."""
        self.unknown: dict[str, None] = {}  # names without a file, in order
        self.broken: dict[str, str] = {}  # bare names that remain words, and the errors of their files
        self._files = files
        self._grammar = grammar if encoder.widths else "plain"  # only CLIP supports embeddings
        self._encoder = encoder
        self._clip = clip
        self._names = _forms(files)
        self._known: dict[str, Embedding] = {}
        self._pattern = re.compile("|".join([_EXPLICIT, *self._bare()]), re.IGNORECASE)

    def _bare(self) -> list[str]:
        """Return a pattern for each name that is not a single token, the longest first."""
        if self._grammar != "a1111":
            return []
        stems = {PurePosixPath(file).stem for file in self._files}
        split = self._encoder.tokenizer.tokenize
        return [word(stem) for stem in sorted(stems, key=len, reverse=True) if len(split(stem)) > 1]

    def read(self, path: Path, name: str) -> Mapping[str, Any]:
        """Read vectors [n, D] for each encoder, float32. Raises FileError if there are none or they are not finite."""
        import torch

        tensors, weights = tensors_of(path, name), Weights(path)
        found = {encoder: torch.atleast_2d(weights[tensor].float()) for encoder, tensor in tensors.items()}
        if not all(torch.isfinite(vectors).all() for vectors in found.values()):
            raise FileError(
                f"the embedding '{name}' contains numbers that are not finite",
                expected="finite numbers",
                got="NaN or infinity",
            )
        return found

    def __call__(self, sections: Sequence[Section]) -> tuple[Section, ...]:
        """Replace names of embeddings by spans with their vectors; unknown names are left out.

        Raises FileError if a file named with `embedding:` cannot be read, and BadValueError for an embedding that does
        not fit the text encoder.
        """
        if self._grammar == "plain":
            return tuple(sections)
        return tuple(tuple(part for span in section for part in self._split(span)) for section in sections)

    def _split(self, span: Span) -> Iterator[Span]:
        end = 0
        for match in self._pattern.finditer(span.text):
            yield replace(span, text=span.text[end : match.start()])
            name, end = match["name"] or match[0], match.end()
            if name.casefold() not in self._names:
                bare = name.rstrip(_PUNCTUATION)
                end -= len(name) - len(bare)
                name = bare
            file = self._names.get(name.casefold())
            if file is None:
                self.unknown[name] = None
            elif match["name"] is None:
                yield self._of_bare(span, name, file)
            else:
                yield replace(span, text=name, embedding=self._embedding(file))
        if end < len(span.text):
            yield replace(span, text=span.text[end:])

    def _of_bare(self, span: Span, name: str, file: str) -> Span:
        """Return the span of a bare name: an embedding, or the plain word if the file cannot be read."""
        try:
            return replace(span, text=name, embedding=self._embedding(file))
        except FileError as error:
            self.broken[name] = error.problem.message
            return replace(span, text=name)

    def _embedding(self, name: str) -> Embedding:
        if name not in self._known:
            self._known[name] = self._fitted(name, self.read(Path(self._files[name].path), name))
        return self._known[name]

    def _fitted(self, name: str, vectors: Mapping[str, Any]) -> Embedding:
        """Return an embedding with vectors of the right width for every encoder."""
        wanted = dict(self._encoder.widths)
        if "" in vectors and len(wanted) == 1:
            vectors = dict.fromkeys(wanted, vectors[""])
        got = {encoder: found.shape[1] for encoder, found in vectors.items()}
        if got != wanted:
            raise BadValueError(
                f"the embedding '{name}' does not fit the text encoder of '{self._clip}'",
                expected=f"vectors {_widths(wanted)}",
                got=f"vectors {_widths(got)}",
                hint="an embedding works only with the model family it was trained on: SD 1.x, SD 2.x or SDXL",
            )
        return Embedding(name, vectors)


def _widths(widths: Mapping[str, int]) -> str:
    return " and ".join(f"{width} wide{f' for {name!r}' if name else ''}" for name, width in sorted(widths.items()))


def _forms(files: Mapping[str, File]) -> dict[str, str]:
    """Map names to files: the path or its last part, with or without the suffix."""
    found: dict[str, str] = {}
    for part in ("name", "whole"):
        for name in sorted(files, reverse=True):  # if two files share a last part, the first wins
            path = PurePosixPath(name)
            path = PurePosixPath(path.name) if part == "name" else path
            found |= {str(path).casefold(): name, str(path.with_suffix("")).casefold(): name}
    return found


def tensors_of(path: Path, name: str) -> dict[str, str]:
    """Return the tensor name of each encoder in an embedding's file. Raises FileError for a different kind of file."""
    found = find_vectors(read_header(path))
    if found is None:
        raise FileError(
            f"'{name}' is not an embedding that Latentloom knows",
            expected="vectors in AUTOMATIC1111's or diffusers' layout",
            got="a different kind of file",
        )
    return found


def warn_unusable(ctx: Any, embeddings: Embeddings) -> None:
    """Warn of names without a file, and of files that cannot be read."""
    for name, message in islice(embeddings.broken.items(), MOST_WARNINGS):
        ctx.warn("unusable_embedding", f"{message}, so '{name}' is read as a word")
    for name in islice(embeddings.unknown, MOST_WARNINGS):
        alike = ctx.suggest(SOURCE, name)
        ctx.warn(
            "unknown_embedding",
            f"there is no embedding '{name}' in {SOURCE}, so it is left out of the prompt"
            + (f". Did you mean '{alike}'?" if alike else "; only safetensors files count"),
        )
    more = max(0, len(embeddings.unknown) - MOST_WARNINGS)
    if more:
        ctx.warn("unknown_embedding", f"{more} more embeddings that were not found are left out of the prompt")
