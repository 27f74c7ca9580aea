"""Byte-pair encodings that are given by the rank of each token, as models of the tokenizers library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_LETTERS = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + n) for n, byte in enumerate(byte for byte in range(256) if byte not in _PRINTABLE)
}


def byte_pairs(ranks: Mapping[bytes, int], special: Mapping[str, int], first: int = 0) -> Tokenizer:
    """Return the tokenizer of tokens by their bytes, without a splitting into words.

    The id of a token is its rank + `first`. `special` are tokens with ids of their own.
    """
    from tokenizers import Tokenizer, models

    named = {token: _named(token) for token in ranks}
    ids = {**special, **{named[token]: rank + first for token, rank in ranks.items()}}
    return Tokenizer(models.BPE(ids, [(named[a], named[b]) for a, b in _merges(ranks)]))


def split_words(tokenizer: Tokenizer, pattern: str) -> None:
    """Let a tokenizer of bytes split a text into words by a regular expression."""
    from tokenizers import Regex, decoders, pre_tokenizers

    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()


def _named(token: bytes) -> str:
    """Return the name of a token: a printable letter for each byte, those of GPT-2 (Radford et al. 2019)."""
    return "".join(_LETTERS[byte] for byte in token)


def _merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Return the pairs that make each token, by the token's rank, and for one token by the ranks of its parts."""
    found = []
    for token in sorted(ranks, key=ranks.__getitem__):
        pairs = ((token[:n], token[n:]) for n in range(1, len(token)))
        found += sorted((p for p in pairs if p[0] in ranks and p[1] in ranks), key=lambda p: (ranks[p[0]], ranks[p[1]]))
    return found
