"""Files as ComfyUI's editor saves them, written by the tests."""

from typing import Any


def part(id: Any, type: str, values: Any = None, inputs: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """A node; its inputs are (name, type, link), and a widget's (name, type, link, widget)."""
    sockets = [
        {"name": item[0], "type": item[1], "link": item[2]} | ({"widget": {"name": item[3]}} if item[3:] else {})
        for item in inputs or []
    ]
    outputs = [{"name": kind, "type": kind} for kind in more.pop("outputs", [])]
    return {"id": id, "type": type, "widgets_values": values, "inputs": sockets, "outputs": outputs, **more}


def text_to_image() -> dict[str, Any]:
    """Seven nodes with positional values, places, a group and a note."""
    nodes = [
        part(4, "CheckpointLoaderSimple", ["sd\\shapes.safetensors"], outputs=["MODEL", "CLIP", "VAE"], pos=[0, 10]),
        part(5, "EmptyLatentImage", [64, 64, 1], outputs=["LATENT"], pos={"0": 0, "1": 300}),
        part(6, "CLIPTextEncode", ["a red circle"], [("clip", "CLIP", 1)], outputs=["CONDITIONING"], title="Positive"),
        part(7, "CLIPTextEncode", [""], [("clip", "CLIP", 2)], outputs=["CONDITIONING"], flags={"collapsed": True}),
        part(
            3, "KSampler", [2**64 - 1, "randomize", 4, 8, "euler", "normal", 1],
            [("model", "MODEL", 3), ("positive", "CONDITIONING", 4), ("negative", "CONDITIONING", 5),
             ("latent_image", "LATENT", 6)], outputs=["LATENT"], color="#322",
        ),
        part(8, "VAEDecode", [], [("samples", "LATENT", 7), ("vae", "VAE", 8)], outputs=["IMAGE"]),
        part(9, "SaveImage", ["ComfyUI"], [("images", "IMAGE", 9)]),
        part(10, "Note", ["Read me"], pos=[500, 0], size=[200, 80]),
    ]  # fmt: skip
    links = [
        [1, 4, 1, 6, 0, "CLIP"], [2, 4, 1, 7, 0, "CLIP"], [3, 4, 0, 3, 0, "MODEL"], [4, 6, 0, 3, 1, "CONDITIONING"],
        [5, 7, 0, 3, 2, "CONDITIONING"], [6, 5, 0, 3, 3, "LATENT"], [7, 3, 0, 8, 0, "LATENT"], [8, 4, 2, 8, 1, "VAE"],
        [9, 8, 0, 9, 0, "IMAGE"],
    ]  # fmt: skip
    groups = [{"title": "Prompts", "bounding": [1, 2, 30, 40], "color": "#3f789e"}]
    return {"version": 0.4, "nodes": nodes, "links": links, "groups": groups}


def find(data: dict[str, Any], id: Any) -> dict[str, Any]:
    """A node of a file."""
    return next(node for node in data["nodes"] if node["id"] == id)


def between(data: dict[str, Any], link: int, *nodes: dict[str, Any]) -> None:
    """Put nodes with one input into a link, one behind the other."""
    for node in nodes:
        new = 100 + len(data["links"])
        old = next(item for item in data["links"] if item[0] == link)
        data["links"].append([new, old[1], old[2], node["id"], 0, old[5]])
        old[1:3] = [node["id"], 0]
        node["inputs"][0]["link"] = new
        data["nodes"].append(node)
