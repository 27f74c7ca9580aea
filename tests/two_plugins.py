"""Two plugins beside the toys, whose code can become another: P names a patch, a kind of models and nodes of Q."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import toys

from latentloom.api import Session
from latentloom.engine import Context, Expansion, InputFile, Model, node
from latentloom.engine.files.model_files import FileIdentity
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.engine.types.values import VALUE_TYPES, Patch

WORLD: dict[str, Any] = {}
"""What the code of the plugins' functions is, as it were."""


def apply_patch(_steering: Any, _patch: Patch) -> int:
    """A patch of plugin P."""
    return int(WORLD["patch"])


class Kind:
    """A kind of model that plugin P brings."""

    def recognise(self, path: Path) -> dict[str, Any] | None:
        return {"about": WORLD["about"]} if path.suffix == ".safetensors" else None


@node("Patched")
def patched() -> Model:
    """A model with P's patch."""
    return Model("kind", [FileIdentity("f", "0" * 64)], {}, [Patch("patch", {"x": 1})])


@node("UsePatch")
def use_patch(ctx: Context, model: Model) -> int:
    """What the patches on a model do."""
    return sum(ctx.lookup("patch", patch.kind)(None, patch) for patch in model.patches)


@node("Facts")
def facts(ctx: Context, name: str) -> str:
    """What an extension of a name says of itself; "none" without one."""
    try:
        return str(ctx.facts("sampler", name)["mark"])
    except Exception:
        return "none"


@node("About")
def about(ctx: Context, file: InputFile) -> str:
    """What the kinds of models say of a file."""
    found = ctx.recognise(file)
    return "nothing" if found is None else str(found[1]["about"])


@node("Child")
def child(a: int) -> int:
    """A node of plugin Q."""
    toys.RAN.append("child")
    return a * int(WORLD["child"])


@node("ReadIt")
def read_it(file: InputFile) -> str:
    """The text of a file."""
    return Path(file.path).read_text()


def _one(type: str, **inputs: Any) -> Any:
    return Expansion({"x": {"type": type, "inputs": inputs}}, {"value": {"node": "x", "output": "value"}})


@node("Parent")
def parent(ctx: Context, a: int) -> int:
    """P's node that stands for one of Q's."""
    toys.RAN.append("parent")
    return _one("q/Child", a=ctx.edge("a"))  # type: ignore[no-any-return]


@node("ByName")
def by_name(name: str) -> str:
    """P's node that names a file."""
    return _one("q/ReadIt", file=name)  # type: ignore[no-any-return]


@node("ByFile")
def by_file(file: InputFile) -> str:
    """P's node that gives the name of its own file."""
    return _one("q/ReadIt", file=file.name)  # type: ignore[no-any-return]


@node("Thrift")
def thrift(tag: str) -> str:
    """P's node that stands for one with economies."""
    return _one("toys/Thrifty", tag=tag)  # type: ignore[no-any-return]


def registration(plugin: str, code: str, *nodes: Callable[..., Any]) -> Registration:
    made = Registration(Distribution(plugin, "1.0", plugin, code))
    made.node(*nodes)
    return made


def registry(p: str, q: str, *, samplers: str | None = None, kinds: bool = True) -> Registry:
    """The toys, plugin P and plugin Q, in a code each; `samplers`: the mark of Q's sampler."""
    base = registration("toys", "code", *toys.NODES, use_patch, facts, about)
    for cls in VALUE_TYPES:
        base.type(cls)
    base.type(toys.Token)
    first = registration("p", p, patched, parent, by_name, by_file, thrift)
    first.patch("patch", apply_patch, stage="sampling")
    if kinds:
        first.model_kind("kind", Kind)
    second = registration("q", q, child, read_it)
    if samplers:
        second.sampler("s", apply_patch, mark=samplers)
    return Registry([base, first, second])


@contextlib.contextmanager
def opened(
    home: Path, p: str = "P1", q: str = "Q1", *, samplers: str | None = None, kinds: bool = True, **flags: Any
) -> Iterator[Session]:
    """A program of its own on one home."""
    found = registry(p, q, samplers=samplers, kinds=kinds)
    with Session(load_settings(flags, {"LATENTLOOM_HOME": str(home)}), found) as session:
        yield session


def in_plugin(type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a plugin, as it stands in a document."""
    return {"type": type, "version": 1, "inputs": inputs}
