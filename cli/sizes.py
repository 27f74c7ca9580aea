"""Parses sizes."""

import re

import typer

_SIZE = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,6})?) ?(?P<unit>[KMGT]?i?B?)\Z", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def size_of(text: str) -> int:
    """Return the bytes of a text such as "500MB" (10^6), "2GiB" (2^30) or "0". Raises BadParameter."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise typer.BadParameter(f"'{text}' is not a size; write 500MB, 2GiB or a number of bytes")
    unit = match["unit"].upper()
    base = 1024 if "I" in unit else 1000
    return int(float(match["number"]) * base ** _POWERS[unit.rstrip("B").rstrip("I")])
