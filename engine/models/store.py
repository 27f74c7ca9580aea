"""Models: loaded through the registered kinds, patched, and lent to nodes from the device's pool."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from latentloom.engine.errors import PluginError
from latentloom.engine.keys import array_digest
from latentloom.engine.models.device import Device, default_budget, open_device
from latentloom.engine.models.environment import Environment
from latentloom.engine.models.placement import Placement
from latentloom.engine.models.pool import DevicePool
from latentloom.engine.models.weights import HostModel
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.values import Handle, Patch

KEPT = 16  # models whose modules stay; the weights of unpatched ones are pages of their files


class ModelKind(Protocol):
    """How one family of models is told apart and loaded. Registered as a class; made without arguments.

    A kind with text encoders has a method `reader(path, info)`: its answer, called with a text, a grammar and a number
    of steps, tells as JSON how a prompt is cut into tokens, and is None for a file that reads no text. A kind may name,
    as `model_modules` and `text_modules`, the modules that loading a model and reading a prompt import: an idle worker
    imports them ahead.
    """

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Facts about a file or folder of this kind (components, prediction, ...), or None. Reads headers only."""

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """What the info describes, in eval mode on the processor: a module, or an object whose attributes are modules.

        Weights stay in the type of their file and, best, mapped from it: the engine converts and moves them.
        """


class ApplyPatch(Protocol):
    """How one kind of patch changes a loaded module."""

    def __call__(self, module: Any, patch: Patch, paths: Sequence[Path]) -> Any:
        """The patched module: the given one, with weights replaced (never written into) or modules wrapped, or another.

        Weights are those of the file, on the processor, whatever device and type they compute in later.
        """


@dataclass(frozen=True, slots=True)
class Budgets:
    """Bytes that models may take: on an accelerator, and in the host's memory. None: see `default_budget`."""

    vram: int | None = None
    ram: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    model: HostModel
    own_bytes: int  # of weights that patches made, which no file holds


class ModelStore:
    """Models in the host's memory, and the pool of the device that they compute on."""

    def __init__(
        self,
        registry: Registry,
        environment: Callable[[], Environment],
        path_of: Callable[[str], Path],
        budgets: Budgets = Budgets(),
        device: Callable[[str], Device] = open_device,
    ) -> None:
        """`path_of` finds a file by sha256; `device` opens one by its name."""
        self._registry = registry
        self._environment = environment
        self._path_of = path_of
        self._budgets = budgets
        self._open = device
        self._lock = threading.RLock()
        self._bases: OrderedDict[str, HostModel] = OrderedDict()
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self.loads = 0  # models that were read from their files

    @cached_property
    def pool(self) -> DevicePool:
        """The device's pool; the device is opened with the first model."""
        environment = self._environment()
        device = self._open(environment.device)
        budget = self._budgets.ram if device.host else self._budgets.vram
        return DevicePool(device, torch_dtype(environment.dtype), budget or default_budget(environment.device))

    @contextlib.contextmanager
    def load(self, handles: Sequence[Handle], working: int = 0) -> Iterator[tuple[Any, ...]]:
        """Modules for handles, ready to compute for the time of a with-block. See `DevicePool.use`."""
        models = self._models(handles)
        with self.pool.use(models, working):
            yield tuple(model.content for model in models)

    def plan(self, handles: Sequence[Handle], working: int = 0) -> Placement:
        """Where the weights of handles would be, if they were loaded now. Raises BudgetError."""
        return self.pool.plan(self._models(handles), working)

    def figures(self) -> dict[str, int]:
        """Models that were read and dropped since this was made, and the bytes that the device holds now."""
        pool: DevicePool | None = self.__dict__.get("pool")
        evictions, held = (pool.evictions, pool.held_bytes) if pool is not None else (0, 0)
        return {"model_loads": self.loads, "model_evictions": evictions, "model_bytes": held}

    def make_room(self) -> None:
        """After a node ran out of memory: drop what is not in use, and leave more to computation from now on."""
        self.pool.headroom = max(2 * self.pool.headroom, self.pool.budget // 4)
        self.pool.clear()

    def evict_all(self) -> None:
        """Drop every model that is not in use."""
        with self._lock:
            if "pool" in self.__dict__:
                self.pool.clear()
            self._loaded.clear()
            self._bases.clear()

    # The host's memory

    def _models(self, handles: Sequence[Handle]) -> list[HostModel]:
        with self._lock:
            found = [self._model(handle) for handle in handles]
            self._thin(keep=found)
            return found

    def _model(self, handle: Handle) -> HostModel:
        handle = self._without_sampling_patches(handle)
        name = _identity(handle)
        if name not in self._loaded:
            base = self._base(handle)
            model = self._patched(base, handle)
            self._loaded[name] = _Loaded(model, model.own_bytes(base))
        self._loaded.move_to_end(name)
        return self._loaded[name].model

    def _without_sampling_patches(self, handle: Handle) -> Handle:
        """A handle without the patches that steer a run and change no weights (docs/adr/0005-sampling-patches.md)."""
        infos = {patch.kind: self._registry.extension("patch", patch.kind).info for patch in handle.patches}
        kept = [patch for patch in handle.patches if infos[patch.kind].get("stage") != "sampling"]
        return type(handle)(handle.model_kind, handle.files, handle.info, kept)

    def _base(self, handle: Handle) -> HostModel:
        """The model without its patches. It is never placed itself: others are made over its weights."""
        bare = type(handle)(handle.model_kind, handle.files, handle.info)
        name = _identity(bare)
        if name not in self._bases:
            kind: ModelKind = self._registry.extension("model_kind", handle.model_kind).load()()
            content = kind.load([self._path_of(file.sha256) for file in handle.files], handle.info)
            self.loads += 1
            self._bases[name] = HostModel(content, handle.files[0].name if handle.files else handle.model_kind)
        self._bases.move_to_end(name)
        return self._bases[name]

    def _patched(self, base: HostModel, handle: Handle) -> HostModel:
        content = base.clone().content
        stamps = [slot.host._version for slot in base.slots()]
        for patch in handle.patches:
            apply: ApplyPatch = self._registry.extension("patch", patch.kind).load()
            content = apply(content, patch, [self._path_of(file.sha256) for file in patch.files])
            if stamps != [slot.host._version for slot in base.slots()]:
                self._bases.clear()  # its weights are no longer those of the file
                raise PluginError(
                    f"the patch '{patch.kind}' wrote into the model's weights",
                    hint="make a new tensor: other models share the old one",
                )
        return HostModel(content, base.name)

    def _thin(self, keep: Sequence[HostModel]) -> None:
        """Forget models that were used longest ago, beyond the memory or the number that stays."""
        budget = self._budgets.ram or default_budget("cpu")
        for name, item in list(self._loaded.items()):
            own = sum(other.own_bytes for other in self._loaded.values())
            if len(self._loaded) <= KEPT and own <= budget:
                break
            if item.model not in keep:
                self.pool.forget(item.model)
                del self._loaded[name]
        while len(self._bases) > KEPT:
            self._bases.popitem(last=False)


def _identity(handle: Handle) -> str:
    return array_digest(handle.kind, handle.essence(), [array.numpy() for array in handle.split()[1]])


def torch_dtype(name: str) -> Any:
    """The torch dtype of "fp32", "fp16" or "bf16"."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[name]
