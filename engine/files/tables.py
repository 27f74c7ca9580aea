"""Tables in files: CSV with a header, or one JSON object a line."""

import csv
import io
import json
from typing import Any

from latentloom.engine.errors import BadValueError, brief

MAX_ROWS = 1_000_000
MAX_TABLE = 256 * 2**20  # bytes


def read_rows(data: bytes, name: str) -> list[dict[str, Any]]:
    """Return the rows of a CSV or JSONL file by column. Raises BadValueError for a file that cannot be read."""
    if len(data) > MAX_TABLE:
        raise BadValueError(f"'{name}' is too large", expected=f"at most {MAX_TABLE} bytes", got=str(len(data)))
    text = _decoded(data, name)
    found = _json_rows(text, name) if text.lstrip().startswith("{") else _csv_rows(text, name)
    if len(found) > MAX_ROWS:
        raise BadValueError(f"'{name}' has too many rows", expected=f"at most {MAX_ROWS}", got=str(len(found)))
    return found


def _decoded(data: bytes, name: str) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        expected = "UTF-8, or UTF-16 with a byte order mark"
        raise BadValueError(f"'{name}' is no text in a known encoding: {error}", expected=expected) from error


def _json_rows(text: str, name: str) -> list[dict[str, Any]]:
    rows = []
    for n, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadValueError(f"line {n} of '{name}' is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise BadValueError(f"line {n} of '{name}' is no object", got=brief(row))
        rows.append(row)
    return rows


def _csv_rows(text: str, name: str) -> list[dict[str, Any]]:
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise BadValueError(f"line {reader.line_num} of '{name}' is no CSV: {error}") from error
    names = [cell.strip() for cell in lines[0]] if lines else []
    doubled = {column for column in names if names.count(column) > 1}
    if doubled:
        raise BadValueError(f"'{name}' has columns of the same name", got=", ".join(sorted(doubled)))
    for n, line in enumerate(lines[1:], 2):
        if len(line) > len(names):
            got = f"{len(line)} values in row {n}"
            raise BadValueError(f"'{name}' has a row with more values than columns", expected=str(len(names)), got=got)
    return [dict(zip(names, line, strict=False)) for line in lines[1:]]
