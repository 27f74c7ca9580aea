"""Draws a workflow as SVG: nodes in columns from their sources to the right, edges as curves."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from html import escape

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 170, 40, 60, 18, 12
MOST = 400  # nodes of a drawing
LETTERS = 24
_STYLE = (
    "<style>rect{fill:#f4f5f7;stroke:#8a93a5}.out{stroke:#2563eb;stroke-width:2}path{fill:none;stroke:#8a93a5}"
    "text{font:12px system-ui,sans-serif;fill:#1f2937}.type{font-size:10px;fill:#6b7280}</style>"
)


def svg(nodes: Mapping[str, tuple[str, str]], edges: Sequence[tuple[str, str]], outputs: Collection[str]) -> str:
    """Return the drawing of nodes (id: name and type) and edges (ids of source and target).

    The nodes that named outputs come from have a blue border.
    """
    edges = [(source, target) for source, target in edges if {source, target} <= nodes.keys()]
    places = _places(nodes, edges)
    width = max((x for x, _ in places.values()), default=0) + WIDTH + MARGIN
    height = max((y for _, y in places.values()), default=0) + HEIGHT + MARGIN
    parts = [_curve(places[source], places[target]) for source, target in edges if {source, target} <= places.keys()]
    parts += [_box(*nodes[id], place, wanted=id in outputs) for id, place in places.items()]
    left = len(nodes) - len(places)
    if left:
        parts.append(f'<text x="{MARGIN}" y="{height + 12}">and {left} more nodes</text>')
        height += 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"{_STYLE}{''.join(parts)}</svg>"
    )


def _places(nodes: Collection[str], edges: Sequence[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Return the top left corner of each node, up to MOST of them."""
    columns: dict[int, list[str]] = defaultdict(list)
    for id, column in list(_columns(nodes, edges).items())[:MOST]:
        columns[column].append(id)
    return {
        id: (MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
        for column, ids in columns.items()
        for row, id in enumerate(ids)
    }


def _columns(nodes: Collection[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the length of the longest way to each node; nodes on a cycle are behind all others."""
    needs = {id: set[str]() for id in nodes}
    for source, target in edges:
        needs[target].add(source)
    found: dict[str, int] = {}
    column = 0
    while ready := [id for id in needs if id not in found and needs[id] <= found.keys()]:
        found |= dict.fromkeys(ready, column)
        column += 1
    return {**found, **{id: column for id in needs if id not in found}}


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = (start[0] + WIDTH, start[1] + HEIGHT // 2), (end[0], end[1] + HEIGHT // 2)
    bend = max(GAP_X // 2, (x2 - x1) // 2)
    return f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'


def _box(name: str, type: str, place: tuple[int, int], *, wanted: bool) -> str:
    x, y = place
    mark = ' class="out"' if wanted else ""
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"{mark}/>'
        f'<text x="{x + 8}" y="{y + 17}">{_cut(name)}</text>'
        f'<text x="{x + 8}" y="{y + 32}" class="type">{_cut(type)}</text>'
    )


def _cut(text: str) -> str:
    return escape(text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}\u2026")
