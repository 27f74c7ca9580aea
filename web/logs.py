"""The server's log: one line per event, as text or as JSON, with the same named fields in both."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from latentloom.engine.jobs.batches import Batch
from latentloom.engine.jobs.job import Job
from latentloom.engine.settings import Settings

_OWN = "fields"  # the attribute of a record that holds its fields


def fields(about: Job | Batch | None = None, /, **named: Any) -> dict[str, Any]:
    """Return the `extra` of a log call: named fields, after those of a job or batch."""
    if about is None:
        return {_OWN: named}
    kind = "job" if isinstance(about, Job) else "batch"
    return {_OWN: {kind: about.id, "owner": about.owner, "workflow": about.name, **named}}


class TextLines(logging.Formatter):
    """Formats a record as text, followed by `name=value` pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; values of several lines and a traceback follow on further lines."""
        head = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}"
        named = {
            name: f"{value:.3f}" if isinstance(value, float) else str(value) for name, value in _fields(record).items()
        }
        pairs = [f" {name}={_plain(text)}" for name, text in named.items() if "\n" not in text]
        rest = [f"\n{name}:\n{text}" for name, text in named.items() if "\n" in text]
        rest += [f"\n{self.formatException(record.exc_info)}"] if record.exc_info else []
        return "".join((head, *pairs, *rest))


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback is the field `exception`."""
        data = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        data |= {"message": record.getMessage(), **_fields(record)}
        if record.exc_info:
            data["exception"] = self.formatException(record.exc_info)
        return json.dumps(data, ensure_ascii=True, default=str)


def log_to_stderr(settings: Settings) -> None:
    """Log to stderr as the settings say. What libraries log from `warning` on has the same form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("latentloom").setLevel(settings.log_level.upper())


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(record, _OWN, {})
    return found


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(text: str) -> str:
    """Return a text without spaces, or in quotation marks, so that a line can be taken apart."""
    simple = text.isprintable() and text and not any(mark in text for mark in ' "=')
    return text if simple else json.dumps(text, ensure_ascii=True)
