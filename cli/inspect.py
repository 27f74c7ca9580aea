"""`loom inspect`: shows what a picture file says about its origin, and whether it is as it was saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.cli.errors import print_json
from latentloom.cli.table import print_table, size_text
from latentloom.engine.document.reading import read
from latentloom.engine.errors import LoomError, MissingFileError
from latentloom.engine.files.checksums import is_intact
from latentloom.engine.files.labels import COMPOSITE, GENERATED, Label, label_in
from latentloom.engine.files.pictures import (
    RECORD_CHUNK,
    WORKFLOW_CHUNK,
    XMP_CHUNK,
    making_in,
    read_making,
    read_picture,
)

if TYPE_CHECKING:
    from PIL import Image as Pil

ORIGINS = {
    GENERATED: "made by a generative model",
    COMPOSITE: "made by a generative model and from other pictures",
    None: "unknown: the file does not say",
}
CERTAINTY = {"1": "generated", "2": "possibly generated", "3": "suspected to be generated"}
INTACT = {
    True: "yes: the file is as it was saved",
    False: "no: the file was changed after it was saved",
    None: "unknown: the file contains no checksum",
}
CREDENTIALS = (b"caBX", b"c2pa")  # the PNG chunk, and the label of a JUMBF box, of C2PA 2.1
OWN = (WORKFLOW_CHUNK, RECORD_CHUNK, XMP_CHUNK, "xmp", "exif", "icc_profile")


def inspect(path: Path, *, as_json: bool) -> int:
    """Print what a picture says. Raises MissingFileError, or FileError for a file that is no picture."""
    if not path.is_file():
        raise MissingFileError(f"there is no picture '{path}'")
    data, picture = path.read_bytes(), read_picture(path)
    label = label_in(picture)
    facts = {
        "file": path.name,
        "bytes": len(data),
        "width": picture.width,
        "height": picture.height,
        "origin": label.origin,
        "source_type": label.source_type or None,
        "tool": label.tool or None,
        "aigc": dict(label.aigc) or None,
        "credentials": any(mark in data for mark in CREDENTIALS),
        "intact": is_intact(data),
        **_making(path, making_in(picture)),
        "other": _others(picture),
    }
    if as_json:
        print_json(facts)
    else:
        print_table((path.name, ""), [(title, text) for title, text in _rows(facts, label) if text])
    return 0


def _making(path: Path, texts: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what is embedded of the workflow and the record, or why it cannot be read."""
    if WORKFLOW_CHUNK not in texts:
        return {"workflow": None, "record": None}
    try:
        workflow, record = read_making(path)
        made = read(workflow)
    except LoomError as error:
        return {"workflow": {"problem": error.problem.message}, "record": None}
    types = [node.type for node in made.nodes.values()]
    return {"workflow": {"name": made.name, "nodes": types}, "record": record}


def _others(picture: "Pil.Image") -> dict[str, str]:
    """Return the texts that other programs wrote, by name."""
    return {str(name): text for name, text in picture.info.items() if name not in OWN and isinstance(text, str)}


def _rows(facts: Mapping[str, Any], label: Label) -> list[tuple[str, str]]:
    workflow, record = facts["workflow"] or {}, facts["record"] or {}
    models = (f"{name} ({sha256[:12]})" for name, sha256 in dict(record.get("models") or {}).items())
    certainty = label.aigc.get("Label", "")
    nodes = workflow.get("nodes", [])
    return [
        ("size", f"{facts['width']}x{facts['height']}, {size_text(facts['bytes'])}"),
        ("origin", ORIGINS[label.origin] if label.origin or not label.source_type else ""),
        ("digital source type", label.source_type),
        ("GB 45438", f"{CERTAINTY.get(certainty, certainty)}, by {label.aigc.get('ContentProducer') or 'unknown'}")
        if label.aigc
        else ("GB 45438", ""),
        ("written by", label.tool),
        ("intact", INTACT[facts["intact"]]),
        ("credentials", "C2PA, which is not checked here" if facts["credentials"] else ""),
        ("workflow", workflow.get("problem") or f"'{workflow['name'] or 'unnamed'}', {len(nodes)} nodes")
        if workflow
        else ("workflow", "none"),
        ("label", "left out with --no-label" if record.get("label") == "left out" else ""),
        ("seed", str(record["seed"]) if record.get("seed") is not None else ""),
        ("models", ", ".join(models)),
        ("versions", ", ".join(f"{name} {record[name]}" for name in ("latentloom", "torch") if name in record)),
        ("computed on", ", ".join(str(record[name]) for name in ("device", "dtype") if name in record)),
        ("other texts", ", ".join(f"{name} ({len(text)} characters)" for name, text in facts["other"].items())),
    ]
