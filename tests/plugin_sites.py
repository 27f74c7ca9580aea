"""Distributions with a plugin, as they lie in a folder of installed packages."""

import importlib
import itertools
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

from latentloom.plugins.discovery import Discovered, discover

NODE = '''
from latentloom.engine import node
from latentloom.plugins import hookimpl

@node("Twice")
def twice(a: int) -> int:
    """Two times a number."""
    return 2 * a

@hookimpl
def register(registry):
    registry.node(twice)
'''
_numbers = itertools.count()


def install(site: Path, plugin: str, code: str, *, module: str | None = None, version: str = "1.0") -> str:
    """Write a distribution `dist-<plugin>` with one module; the module's name is fresh, so nothing was imported."""
    name = module or f"module_{plugin}_{next(_numbers)}"
    (site / f"{name}.py").write_text(code)
    info = site / f"dist_{plugin}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{plugin}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[latentloom]\n{plugin} = {name}\n")
    digest = f"sha256={abs(hash(code)):x}"
    (info / "RECORD").write_text(f"{name}.py,{digest},{len(code)}\n{info.name}/METADATA,,\n")
    return name


def points(site: Path) -> list[EntryPoint]:
    importlib.invalidate_caches()
    return [point for dist in distributions(path=[str(site)]) for point in dist.entry_points]


def discovered(site: Path, **how: Any) -> Discovered:
    return discover(points=points(site), **how)
