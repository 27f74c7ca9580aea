"""Stands in for parts of ComfyUI that do not exist here: names can be imported, and using one raises MissingName."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

ROOTS = frozenset({
    "comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras", "comfy_kitchen",
    "cuda_malloc", "execution", "folder_paths", "latent_preview", "main", "node_helpers", "nodes", "protocol", "server",
})  # fmt: skip


STAND_IN = "Missing"  # the name of a missing class that another derives from


class MissingName(Exception):
    """Code used a part of ComfyUI that does not exist here. The message is its name."""


class _Base:
    """The base of classes that derive from a missing class."""

    _missing = ""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise MissingName(self._missing)


class Missing:
    """A missing name. Attributes are missing names too; any other use raises MissingName."""

    def __init__(self, name: str) -> None:
        self.__dict__["missing_name"] = name

    def __getattr__(self, name: str) -> "Missing":
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Missing(f"{self.missing_name}.{name}")

    def __mro_entries__(self, _: Any) -> tuple[type, ...]:
        return (type(STAND_IN, (_Base,), {"_missing": self.missing_name}),)

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__

    def _fail(self, *_: Any, **__: Any) -> NoReturn:
        raise MissingName(self.missing_name)

    __call__ = __iter__ = __getitem__ = __len__ = __bool__ = __contains__ = __enter__ = __add__ = __radd__ = _fail
    __setattr__ = __int__ = __float__ = __index__ = __lt__ = __gt__ = __mul__ = __sub__ = __await__ = _fail


class MissingModule(ModuleType):
    """A module of which everything is missing."""

    def __getattr__(self, name: str) -> Missing:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Missing(f"{self.__name__}.{name}")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a missing module for each name below ComfyUI's packages that has no stand-in."""

    def find_spec(self, name: str, _: Sequence[str] | None, __: ModuleType | None = None) -> Any:
        """See MetaPathFinder."""
        if name.partition(".")[0] not in ROOTS:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        """See Loader."""
        return MissingModule(spec.name)

    def exec_module(self, _: ModuleType) -> None:
        """See Loader."""


def install() -> None:
    """Let imports find missing modules before anything else of these names."""
    sys.meta_path.insert(0, Finder())


def name_of(thing: Any) -> str | None:
    """Return the name of a missing name, or of a class that derives from one; None for anything else."""
    if isinstance(thing, Missing):
        return str(thing.missing_name)
    if isinstance(thing, type) and issubclass(thing, _Base):
        return thing._missing
    return None
