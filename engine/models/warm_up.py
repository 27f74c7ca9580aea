"""Imports in advance, in an idle worker process: PyTorch and the libraries of the model kinds take seconds."""

import contextlib
from collections.abc import Iterator
from importlib import import_module

from latentloom.engine.types.registry import ExtensionKind, Registry

CODE: tuple[ExtensionKind, ...] = ("sampler", "schedule", "patch")


def warm_up(registry: Registry, *, models: bool) -> Iterator[str]:
    """Import the modules for reading prompts and, with `models`, for models and samplers. Yields each name.

    An import error is ignored here: it is reported when the module is needed.
    """
    for name in needed_modules(registry, models=models):
        with contextlib.suppress(Exception):
            import_module(name)
        yield name


def needed_modules(registry: Registry, *, models: bool) -> list[str]:
    """Return the modules for reading prompts and, with `models`, those for samplers and models."""
    code = [extension for kind in CODE for extension in registry.extensions(kind).values()]
    names = [extension.ref.target.partition(":")[0] for extension in code] if models else []
    for extension in registry.extensions("model_kind").values():
        with contextlib.suppress(Exception):
            kind = extension.load()
            names += [*getattr(kind, "text_modules", ()), *(getattr(kind, "model_modules", ()) if models else ())]
    return list(dict.fromkeys(names))
