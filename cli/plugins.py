"""`loom plugins`: prints the status of each plugin."""

from latentloom.api import Session
from latentloom.cli.table import print_lines, print_table
from latentloom.engine.errors import UnknownError, nearest
from latentloom.plugins.discovery import Record


def plugins(trace: str | None) -> int:
    """Print the status of all plugins, or the traceback of one. Raises UnknownError."""
    with Session() as session:
        records = {record.plugin: record for record in session.plugins}
    if trace is None:
        print_table(
            ("plugin", "distribution", "status", "nodes", "seconds", "error", "missing module"),
            [_row(record) for record in records.values()],
        )
        return 0
    if trace not in records:
        raise UnknownError(f"there is no plugin '{trace}'", nearest=nearest(trace, records))
    record = records[trace]
    print_lines([record.trace or record.error or f"the plugin '{trace}' has not failed: {record.status}"])
    return 0


def _row(record: Record) -> tuple[str, ...]:
    seconds = f"{record.seconds:.3f}"
    count = str(record.nodes)
    return (
        record.plugin,
        record.distribution,
        record.status,
        count,
        seconds,
        record.error or "",
        record.missing or "",
    )
