"""What a model file says about itself: title, author, licence and trigger words."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER = 64 * 2**20  # bytes
MAX_README = 2**20  # bytes
MOST_WORDS = 8
README = "README.md"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The texts of a model. Empty where the file does not say."""

    title: str = ""
    author: str = ""
    licence: str = ""
    trigger_words: str = ""


def model_card(path: Path) -> ModelCard:
    """Return what a safetensors file says in its header, or a folder in the front matter of its README.

    The fields of the header are those of modelspec 1.0; kohya's tag counts stand in for missing trigger words.
    """
    if path.is_dir():
        front = _front_matter(path / README)
        return ModelCard(_plain(front, "title"), _plain(front, "author"), _plain(front, "license"))
    said = _metadata(path)
    words = _plain(said, "modelspec.trigger_phrase") or ", ".join(_tags(said.get("ss_tag_frequency")))
    title, author, licence = (_plain(said, f"modelspec.{name}") for name in ("title", "author", "license"))
    return ModelCard(title, author, licence, words)


def _metadata(path: Path) -> Mapping[str, Any]:
    """Return the texts in the header of a safetensors file; none if it has no such header."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= MAX_HEADER else {}
    except (OSError, ValueError, RecursionError):
        return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def _tags(text: Any) -> Iterable[str]:
    """Return the most frequent tags of a training, from kohya's counts by folder."""
    try:
        folders = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return []
    counts = Counter[str]()
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            counts[tag.strip()] += count if isinstance(count, int) else 0
    return [tag for tag, _ in counts.most_common(MOST_WORDS)]


def _front_matter(path: Path) -> Mapping[str, str]:
    """Return the plain lines `name: value` between the first two lines of three dashes."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head, *rest = file.read(MAX_README).split("\n---", 1)
    except OSError:
        return {}
    if not rest or not head.startswith("---"):
        return {}
    pairs = (line.partition(":") for line in head.splitlines() if not line.startswith((" ", "-", "#")))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _plain(said: Mapping[str, Any], name: str) -> str:
    text = said.get(name)
    return " ".join(text.split())[:500] if isinstance(text, str) else ""
