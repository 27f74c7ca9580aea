"""`loom plugins`: prints the status of each plugin."""

from latentloom.api import Session
from latentloom.cli.errors import say
from latentloom.cli.table import print_lines, print_table
from latentloom.engine.errors import UnknownError, nearest
from latentloom.engine.settings import load_settings
from latentloom.plugins.comfyui.bridge.packs import Pack, found_in, packs_of
from latentloom.plugins.discovery import PACK, Record
from latentloom.plugins.isolation.isolating import isolated_names, write_isolated
from latentloom.plugins.snapshots import Snapshots


def plugins(trace: str | None, *, again: bool = False) -> int:
    """Print the status of all plugins, or the traceback of one. Raises UnknownError.

    With `again`, those that failed are inspected again.
    """
    if again:
        Snapshots(load_settings().data / "specs").forget_failures()
    with Session(on_wait=say) as session:
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


def list_pack(name: str) -> int:
    """Print the classes of a pack: the node type of each, or why it does not run. Raises UnknownError."""
    settings = load_settings()
    where = packs_of(settings)
    found = (
        {} if where is None else {pack.name: pack for pack in found_in(where, imports=True) if isinstance(pack, Pack)}
    )
    if name not in found:
        raise UnknownError(
            f"there is no pack '{name}'",
            nearest=nearest(name, found),
            hint="the setting comfy_packs names the folder of packs" if where is None else None,
        )
    pack = found[name]
    if pack.registration is None:
        print_lines([f"the pack '{name}' cannot be imported: {pack.error}"])
        return 0
    rows = [(node.spec.type.partition("/")[2], node.spec.type, "") for node in pack.registration.nodes]
    rows += [(name, "does not run", reason) for name, reason in pack.reasons.items()]
    print_table(("class", "node type", "reason"), sorted(rows))
    return 0


def isolate(name: str, *, off: bool) -> int:
    """Let a plugin's nodes run in a process of their own, or no longer. Raises UnknownError."""
    data = load_settings().data
    with Session(on_wait=say, inspect="none") as session:
        names = {record.plugin for record in session.plugins if not record.ships and record.distribution != PACK}
    if name not in names:
        raise UnknownError(f"there is no plugin '{name}' to isolate", nearest=nearest(name, names))
    known = isolated_names(data)
    write_isolated(data, known - {name} if off else known | {name})
    where = "with the other plugins" if off else "in a process of its own"
    print_lines([f"from the next start on, '{name}' runs {where}"])
    return 0


def _row(record: Record) -> tuple[str, ...]:
    seconds = f"{record.seconds:.3f}"
    count = str(record.nodes)
    return (
        record.plugin,
        record.distribution,
        f"{record.status}, isolated" if record.isolated else record.status,
        count,
        seconds,
        record.error or "",
        record.missing or "",
    )
