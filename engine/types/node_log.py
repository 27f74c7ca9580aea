"""The log of nodes: a logger for each node type, also for nodes that run in another process."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

NODES = "latentloom.nodes"
MAX_TEXT = 20_000  # characters of a record that goes to another process


class NodeLog(logging.LoggerAdapter[logging.Logger]):
    """The log of one call of a node: the logger of its type, such as `latentloom.nodes.vignette.Vignette`.

    Its records have the attribute `fields`, {"node": id}, which the server's log shows.
    """

    def __init__(self, type: str, node: str) -> None:
        name = ".".join((NODES, *filter(None, type.split("/"))))
        super().__init__(logging.getLogger(name), {"fields": {"node": node}})


class _Sender(logging.Handler):
    """Sends records elsewhere, with their tracebacks."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record. A record that cannot be formatted is an error of the code that logged it: see `logging`."""
        try:
            fields = getattr(record, "fields", {})
            text = self.format(record)[:MAX_TEXT]
            self._send({"logger": record.name, "level": record.levelno, "message": text, "node": fields.get("node")})
        except Exception:
            self.handleError(record)


def send_on(level: int | str, send: Callable[[dict[str, Any]], None]) -> None:
    """Send what nodes log from a level on to another process, in place of this one's log."""
    logger = logging.getLogger(NODES)
    logger.setLevel(level)
    logger.propagate = False
    logger.handlers = [_Sender(send)]


def log_sent(sent: Mapping[str, Any]) -> None:
    """Log a record that another process sent."""
    extra = {"fields": {"node": sent["node"]}}
    logging.getLogger(sent["logger"]).log(sent["level"], "%s", sent["message"], extra=extra)
