"""Documents and folders far from the usual: chains of bypassed nodes, and pictures saved into a full folder.

    python benchmarks/extremes_bench.py

Prints CPU seconds of validation, which grow with the document, and CPU milliseconds of saved files.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from latentloom.api import Session
from latentloom.engine.files.save import Saver
from latentloom.engine.settings import load_settings

CHAINS = (1_000, 2_000, 4_000)
FILES = 100_000
SAVED = 64


def bypassed(size: int) -> dict[str, Any]:
    """A picture behind a chain of bypassed nodes, and as many edges from its end."""
    nodes: dict[str, Any] = {"b0": {"type": "ColourImage", "inputs": {}}}
    for n in range(1, size + 1):
        edge = {"node": f"b{n - 1}", "output": "image"}
        nodes[f"b{n}"] = {"type": "InvertImage", "mode": "bypass", "inputs": {"image": edge}}
    end = {"node": f"b{size}", "output": "image"}
    nodes["batch"] = {"type": "JoinImages", "inputs": {"images": [end] * size}}
    outputs = [{"name": "o", "from": {"node": "batch", "output": "image"}}]
    return {"format": "latentloom/1", "name": "t", "nodes": nodes, "outputs": outputs}


def validation() -> None:
    with tempfile.TemporaryDirectory() as home, Session(load_settings({}, {"LATENTLOOM_HOME": home})) as session:
        for size in CHAINS:
            document = bypassed(size)
            begin = time.process_time()
            session.prepare(document)
            print(f"{size:,} bypassed nodes and edges: {time.process_time() - begin:.3f} s", flush=True)


def saving() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in range(1, FILES + 1):
            (folder / f"picture-{n:05d}.png").touch()
        saver, spent = Saver(folder), []
        for _ in range(SAVED):
            begin = time.process_time()
            saver.save(b"x", "{name}-{counter}", ".png", {"name": "picture"})
            spent.append((time.process_time() - begin) * 1000)
    mean, rest = statistics.mean(spent), statistics.median(spent)
    print(f"{SAVED} files beside {FILES:,}: {mean:.1f} ms each, {spent[0]:.0f} ms the first, {rest:.1f} ms the others")


def main() -> None:
    validation()
    saving()


if __name__ == "__main__":
    main()
