"""Makes the pictures of the editor's templates, each by its own workflow: `python docs/make_templates.py`."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageOps, ImageStat

from latentloom.api import Session, block_names, load_workflow, open_session, workflow_names
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.document.writing import to_json

SIZE = (320, 200)
EDGE = 6
QUALITY = 80
SEED = 7
PROMPT = "a large red circle above a small blue square on a white background"
INPUTS: Mapping[str, Mapping[str, Any]] = {
    "edges": {"prompt": "a large yellow circle above a small purple square on a brown background"},
    "img2img": {"prompt": "a large green circle above a small orange square on a black background", "strength": 0.75},
    "inpaint": {"prompt": "a large red circle above a large green triangle on a white background"},
    "inpaint-detail": {"prompt": "a large red circle above a small orange star on a white background"},
    "txt2img": {"prompt": "a large orange star above a small blue circle on a white background"},
}
"""What to ask of workflows whose own defaults would give the same picture as another's."""

NEEDS_FILES = (
    *("chroma", "flux-dev", "flux-fill", "flux-kontext", "flux-redux", "flux-turbo", "flux2-dev", "flux2-klein"),
    *("flux2-klein-edit", "krea-2", "qwen-image", "qwen-image-21", "qwen-image-21-edit", "qwen-image-edit"),
    *("qwen-image-edit-lightning", "qwen-image-lightning", "sd3", "z-image", "z-image-edges"),
)
"""Workflows for models that do not ship: their cards have no picture."""

SHOWN: Mapping[str, int] = {"seeds": -1}
"""Which picture of a run to show, if not its first."""

FOLDER = Path(__file__).parent.parent / "web" / "editor" / "src" / "panels" / "templates"


def main() -> None:
    """Run every workflow that needs no files, and every block inside one, and write NAME.jpg."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        open_session(
            metadata=False, data=Path(home), output=Path(home), cache_bytes=0, device="cpu", dtype="fp32"
        ) as session,
    ):
        start = inputs_from_a_picture(session, Path(home))
        for name in (name for name in workflow_names() if name not in NEEDS_FILES):
            wanted = {named.name for named in load_workflow(name).inputs}
            inputs = {key: value for key, value in start.items() if key in wanted}
            result = session.run(name, **{**inputs, **INPUTS.get(name, {})})
            picture = result.pictures[SHOWN.get(name, 0)]
            framed(picture).save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)
        for name in block_names():
            picture = session.run(around(name)).pictures[0]
            framed(picture).save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)


def around(name: str) -> Workflow:
    """A workflow that draws with the core block and, if another one is meant, changes the picture with that."""
    loaded = {port: {"node": "checkpoint", "output": port} for port in ("model", "clip", "vae")}
    core = {"node": "core"}
    changed = {
        **{port: {**core, "output": port} for port in ("image", "latent", "positive", "negative")},
        "mask": {"node": "mask", "output": "mask"},
        "prompt": "a large green circle above a small blue square on a white background",
        "width": 128,
        "height": 128,
        "context": 16,
        "seed": SEED,
    }
    graphs = {block: load_workflow(block) for block in {"text-to-image-core", name}}
    wanted = {item.name for item in graphs[name].inputs}
    if "prompt" in wanted:  # it reads its prompts itself, so that "negative" is a text
        wanted.remove("negative")
    given = {key: value for key, value in {**loaded, **changed}.items() if key in wanted}
    size = 96 if name == "hires-pass" else 128
    first = {**loaded, "prompt": PROMPT, "seed": SEED, "width": size, "height": size}
    box = {"width": 128, "height": 128, "x": 16, "y": 0, "box_width": 96, "box_height": 72}
    nodes = {
        "checkpoint": {"type": "LoadCheckpoint", "version": 1, "inputs": {"checkpoint": "shapes"}},
        "core": {"type": "graph/text-to-image-core", "version": 1, "inputs": first},
        "mask": {"type": "MaskRectangle", "version": 1, "inputs": box},
        "block": {"type": f"graph/{name}", "version": 1, "inputs": given},
    }
    last = "core" if name == "text-to-image-core" else "block"
    if last == "core":
        del nodes["block"]
    return load_workflow(
        {
            "format": "latentloom/1",
            "nodes": nodes,
            "graphs": {
                block: {key: value for key, value in to_json(graph).items() if key != "format"}
                for block, graph in graphs.items()
            },
            "outputs": [{"name": "image", "from": {"node": last, "output": "image"}}],
        }
    )


def inputs_from_a_picture(session: Session, folder: Path) -> Mapping[str, Any]:
    """What the workflows that start from a picture need: one of the embedded model's, and a mask for its lower half."""
    (image,) = session.run("txt2img", prompt=PROMPT, seed=SEED).files
    mask = Image.new("L", (128, 128))
    ImageDraw.Draw(mask).rectangle((32, 64, 95, 127), fill=255)
    mask.save(folder / "mask.png")
    return {"image": image, "mask": folder / "mask.png", "seed": SEED}


def framed(picture: Image.Image) -> Image.Image:
    """The whole picture in the size of a card, on the colour of its upper edge."""
    small = ImageOps.contain(picture.convert("RGB"), (SIZE[0] - 2 * EDGE, SIZE[1] - 2 * EDGE), Image.Resampling.LANCZOS)
    card = Image.new("RGB", SIZE, tuple(ImageStat.Stat(small.crop((0, 2, small.width, 4))).median))
    card.paste(small, ((SIZE[0] - small.width) // 2, (SIZE[1] - small.height) // 2))
    return card


if __name__ == "__main__":
    main()
