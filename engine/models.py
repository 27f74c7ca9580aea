"""Loaded models: one ledger of what is resident on a device, loaded through the registered model kinds."""

import contextlib
import gc
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from latentloom.engine.environment import Environment
from latentloom.engine.keys import array_digest
from latentloom.engine.registry import Registry
from latentloom.engine.values import Handle, Patch


class ModelKind(Protocol):
    """How one family of models is told apart and loaded. Registered as a class; made without arguments."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Facts about a file or folder of this kind (components, prediction, ...), or None. Reads headers only."""

    def load(self, paths: Sequence[Path], info: Mapping[str, Any], dtype: Any, device: str) -> Any:
        """What the info describes, in a torch dtype, on a device, in eval mode: a module or an object of modules."""


class ApplyPatch(Protocol):
    """How one kind of patch changes a loaded module."""

    def __call__(self, module: Any, patch: Patch, paths: Sequence[Path]) -> Any:
        """The patched module (the same or a new one)."""


@dataclass(slots=True)
class _Resident:
    module: Any
    nbytes: int
    pins: int = 0


class ModelStore:
    """Models on one device. Least recently used ones make room; those in use stay."""

    def __init__(
        self,
        registry: Registry,
        environment: Callable[[], Environment],
        path_of: Callable[[str], Path],
        budget: Callable[[str], int] | None = None,
    ) -> None:
        """`path_of` finds a file by sha256; `budget` gives the bytes that weights may take on a device."""
        self._registry = registry
        self._environment = environment
        self._path_of = path_of
        self._budget = budget or device_budget
        self._lock = threading.RLock()
        self._residents: OrderedDict[str, _Resident] = OrderedDict()

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights that are loaded."""
        return sum(item.nbytes for item in self._residents.values())

    @contextlib.contextmanager
    def load(self, handles: Sequence[Handle], working: int = 0) -> Iterator[tuple[Any, ...]]:
        """Modules for handles, loaded and pinned in one step, for the time of a with-block."""
        names = [_identity(handle) for handle in handles]
        try:
            with self._lock:
                modules = tuple(
                    self._pinned(name, handle, working) for name, handle in zip(names, handles, strict=True)
                )
            yield modules
        finally:
            with self._lock:
                for name in names:
                    self._unpin(name)

    def _pinned(self, name: str, handle: Handle, working: int) -> Any:
        if name not in self._residents:
            self._residents[name] = self._loaded(handle, working)
        self._residents.move_to_end(name)
        self._residents[name].pins += 1
        return self._residents[name].module

    def _unpin(self, name: str) -> None:
        """Give one pin back; a handle whose loading failed has none."""
        found = self._residents.get(name)
        if found is not None and found.pins:
            found.pins -= 1

    def _loaded(self, handle: Handle, working: int) -> _Resident:
        environment = self._environment()
        paths = [self._path_of(file.sha256) for file in handle.files]
        size = sum(_file_bytes(path) for path in paths)
        self._make_room(size + working, environment.device)
        kind: ModelKind = self._registry.extension("model_kind", handle.model_kind).load()()
        module = kind.load(paths, handle.info, torch_dtype(environment.dtype), environment.device)
        for patch in handle.patches:
            apply: ApplyPatch = self._registry.extension("patch", patch.kind).load()
            module = apply(module, patch, [self._path_of(file.sha256) for file in patch.files])
        return _Resident(module, _module_bytes(module))

    def _make_room(self, needed: int, device: str) -> None:
        budget = self._budget(device)
        for name in [name for name, item in self._residents.items() if not item.pins]:
            if self.resident_bytes + needed <= budget:
                return
            del self._residents[name]
            gc.collect()

    def evict_all(self) -> None:
        """Drop every model that is not in use."""
        with self._lock:
            idle = [name for name, item in self._residents.items() if not item.pins]
            for name in idle:
                del self._residents[name]
            if idle:
                gc.collect()


def _identity(handle: Handle) -> str:
    return array_digest(handle.kind, handle.essence(), [array.numpy() for array in handle.split()[1]])


def _file_bytes(path: Path) -> int:
    return sum(item.stat().st_size for item in path.rglob("*")) if path.is_dir() else path.stat().st_size


def _module_bytes(module: Any) -> int:
    """Bytes of a module's weights, each storage once; an object that holds modules counts those."""
    parts = [module] if hasattr(module, "parameters") else list(vars(module).values())
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for part in parts
        if hasattr(part, "parameters")
        for tensor in (*part.parameters(), *part.buffers())
    }
    return sum(storages.values())


def torch_dtype(name: str) -> Any:
    """The torch dtype of "fp32", "fp16" or "bf16"."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[name]


def device_budget(device: str) -> int:
    """Bytes that weights may take: half of the machine's memory, or 85 % of an accelerator's."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory * 0.85)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError):
        return 8 * 2**30
