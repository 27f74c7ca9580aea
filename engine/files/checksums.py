"""Checksums inside of files: a file contains the sha256 that it has with zeros in the checksum's place.

An id in a file comes from its content, too, so that the same picture is the same file. Checksums detect accidents and
changes by other programs, in pixels and metadata alike. They are no signature: whoever changes a file on purpose can
compute a new one.
"""

import hashlib
import re
import struct
import zlib

from latentloom.engine.files.deep_colour import SIGNATURE

MARK = b'latentloom:Checksum="'  # the quotation mark is escaped in JSON, so no embedded workflow contains this
ZEROS = b"0" * 64
PLACE = MARK + ZEROS
ID_MARK = b'"ProduceID":"'
ID_PLACE = b"latentloom:id:000000000000000000"  # for 32 hexadecimal digits
_FOUND = re.compile(re.escape(MARK) + rb"([0-9a-f]{64})\"")


def sealed(data: bytes) -> bytes:
    """Return a file with its id and its checksum in the places for them; unchanged if it has none."""
    identity = hashlib.sha256(data).hexdigest()[: len(ID_PLACE)].encode()
    data = _filled(data, ID_MARK + ID_PLACE, len(ID_MARK), identity)
    return _filled(data, PLACE, len(MARK), hashlib.sha256(data).hexdigest().encode())


def is_intact(data: bytes) -> bool | None:
    """Whether a file is as it was sealed; None if it contains no checksum."""
    found = _FOUND.search(data)
    if found is None:
        return None
    return hashlib.sha256(_placed(data, found.start(1), ZEROS)).hexdigest().encode() == found[1]


def _filled(data: bytes, place: bytes, offset: int, text: bytes) -> bytes:
    at = data.find(place)
    return data if at < 0 else _placed(data, at + offset, text)


def _placed(data: bytes, at: int, checksum: bytes) -> bytes:
    """Return a file with a checksum at an offset. In a PNG, the CRC of the chunk around it is computed again."""
    made = bytearray(data)
    made[at : at + len(checksum)] = checksum
    chunk = _chunk_around(data, at)
    if chunk is not None:
        begin, end = chunk
        made[end : end + 4] = struct.pack(">I", zlib.crc32(made[begin:end]))
    return bytes(made)


def _chunk_around(data: bytes, at: int) -> tuple[int, int] | None:
    """Return the bounds of kind and content of the PNG chunk around an offset; None if there is none."""
    begin = len(SIGNATURE) + 4
    while data.startswith(SIGNATURE) and begin + 4 <= len(data):
        end = begin + 4 + int.from_bytes(data[begin - 4 : begin], "big")
        if at < end:
            return (begin, end) if end + 4 <= len(data) else None
        begin = end + 8
    return None
