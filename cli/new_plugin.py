"""`loom plugins new`: writes a plugin to start from, with a node, a README and a test that passes at once."""

import re
from pathlib import Path

from latentloom.cli.table import print_lines
from latentloom.engine.errors import BadValueError
from latentloom.plugins.discovery import BUILTIN, COMFYUI

NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*\Z")

PROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "latentloom-{name}"
version = "0.1.0"
description = "Nodes for Latentloom"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["latentloom"]

[project.entry-points.latentloom]
{name} = "{module}"
"""

MODULE = '''\
"""Nodes for Latentloom."""

from typing import Annotated

from pydantic import Field

from latentloom.engine import Image, node
from latentloom.engine.types.registry import Registration
from latentloom.plugins import hookimpl


@node("Brighten", category="image")
def brighten(
    image: Image,
    factor: Annotated[float, Field(ge=0, le=4, description="1 changes nothing, 0 gives black.")] = 1.2,
) -> Image:
    """Multiply the colours of a picture."""
    pixels = image.numpy().copy()  # values are immutable: work on a copy
    pixels[..., :3] = (pixels[..., :3] * factor).clip(0, 1)
    return Image(pixels)


@hookimpl
def register(registry: Registration) -> None:
    """Register the nodes. Their types are `{name}/Brighten`, ..."""
    registry.node(brighten)
'''

TEST = '''\
import numpy as np
from {module} import brighten

from latentloom.engine import Image
from latentloom.plugins.testing import PluginChecks


class TestNodes(PluginChecks):
    """The rules for nodes, checked on every node of the plugin."""

    plugin = "{name}"


def test_a_picture_gets_brighter():
    grey = Image(np.full((1, 2, 2, 3), 0.25))

    assert np.allclose(brighten(grey, factor=2.0).numpy(), 0.5)
'''

README = """\
# latentloom-{name}

Nodes for Latentloom.

```sh
pip install -e .
loom plugins                       # its status
loom nodes show {name}/Brighten
pytest
```

`{module}/__init__.py` has the node, `test_{module}.py` its test. Edits are seen by the next command.
"""


def new_plugin(name: str, folder: Path) -> int:
    """Write a plugin into a new folder. Raises BadValueError for a bad name or a folder that exists."""
    if not NAME.match(name) or name in ("builtin", COMFYUI, "graph", BUILTIN):
        raise BadValueError("not a name for a plugin", expected="small letters, digits, '_' and '-'", got=name)
    place = folder / f"latentloom-{name}"
    if place.exists():
        raise BadValueError(f"{place} exists already", hint="choose another name, or another folder with --to")
    module = f"latentloom_{name.replace('-', '_')}"
    files = {
        "pyproject.toml": PROJECT,
        "README.md": README,
        f"{module}/__init__.py": MODULE,
        f"test_{module}.py": TEST,
    }
    for path, text in files.items():
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("{name}", name).replace("{module}", module), encoding="utf-8")
    print_lines([f"wrote {place}", f"next: pip install -e {place}"])
    return 0
