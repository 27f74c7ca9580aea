"""Mistral's tokenizer files, "tekken": byte-pair encoding by ranks, as a tokenizer of the tokenizers library."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latentloom.nodes.text.byte_pairs import byte_pairs, split_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def tekken(model: bytes) -> Tokenizer:
    """Return the tokenizer of a tekken.json. Special tokens come first, then tokens by rank, up to the default size.

    Raises ValueError or KeyError for bytes that are no such file.
    """
    from tokenizers import AddedToken

    said = json.loads(model)
    special = sorted(said["special_tokens"], key=lambda token: token["rank"])
    ranks = _ranks(said, said["config"]["default_vocab_size"] - len(special))
    made = byte_pairs(ranks, {token["token_str"]: token["rank"] for token in special}, len(special))
    split_words(made, said["config"]["pattern"])
    made.add_special_tokens([AddedToken(token["token_str"], special=True, normalized=False) for token in special])
    return made


def _ranks(said: Mapping[str, Any], most: int) -> dict[bytes, int]:
    """Return the ranks of the first tokens by their bytes."""
    found = sorted((token["rank"], token["token_bytes"]) for token in said["vocab"] if token["rank"] < most)
    return {base64.b64decode(text): rank for rank, text in found}
