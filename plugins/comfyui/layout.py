"""The layout: positions of nodes, groups and notes. The nodes of each subgraph are in a group below."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from latentloom.plugins.comfyui.drawn import Drawing, Part, numbers, objects
from latentloom.plugins.comfyui.report import Report, counted
from latentloom.plugins.comfyui.subgraphs import Scope

NOTES = frozenset({"Note", "MarkdownNote"})
WIDTH, HEIGHT = 240.0, 140.0  # default size of a node
GAP = 120.0
HEAD = 48.0  # space above the nodes of a group
MAX_TEXT = 20_000  # maximum characters of a note


@dataclass(slots=True)
class Layout:
    """Positions of nodes by their ids in the file, groups and notes."""

    places: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def record(self, ids: Mapping[str, str]) -> dict[str, Any]:
        """Return the layout of the document. `ids` maps the file's ids to the document's."""
        nodes = {ids[id]: place for id, place in self.places.items() if id in ids}
        return {"nodes": nodes, "groups": self.groups, "notes": self.notes}


def layout_of(root: Scope, nodes: Collection[str], report: Report) -> Layout:
    """Return the layout of a file. What a layout cannot represent is counted in the report."""
    layout, bottom = Layout(), 0.0
    coloured = cut = 0
    for scope in root.all():
        left, top, right, low = _bounds(scope.drawing)
        across, down = (0.0, 0.0) if scope is root else (-left, bottom + GAP + HEAD - top)
        for part in scope.drawing.parts.values():
            box = _box(part)
            place = {"x": box[0] + across, "y": box[1] + down}
            if part.type in NOTES:
                text = _text(part)
                cut += len(text) > MAX_TEXT
                size = {"width": box[2], "height": box[3]}
                layout.notes.append({"id": str(len(layout.notes) + 1), **place, **size, "text": text[:MAX_TEXT]})
            elif scope.path + part.id in nodes:
                if numbers(part.raw.get("pos"), 2):
                    layout.places[scope.path + part.id] = place | _folded(part)
                coloured += type(part.raw.get("color")) is str
        layout.groups += _groups(scope, across, down, len(layout.groups))
        if scope is not root:
            layout.groups.append(_frame(scope, left + across, top + down, right + across, low + down, layout))
        bottom = max(bottom, low + down)
    if coloured:
        report.note("", "lost", f"the colours of {counted(coloured, 'node')}")
    if cut:
        report.note("", "changed", f"{counted(cut, 'note')} cut to {MAX_TEXT} characters")
    return layout


def _bounds(drawing: Drawing) -> tuple[float, float, float, float]:
    boxes = [_box(part) for part in drawing.parts.values()] or [(0.0, 0.0, WIDTH, HEIGHT)]
    return (
        min(x for x, _, _, _ in boxes),
        min(y for _, y, _, _ in boxes),
        max(x + width for x, _, width, _ in boxes),
        max(y + height for _, y, _, height in boxes),
    )


def _box(part: Part) -> tuple[float, float, float, float]:
    x, y = numbers(part.raw.get("pos"), 2) or (0.0, 0.0)
    width, height = numbers(part.raw.get("size"), 2) or (WIDTH, HEIGHT)
    return x, y, width, height


def _folded(part: Part) -> dict[str, Any]:
    flags = part.raw.get("flags")
    return {"collapsed": True} if type(flags) is dict and flags.get("collapsed") is True else {}


def _text(part: Part) -> str:
    values = part.values
    first = values[0] if type(values) is list and values else values.get("text") if type(values) is dict else None
    text = first if type(first) is str else ""
    return f"{part.title}\n{text}" if part.title and part.title not in NOTES | {"Markdown Note"} else text


def _groups(scope: Scope, across: float, down: float, count: int) -> list[dict[str, Any]]:
    """Return the groups of a graph."""
    found: list[dict[str, Any]] = []
    for raw in objects(scope.drawing.raw.get("groups")):
        box = numbers(raw.get("bounding"), 4)
        if box is not None:
            group = _group(count + len(found), raw.get("title"), box[0] + across, box[1] + down, box[2], box[3])
            found.append(group | ({"colour": raw["color"]} if type(raw.get("color")) is str else {}))
    return found


def _frame(scope: Scope, left: float, top: float, right: float, low: float, layout: Layout) -> dict[str, Any]:
    """Return a group around the nodes of a subgraph."""
    instance = scope.instance
    name = scope.drawing.raw.get("name") or (instance.title or instance.type if instance else "")
    box = left - GAP / 4, top - HEAD, right - left + GAP / 2, low - top + HEAD + GAP / 4
    return _group(len(layout.groups), name, *box)


def _group(count: int, title: Any, x: float, y: float, width: float, height: float) -> dict[str, Any]:
    title = title[:200] if type(title) is str else ""
    return {"id": str(count + 1), "title": title, "x": x, "y": y, "width": width, "height": height}
