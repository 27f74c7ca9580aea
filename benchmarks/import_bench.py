"""What the import of a file of ComfyUI's editor costs.

    python benchmarks/import_bench.py [--nodes 500] [--repeat 20]

Prints medians of CPU seconds from the bytes of a JSON file to a workflow document: chains of samplers with positional
values, reroutes and named links, a tenth of them inside of subgraphs.
"""

import argparse
import json
import statistics
import time
from typing import Any

from latentloom.plugins.comfyui.importing import import_file

STEP = 5  # nodes of one pass: two texts, a sampler, a reroute and a note


def socket(name: str, type: str, link: int) -> dict[str, Any]:
    return {"name": name, "type": type, "link": link}


def node(id: int, type: str, values: list[Any], inputs: list[Any], *outputs: str) -> dict[str, Any]:
    made = [{"name": kind, "type": kind} for kind in outputs]
    return {
        "id": id, "type": type, "mode": 0, "pos": [id * 10.0, 20.0], "size": [300.0, 200.0], "widgets_values": values,
        "inputs": [socket(*item) for item in inputs], "outputs": made, "properties": {"Node name for S&R": type},
    }  # fmt: skip


def passes(count: int, first: tuple[int, int], latent: tuple[int, int], start: int) -> dict[str, Any]:
    """Samplers one behind the other; `first` is the loader and `latent` the latent, as a node and its output."""
    nodes: list[Any] = []
    links: list[Any] = []

    def link(source: tuple[int, int], target: int, slot: int, type: str) -> int:
        links.append([len(links) + 1, *source, target, slot, type])
        return len(links)

    for n in range(count):
        id = start + n * STEP
        clip = [link((first[0], first[1] + 1), id + k, 0, "CLIP") for k in range(2)]
        for k, word in enumerate(("a red circle", "")):
            nodes.append(node(id + k, "CLIPTextEncode", [word], [("clip", "CLIP", clip[k])], "CONDITIONING"))
        ends = [
            ("model", "MODEL", link(first, id + 2, 0, "MODEL")),
            ("positive", "CONDITIONING", link((id, 0), id + 2, 1, "CONDITIONING")),
            ("negative", "CONDITIONING", link((id + 1, 0), id + 2, 2, "CONDITIONING")),
            ("latent_image", "LATENT", link(latent, id + 2, 3, "LATENT")),
        ]
        values = [n, "randomize", 20, 8.0, "euler", "normal", 1.0]
        nodes.append(node(id + 2, "KSampler", values, ends, "LATENT"))
        nodes.append(node(id + 3, "Reroute", [], [("", "*", link((id + 2, 0), id + 3, 0, "*"))], "*"))
        nodes.append(node(id + 4, "Note", ["pass"], []))
        latent = id + 3, 0
    return {"nodes": nodes, "links": links, "last": latent}


def drawing(count: int) -> bytes:
    """A file with about that many nodes."""
    start = [node(1, "CheckpointLoaderSimple", ["a.safetensors"], [], "MODEL", "CLIP", "VAE")]
    start.append(node(2, "EmptyLatentImage", [512, 512, 1], [], "LATENT"))
    outer = passes(count * 9 // 10 // STEP, (1, 0), (2, 0), 10)
    inner = passes(count // 10 // STEP, (-10, 0), (-10, 2), 10)
    inner["links"].append([len(inner["links"]) + 1, *inner.pop("last"), -20, 0, "LATENT"])
    ports = [{"name": name, "type": name} for name in ("MODEL", "CLIP", "LATENT")]
    end = len(outer["links"])
    sources = [(1, 0), (1, 1), outer.pop("last")]
    outer["links"] += [
        [end + k, *source, 5, k - 1, port["type"]]
        for k, (source, port) in enumerate(zip(sources, ports, strict=True), 1)
    ]
    use = node(5, "inner", [], [(port["name"], port["type"], end + k) for k, port in enumerate(ports, 1)], "LATENT")
    subgraph = {**inner, "id": "inner", "name": "Inner", "inputs": ports, "outputs": ports[2:]}
    data = {**outer, "nodes": [*start, *outer["nodes"], use], "definitions": {"subgraphs": [subgraph]}, "version": 0.4}
    return json.dumps(data).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=20)
    args = parser.parse_args()
    data, found = drawing(args.nodes), []
    for _ in range(args.repeat):
        begin = time.process_time()
        made = import_file(data)
        found.append(time.process_time() - begin)
    document, report = made or ({"nodes": {}}, {"lines": []})
    print(
        "| nodes in the file | bytes | nodes of the workflow | lines of the report | seconds |\n|---|---|---|---|---|"
    )
    parts = f"{args.nodes} | {len(data)} | {len(document['nodes'])} | {len(report['lines'])}"
    print(f"| {parts} | {statistics.median(found):.4f} |")


if __name__ == "__main__":
    main()
