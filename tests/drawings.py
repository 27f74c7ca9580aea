"""Small pictures, and workflows of nodes that need no model, for tests."""

from pathlib import Path
from typing import Any

import numpy as np

from latentloom.api import Session
from latentloom.engine import Image, Seed, node
from latentloom.engine.files.pictures import encode_png


def noise(batch: int = 1, height: int = 6, width: int = 8, channels: int = 3, seed: int = 0) -> Image:
    """Noise that a PNG file holds exactly."""
    levels = np.random.default_rng(seed).integers(0, 256, (batch, height, width, channels))
    return Image(levels.astype(np.float32) / np.float32(255))


def flat(colour: list[float], height: int = 4, width: int = 4) -> Image:
    """A picture of one colour."""
    return Image(np.broadcast_to(np.float32(colour), (1, height, width, len(colour))))


def edge(node: str, output: str = "image") -> dict[str, str]:
    """An edge, as the document has it."""
    return {"node": node, "output": output}


def workflow(nodes: dict[str, tuple[str, dict[str, Any]]], title: str = "test", **outputs: Any) -> dict[str, Any]:
    """A document with these nodes, and named outputs that come from edges."""
    return {
        "format": "latentloom/1",
        "name": title,
        "nodes": {id: {"type": type, "inputs": inputs} for id, (type, inputs) in nodes.items()},
        "outputs": [{"name": name, "from": source} for name, source in outputs.items()],
    }


def put(session: Session, name: str, image: Image | None = None) -> Path:
    """A picture in the session's input folder."""
    path = session.settings.input / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png((image or noise()).numpy()[0]))
    return path


def run_node(session: Session, type: str, inputs: dict[str, Any]) -> Image:
    """The picture that one node makes; its edges may come from "load", which reads cat.png."""
    nodes = {"load": ("LoadImage", {"image": "cat.png"}), "it": (type, inputs)}
    found: Image = session.run(workflow(nodes, result=edge("it")))["result"]
    return found


def names(folder: Path) -> list[str]:
    """The files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@node("Batch")
def batch_node(count: int, seed: Seed) -> Image:
    """Make a batch of noise."""
    return noise(count, seed=seed)
