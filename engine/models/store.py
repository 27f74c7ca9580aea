"""The model store: loads models through the registered kinds, patches them, and lends them to nodes."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from latentloom.engine.errors import BadValueError, PluginError
from latentloom.engine.files.opened import Opened
from latentloom.engine.keys import array_digest
from latentloom.engine.models.device import VRAM_SHARE, Device, default_budget, open_device
from latentloom.engine.models.environment import Environment
from latentloom.engine.models.load_warnings import gathered_warnings
from latentloom.engine.models.opened_files import OpenedFiles
from latentloom.engine.models.placement import Placement
from latentloom.engine.models.pool import DevicePool
from latentloom.engine.models.reservations import Loan, Turns
from latentloom.engine.models.weights import HostModel, widened
from latentloom.engine.models.working_memory import Need, WorkingMemory
from latentloom.engine.types.context import Borrower
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.values import Handle, Patch

KEPT = 16  # maximum number of models in host memory; weights of unpatched ones are mapped file pages


class ModelKind(Protocol):
    """Recognises and loads one family of models. Registered as a class; created without arguments.

    A kind with text encoders may have a method `prompt_reader(path, info)`. It returns a function of a text, a grammar
    and a number of steps, which returns as JSON how a prompt is split into tokens; or None for a file without a text
    encoder. A kind may list in `model_modules` and `text_modules` the modules that loading a model and reading a prompt
    import: an idle worker imports them in advance.
    """

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return facts about a file or folder of this kind (components, prediction, ...) or None. Read headers only."""

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load what `info` describes, in eval mode on the CPU: a module, or an object whose attributes are modules.

        Keep the weights in the dtype of their file, mapped from it if possible: the engine converts and moves them.
        """


class ApplyPatch(Protocol):
    """Applies one kind of patch to a loaded module."""

    def __call__(self, module: Any, patch: Patch, paths: Sequence[Path]) -> Any:
        """Return the patched module: the given one with replaced weights or wrapped modules, or another module.

        Never modify a weight in place. Weights are on the CPU in the dtype of their file, independent of the later
        device and dtype.
        """


class ApplyPatches(Protocol):
    """Applies consecutive patches of one kind together, for a kind that is registered with together=True."""

    def __call__(self, module: Any, patches: Sequence[Patch], paths: Sequence[Sequence[Path]]) -> Any:
        """Return the module with new tensors. Never modify the old ones: other models share them."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Bytes for models on an accelerator and in host memory. None: see `default_budget`."""

    vram: int | None = None
    ram: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    model: HostModel
    own_bytes: int  # bytes of weights made by patches, which are not in a file


@dataclass(slots=True, eq=False)
class _Account:
    """The open loans of a borrower."""

    loans: list[Loan] = field(default_factory=list)
    peak: int | None = 0  # bytes besides the weights; None if not measured
    good: bool = True


