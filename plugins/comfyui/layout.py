"""The layouts of a file and its subgraphs: positions of nodes, groups and notes."""

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


def layouts_of(root: Scope, nodes: Collection[str], kept: Collection[str], report: Report) -> dict[str, Layout]:
    """Return the layout of the file and those of the kept scopes, by path; "" is the file itself.

    The nodes of any other scope are in a group below those of the graph around it. What a layout cannot represent is
    counted in the report.
    """
    drawing = _Layouts(nodes, kept)
    for scope in root.all():
        drawing.add(scope)
    if drawing.coloured:
        report.note("", "lost", f"the colours of {counted(drawing.coloured, 'node')}")
    if drawing.cut:
        report.note("", "changed", f"{counted(drawing.cut, 'note')} cut to {MAX_TEXT} characters")
    return drawing.layouts


@dataclass(slots=True)
class _Layouts:
    _nodes: Collection[str]
    _kept: Collection[str]
    layouts: dict[str, Layout] = field(default_factory=dict)
    coloured: int = 0
    cut: int = 0
    _bottoms: dict[str, float] = field(default_factory=dict)

    def add(self, scope: Scope) -> None:
        """Add the nodes, groups and notes of a scope. The scopes around it come first."""
        home = self._home(scope)
        layout, bottom = self.layouts.setdefault(home, Layout()), self._bottoms.get(home, 0.0)
        left, top, right, low = _bounds(scope.drawing)
        across, down = (0.0, 0.0) if scope.path == home else (-left, bottom + GAP + HEAD - top)
        for part in scope.drawing.parts.values():
            self._place(layout, scope, part, across, down)
        layout.groups += _groups(scope, across, down, len(layout.groups))
        if scope.path != home:
            layout.groups.append(_frame(scope, left + across, top + down, right + across, low + down, layout))
        self._bottoms[home] = max(bottom, low + down)

    def _home(self, scope: Scope) -> str:
        """Return the path of the scope whose layout has the nodes of this one."""
        while scope.parent is not None and scope.path not in self._kept:
            scope = scope.parent
        return scope.path

    def _place(self, layout: Layout, scope: Scope, part: Part, across: float, down: float) -> None:
        id, box = scope.path + part.id, _box(part)
        place = {"x": box[0] + across, "y": box[1] + down}
        if part.type in NOTES:
            text = _text(part)
            self.cut += len(text) > MAX_TEXT
            size = {"width": box[2], "height": box[3]}
            layout.notes.append({"id": str(len(layout.notes) + 1), **place, **size, "text": text[:MAX_TEXT]})
        elif id in self._nodes or f"{id}:" in self._kept:
            if numbers(part.raw.get("pos"), 2):
                layout.places[id] = place | _folded(part)
            self.coloured += type(part.raw.get("color")) is str


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
