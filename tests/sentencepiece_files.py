"""SentencePiece models for tests, written field by field."""

import json
import struct

from tokenizers import Tokenizer


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def spiece(tokenizer: Tokenizer) -> bytes:
    """A unigram's pieces as a SentencePiece model, with what a trainer writes beside them."""
    kinds = {"<unk>": 2, "<pad>": 3, "</s>": 3}
    found = b""
    for text, score in json.loads(tokenizer.to_str())["model"]["vocab"]:
        kind = varint(3 << 3) + varint(kinds[text]) if text in kinds else b""
        found += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + kind)
    return found + field(2, varint(4 << 3) + varint(300)) + field(3, field(1, b"identity"))
