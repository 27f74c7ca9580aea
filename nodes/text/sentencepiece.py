"""SentencePiece's unigram models (Kudo & Richardson 2018) as tokenizers of the tokenizers library.

A `spiece.model` is a protobuf message. This module reads only the fields that the tokenization depends on, so neither
protobuf nor sentencepiece is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PIECES, NORMALIZER = 1, 3  # fields of the message: its pieces and its normalizer
TEXT, SCORE, KIND = 1, 2, 3  # fields of a piece
CHARACTERS = 2  # field of the normalizer: its table of characters
PLAIN, UNKNOWN, BYTE = 1, 2, 6  # kinds of pieces
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # wire types of protobuf
SPACE = "\u2581"


def unigram(model: bytes) -> Tokenizer:
    """Return the tokenizer of a `spiece.model`. Raises ValueError for bytes that are not a SentencePiece model."""
    return unigram_of(*_read(model))


def unigram_of(pieces: Sequence[tuple[str, float, int]], table: bytes) -> Tokenizer:
    """Return the tokenizer of pieces (text, score, kind) and the normalizer's table of characters.

    Raises ValueError if no piece stands for unknown characters.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    kinds = [kind for _, _, kind in pieces]
    scored = [(text, score) for text, score, _ in pieces]
    made = Tokenizer(models.Unigram(scored, unk_id=kinds.index(UNKNOWN), byte_fallback=BYTE in kinds))
    spaces = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    made.normalizer = normalizers.Sequence([*([normalizers.Precompiled(table)] if table else []), *spaces])
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    made.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    return made


def _read(model: bytes) -> tuple[list[tuple[str, float, int]], bytes]:
    """Return text, score and kind of each piece, and the normalizer's table."""
    pieces, table = [], b""
    try:
        for field, value in _fields(model):
            if field == PIECES:
                found = dict(_fields(value))
                score = struct.unpack("<f", found.get(SCORE, bytes(4)))[0]
                pieces.append((found[TEXT].decode(), score, found.get(KIND, PLAIN)))
            elif field == NORMALIZER:
                table = dict(_fields(value)).get(CHARACTERS, b"")
    except (IndexError, KeyError, TypeError, AttributeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"no SentencePiece model: {error}") from None
    if not any(kind == UNKNOWN for _, _, kind in pieces):
        raise ValueError("no SentencePiece model: it has no piece for unknown characters")
    return pieces, table


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a protobuf message: number and value (bytes or an integer)."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        field, layout = key >> 3, key & 7
        if layout == VARINT:
            value, place = _varint(data, place)
            yield field, value
            continue
        if layout == BYTES:
            length, place = _varint(data, place)
        else:
            length = {EIGHT_BYTES: 8, FOUR_BYTES: 4}[layout]
        if place + length > len(data):
            raise IndexError("it ends early")
        yield field, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a varint (seven bits per byte); return its value and the position after it."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
