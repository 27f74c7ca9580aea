"""Mistral's tokenizer files, "tekken": byte-pair encoding by ranks, as a tokenizer of the tokenizers library."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def tekken(model: bytes) -> Tokenizer:
    """Return the tokenizer of a tekken.json. Special tokens come first, then tokens by rank, up to the default size.

    Raises ValueError or KeyError for bytes that are no such file.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    said = json.loads(model)
    special = sorted(said["special_tokens"], key=lambda token: token["rank"])
    ranks = _ranks(said, said["config"]["default_vocab_size"] - len(special))
    named = {token: _named(token) for token in ranks}
    ids = {token["token_str"]: token["rank"] for token in special}
    ids |= {named[token]: rank + len(special) for token, rank in ranks.items()}
    made = Tokenizer(models.BPE(ids, [(named[a], named[b]) for a, b in _merges(ranks)]))
    split = pre_tokenizers.Split(Regex(said["config"]["pattern"]), behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token["token_str"], special=True, normalized=False) for token in special])
    return made


def _ranks(said: Mapping[str, Any], most: int) -> dict[bytes, int]:
    """Return the ranks of the first tokens by their bytes."""
    found = sorted((token["rank"], token["token_bytes"]) for token in said["vocab"] if token["rank"] < most)
    return {base64.b64decode(text): rank for rank, text in found}


def _named(token: bytes) -> str:
    """Return the name of a token: a printable letter for each byte, those of GPT-2 (Radford et al. 2019)."""
    return "".join(_LETTERS[byte] for byte in token)


def _merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Return the pairs that make each token, by the token's rank, and for one token by the ranks of its parts."""
    found = []
    for token in ranks:
        pairs = ((token[:n], token[n:]) for n in range(1, len(token)))
        found += sorted((p for p in pairs if p[0] in ranks and p[1] in ranks), key=lambda p: (ranks[p[0]], ranks[p[1]]))
    return found


_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_LETTERS = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + n) for n, byte in enumerate(byte for byte in range(256) if byte not in _PRINTABLE)
}
