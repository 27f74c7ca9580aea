"""What an idle worker imports before a job needs it: PyTorch and the libraries of the model kinds take seconds."""

import contextlib
from collections.abc import Iterator
from importlib import import_module

from latentloom.engine.types.registry import ExtensionKind, Registry

CODE: tuple[ExtensionKind, ...] = ("sampler", "schedule", "patch")


def warm_up(registry: Registry, *, models: bool) -> Iterator[str]:
    """Import what reading prompts takes and, with `models`, what models and samplers take; the names, one by one.

    A module that cannot be imported is left to whoever needs it, and to tell of it.
    """
    for name in needed_modules(registry, models=models):
        with contextlib.suppress(Exception):
            import_module(name)
        yield name


def needed_modules(registry: Registry, *, models: bool) -> list[str]:
    """The modules that reading prompts takes and, with `models`, those of samplers and models."""
    code = [extension for kind in CODE for extension in registry.extensions(kind).values()]
    names = [extension.ref.target.partition(":")[0] for extension in code] if models else []
    for extension in registry.extensions("model_kind").values():
        with contextlib.suppress(Exception):
            kind = extension.load()
            names += [*getattr(kind, "text_modules", ()), *(getattr(kind, "model_modules", ()) if models else ())]
    return list(dict.fromkeys(names))