class ModelStore:
    """The only owner of models and device (docs/adr/0007-one-owner-of-models-and-device.md).

    It holds the models in host memory and the pool of the device. Both change only while one borrower holds the device
    and its models are made ready or taken back. The mutex is never held while a node's body runs.
    """

    def __init__(
        self,
        registry: Registry,
        environment: Callable[[], Environment],
        path_of: Callable[[str], Path],
        budgets: Budgets = Budgets(),
        device: Callable[[str], Device] = open_device,
    ) -> None:
        """`path_of` finds a file by sha256; `device` opens a device by name."""
        self._registry = registry
        self._environment = environment
        self._opened = OpenedFiles(path_of)
        self._budgets = budgets
        self._open = device
        self._turns = Turns()
        self._lock = threading.Lock()  # against threads of one borrower, and readers of plans
        self._threads = threading.local()
        self._accounts: dict[Borrower, _Account] = {}
        self._bases: OrderedDict[str, HostModel] = OrderedDict()
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._load_seconds: dict[str, float] = {}  # by name of a file
        self.loads = 0  # number of models read from files

    @cached_property
    def pool(self) -> DevicePool:
        """The device's pool. The device is opened on first access."""
        environment = self._environment()
        device = self._open(environment.device)
        budget = self._budgets.ram if device.host else self._budgets.vram
        return DevicePool(device, torch_dtype(environment.dtype), budget or default_budget(environment.device))

    @cached_property
    def working(self) -> WorkingMemory:
        """The known needs of nodes for memory besides the weights."""
        return WorkingMemory(self.pool.budget)

    def load(self, handles: Sequence[Handle], working: int = 0, borrower: Borrower | None = None) -> Loan:
        """Return a loan of modules that are ready to compute in a with-block. See `DevicePool.take`.

        Loans of one borrower may overlap and end in any order; another borrower waits until the last one has ended.
        Without `borrower`, each thread is a borrower.
        """
        borrower, models = borrower or self._of_thread(), list[HostModel]()
        borrower.asked = True
        loan = Loan(
            self._turns,
            borrower,
            lambda: self._lend(loan, borrower, models, handles, working),
            lambda good: self._end(loan, borrower, models, good=good),
        )
        return loan

    def take_back(self, borrower: Borrower) -> None:
        """End all loans and waits of a borrower whose call has ended."""
        with self._lock:
            left = list(self._accounts[borrower].loans) if borrower in self._accounts else []
        for loan in left:
            loan.close(good=False)
        self._turns.leave(borrower)

    def unplaced(self, handle: Handle) -> Any:
        """Return a patched model with all its weights in host memory, in the dtype of their files.

        It belongs to the caller, who must not modify the weights. Raises BadValueError for packed weights.
        """
        with self._turns.turn(self._of_thread()), self._lock, _no_grad():
            handle = self._without_sampling_patches(handle)
            model = self._patched(self._base(handle), handle)
            self._opened.check([model])
        if any(layer.packed for layer in model.layers):
            raise BadValueError(
                f"the weights of '{model.name}' are packed", expected="fp32, fp16 or bf16", got="fp8, int8 or GGUF"
            )
        return model.content

    def plan(self, handles: Sequence[Handle], working: int = 0) -> Placement:
        """Return the placement of models if they were loaded now. Raises BudgetError."""
        borrower = self._of_thread()
        with self._turns.turn(borrower), self._lock, _no_grad():
            return self.pool.plan(self._models(handles), working, self._spare(borrower))

    def figures(self) -> dict[str, int]:
        """Return the number of models loaded and evicted so far, and the bytes of the device.

        `device_free` is missing if only the budget limits the bytes, as on a CPU.
        """
        pool: DevicePool | None = self.__dict__.get("pool")
        if pool is None:
            return {"model_loads": self.loads, "model_evictions": 0, "model_bytes": 0}
        held = pool.held_bytes
        found = {"model_loads": self.loads, "model_evictions": pool.evictions, "model_bytes": held}
        found |= {"device_budget": pool.budget}
        return found if pool.available is None else {**found, "device_free": pool.available - held}

    def resident(self) -> dict[str, float]:
        """Return the names of the files of the models that are ready to compute, and the seconds that they took."""
        pool: DevicePool | None = self.__dict__.get("pool")
        names = {file.path.name for model in pool.held() for file in model.files} if pool is not None else set()
        return {name: round(self._load_seconds.get(name, 0.0), 3) for name in sorted(names)}

    def make_room(self, borrower: Borrower | None = None) -> None:
        """After a node ran out of memory, evict models not in use, and reserve more memory for such work later."""
        borrower = borrower or self._of_thread()
        with self._turns.turn(borrower), self._lock:
            self.working.short(borrower.work)
            self.pool.clear()

    def evict_all(self) -> None:
        """Evict all models that are not in use."""
        with self._turns.turn(self._of_thread()), self._lock:
            if "pool" in self.__dict__:
                self.pool.clear()
            self._loaded.clear()
            self._bases.clear()

    def _of_thread(self) -> Borrower:
        found: Borrower | None = getattr(self._threads, "borrower", None)
        if found is None:
            found = self._threads.borrower = Borrower()
        return found

    # Loans

    def _lend(
        self, loan: Loan, borrower: Borrower, models: list[HostModel], handles: Sequence[Handle], working: int
    ) -> tuple[Any, ...]:
        with self._lock, _no_grad():
            account = self._accounts.get(borrower)
            if account is not None:
                self._measure(account)
            begin = time.perf_counter()
            models += self._models(handles)
            fresh = [model for model in models if not self.pool.holds(model)]
            self.pool.take(models, working, self._spare(borrower))
            self._note_loads(fresh, time.perf_counter() - begin)
            self.pool.measure()  # making models ready is not working memory
            self._accounts.setdefault(borrower, _Account()).loans.append(loan)
        for warning in [warning for model in models for warning in model.warnings]:
            borrower.warn_once(*warning)
        return tuple(model.content for model in models)

    def _note_loads(self, fresh: Sequence[HostModel], seconds: float) -> None:
        """Note how long models took. A file with several parts counts as long as its slowest part."""
        names = {file.path.name for model in fresh for file in model.files}
        for name in names:
            self._load_seconds[name] = max(self._load_seconds.get(name, 0.0), seconds / len(names))

    def _end(self, loan: Loan, borrower: Borrower, models: list[HostModel], *, good: bool) -> None:
        with self._lock:
            account = self._accounts[borrower]
            self._measure(account)
            self.pool.give_back(models)
            self.pool.measure()
            account.loans.remove(loan)
            account.good &= good
            if not account.loans:
                del self._accounts[borrower]
                note = self.working.good if account.good else self.working.seen
                note(borrower.work, account.peak)
            if good:
                self._opened.check(models)

    def _spare(self, borrower: Borrower) -> int:
        """Return the bytes of the pool's room to leave free for a borrower's computation."""
        need, available = self.working.of(borrower.work), self.pool.available
        if available is None or (need is not None and not need.measured):
            return need.nbytes if need is not None else 0
        if need is None:  # unknown: the share that the default budget leaves free
            need = Need(int(available * (1 - VRAM_SHARE)) if self._budgets.vram is None else 0, measured=True)
        return max(0, self.pool.room - (available - need.nbytes))

    def _measure(self, account: _Account) -> None:
        """Record the peak memory of a borrower besides the weights since the last measurement."""
        found = self.pool.measure()
        account.peak = None if found is None or account.peak is None else max(found, account.peak)

    # Host memory

    def _models(self, handles: Sequence[Handle]) -> list[HostModel]:
        found = [self._model(handle) for handle in handles]
        self._thin(keep=found)
        return found

    def _model(self, handle: Handle) -> HostModel:
        handle = self._without_sampling_patches(handle)
        name = _identity(handle)
        if name in self._loaded and not self._opened.intact(self._loaded[name].model):
            self.pool.forget(self._loaded.pop(name).model)
        if name not in self._loaded:
            base = self._base(handle)
            model = self._patched(base, handle)
            self._opened.check([model])
            self._loaded[name] = _Loaded(model, model.own_bytes(base))
        self._loaded.move_to_end(name)
        return self._loaded[name].model

    def _without_sampling_patches(self, handle: Handle) -> Handle:
        """Return a handle without sampling patches, which change no weights (docs/adr/0005-sampling-patches.md)."""
        infos = {patch.kind: self._registry.extension("patch", patch.kind).info for patch in handle.patches}
        kept = [patch for patch in handle.patches if infos[patch.kind].get("stage") != "sampling"]
        return type(handle)(handle.model_kind, handle.files, handle.info, kept)

    def _base(self, handle: Handle) -> HostModel:
        """Return the model without patches. It is never placed on a device; patched models share its weights."""
        bare = type(handle)(handle.model_kind, handle.files, handle.info)
        name = _identity(bare)
        if name in self._bases and not self._opened.intact(self._bases[name]):
            del self._bases[name]
        if name not in self._bases:
            kind: ModelKind = self._registry.extension("model_kind", handle.model_kind).load()()
            files = self._opened.open(handle.files)
            with gathered_warnings() as warnings:
                content = kind.load([file.path for file in files], handle.info)
            content = widened(content, self._environment().dtype)
            self.loads += 1
            called = handle.files[0].name if handle.files else handle.model_kind
            self._bases[name] = HostModel(content, called, files, tuple(warnings))
        self._bases.move_to_end(name)
        return self._bases[name]

    def _patched(self, base: HostModel, handle: Handle) -> HostModel:
        content, files = base.clone().content, list(base.files)
        stamps = [slot.host._version for slot in base.slots()]
        warnings = list(base.warnings)
        for kind, patches in itertools.groupby(handle.patches, key=lambda patch: patch.kind):
            with gathered_warnings() as told:
                content = self._applied(content, kind, list(patches), files)
            warnings += told
            if stamps != [slot.host._version for slot in base.slots()]:
                self._bases.clear()  # its weights differ from the file
                raise PluginError(
                    f"the patch '{kind}' wrote into the model's weights",
                    hint="make a new tensor: other models share the old one",
                )
        return HostModel(content, base.name, tuple(files), tuple(warnings))

    def _applied(self, content: Any, kind: str, patches: Sequence[Patch], files: list[Opened]) -> Any:
        """Apply consecutive patches of one kind, together if the kind requires it. Adds the files of the patches to
        `files`.
        """
        extension = self._registry.extension("patch", kind)
        opened = [self._opened.open(patch.files) for patch in patches]
        files += itertools.chain.from_iterable(opened)
        paths = [[file.path for file in group] for group in opened]
        if extension.info.get("together"):
            apply_all: ApplyPatches = extension.load()
            return apply_all(content, patches, paths)
        apply: ApplyPatch = extension.load()
        for patch, own in zip(patches, paths, strict=True):
            content = apply(content, patch, own)
        return content

    def _thin(self, keep: Sequence[HostModel]) -> None:
        """Drop the least recently used models until the rest is within the budget and the number KEPT.

        A CPU computes in host memory, so weights made by patches and copies of weights share one budget.
        """
        budget = self._budgets.ram or default_budget("cpu")
        host = self.pool.host
        wanted = self.pool.whole(keep) if host else 0
        for name, item in list(self._loaded.items()):
            if len(self._loaded) <= KEPT and self._own_bytes() + wanted <= budget:
                break
            if item.model not in keep and self.pool.forget(item.model):
                del self._loaded[name]
        while len(self._bases) > KEPT:
            self._bases.popitem(last=False)
        self.pool.elsewhere = self._own_bytes() if host else 0

    def _own_bytes(self) -> int:
        """Return the bytes of all weights made by patches."""
        return sum(item.own_bytes for item in self._loaded.values())


def _no_grad() -> Any:
    """Disable gradients: weights are never trained, so patches and copies need no graph."""
    import torch

    return torch.no_grad()


def _identity(handle: Handle) -> str:
    return array_digest(handle.kind, handle.essence(), [array.numpy() for array in handle.split()[1]])


def torch_dtype(name: str) -> Any:
    """Return the torch dtype of "fp32", "fp16" or "bf16"."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[name]
