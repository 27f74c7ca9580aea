"""`loom nodes`: prints the installed node types from their specs, without an import of their code."""

from collections.abc import Mapping

from latentloom.cli.input_values import bounds, metavar
from latentloom.cli.session import opened
from latentloom.cli.table import print_lines, print_table
from latentloom.engine.errors import UnknownError, nearest
from latentloom.engine.types.registry import NodeType
from latentloom.engine.types.spec import InputSpec, OutputSpec


def list_nodes(category: str | None) -> int:
    """Print a table of node types. Raises UnknownError for a category without nodes."""
    with opened() as session:
        found = session.engine.registry.nodes
    categories = {item.spec.category for item in found.values()}
    if category is not None and category not in categories:
        raise UnknownError(
            f"there is no category '{category}'",
            expected=", ".join(sorted(categories)),
            nearest=nearest(category, categories),
        )
    wanted = [item for item in found.values() if category in (None, item.spec.category)]
    print_table(("type", "category", "help", "from"), [_row(item) for item in sorted(wanted, key=_order)])
    return 0


def _order(item: NodeType) -> tuple[str, str]:
    return item.spec.category, item.spec.type


def _row(item: NodeType) -> tuple[str, str, str, str]:
    spec = item.spec
    told = f"deprecated: {spec.deprecated}" if spec.deprecated else spec.help.partition("\n")[0]
    return spec.type, spec.category, told, str(item.distribution)


def show_node(name: str) -> int:
    """Print all details of a node type. Raises UnknownError with the nearest name."""
    with opened() as session:
        registry = session.engine.registry
    item = registry.nodes.get(name)
    if item is None:
        raise UnknownError(f"there is no node type '{name}'", nearest=_closest(name, registry.nodes))
    spec = item.spec
    deprecated = [f"deprecated: {spec.deprecated}"] if spec.deprecated else []
    head = f"{spec.type}, version {spec.version}, {spec.purity}, from {item.distribution}"
    print_lines([head, *deprecated, "", spec.help, ""])
    print_table(("input", "kind", "default", "range", "help"), [_input(port) for port in spec.inputs])
    print_lines([""])
    print_table(("output", "kind"), [(port.name, _kind(port)) for port in spec.outputs])
    return 0


def _closest(name: str, known: Mapping[str, NodeType]) -> str | None:
    """Return the node type with that alias or display name, or else the one with the most similar name."""
    for type, item in known.items():
        if name.lower() in (word.lower() for word in (item.spec.display_name, *item.spec.aliases)):
            return type
    return nearest(name, known)


def _kind(port: OutputSpec) -> str:
    return f"list of {port.kind}" if port.is_list else port.kind


def _input(port: InputSpec) -> tuple[str, str, str, str, str]:
    kind = metavar(port) if port.kind == "CHOICE" and port.choices else port.kind
    kind = f"list of {port.kind}" if port.is_list else f"lazy {kind}" if port.lazy else kind
    default = "needed" if port.required and not port.lazy else repr(port.default)
    return port.name, kind, default, bounds(port) or (port.source or ""), port.help
