"""Models: loaded through the registered kinds, patched, and lent to nodes from the device's pool."""

from __future__ import annotations

import itertools
import threading
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
from latentloom.engine.models.weights import HostModel
from latentloom.engine.models.working_memory import Need, WorkingMemory
from latentloom.engine.types.context import Borrower
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


class ApplyPatches(Protocol):
    """Applies patches of one kind that follow each other, for a kind that is registered with together=True."""

    def __call__(self, module: Any, patches: Sequence[Patch], paths: Sequence[Sequence[Path]]) -> Any:
        """The module with new tensors in the place of old ones, which other models share."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Bytes that models may take: on an accelerator, and in the host's memory. None: see `default_budget`."""

    vram: int | None = None
    ram: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    model: HostModel
    own_bytes: int  # of weights that patches made, which no file holds


@dataclass(slots=True, eq=False)
class _Account:
    """What a borrower has at the moment."""

    loans: list[Loan] = field(default_factory=list)
    peak: int | None = 0  # bytes beside the weights; None where nobody counts
    good: bool = True


class ModelStore:
    """The one owner of models and device (docs/adr/0007-one-owner-of-models-and-device.md).

    Models in the host's memory, and the pool of the device that they compute on. Both change in the turn of one
    borrower only, and for no longer than models take to get ready: the lock is never held over a node's body.
    """

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
        self._opened = OpenedFiles(path_of)
        self._budgets = budgets
        self._open = device
        self._turns = Turns()
        self._lock = threading.Lock()  # threads of one borrower, and readers of plans
        self._threads = threading.local()
        self._accounts: dict[Borrower, _Account] = {}
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

    @cached_property
    def working(self) -> WorkingMemory:
        """What is known of the memory that nodes need beside the weights."""
        return WorkingMemory(self.pool.budget)

    def load(self, handles: Sequence[Handle], working: int = 0, borrower: Borrower | None = None) -> Loan:
        """Modules for handles, ready to compute for the time of a with-block. See `DevicePool.take`.

        Loans of one borrower may overlap, in any order; another borrower waits until the last of them has ended. Code
        without a borrower is told apart by its thread.
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
        """A call has ended: what it left open is closed, and it waits for nothing any more."""
        with self._lock:
            left = list(self._accounts[borrower].loans) if borrower in self._accounts else []
        for loan in left:
            loan.close(good=False)
        self._turns.leave(borrower)

    def unplaced(self, handle: Handle) -> Any:
        """What a handle describes, with all of its weights in the host's memory as files and patches have them.

        It belongs to the caller, who must not write into the weights. Raises BadValueError for packed weights.
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
        """Where the weights of handles would be, if they were loaded now. Raises BudgetError."""
        borrower = self._of_thread()
        with self._turns.turn(borrower), self._lock, _no_grad():
            return self.pool.plan(self._models(handles), working, self._spare(borrower))

    def figures(self) -> dict[str, int]:
        """Models that were read and dropped since this was made, and the bytes that the device holds now."""
        pool: DevicePool | None = self.__dict__.get("pool")
        evictions, held = (pool.evictions, pool.held_bytes) if pool is not None else (0, 0)
        return {"model_loads": self.loads, "model_evictions": evictions, "model_bytes": held}

    def make_room(self, borrower: Borrower | None = None) -> None:
        """After a node ran out of memory: drop what is not in use, and leave more to such computation from now on."""
        borrower = borrower or self._of_thread()
        with self._turns.turn(borrower), self._lock:
            self.working.short(borrower.work)
            self.pool.clear()

    def evict_all(self) -> None:
        """Drop every model that is not in use."""
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
            models += self._models(handles)
            self.pool.take(models, working, self._spare(borrower))
            self.pool.measure()  # what getting ready took is no working memory
            self._accounts.setdefault(borrower, _Account()).loans.append(loan)
        for warning in [warning for model in models for warning in model.warnings]:
            borrower.warn_once(*warning)
        return tuple(model.content for model in models)

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
        """Bytes of the pool's room to leave to a borrower's computation."""
        need, available = self.working.of(borrower.work), self.pool.available
        if available is None or (need is not None and not need.measured):
            return need.nbytes if need is not None else 0
        if need is None:  # the share that the default budget leaves, of what the device has
            need = Need(int(available * (1 - VRAM_SHARE)) if self._budgets.vram is None else 0, measured=True)
        return max(0, self.pool.room - (available - need.nbytes))

    def _measure(self, account: _Account) -> None:
        """Note the memory that a borrower had beside the weights since it got or gave back models."""
        found = self.pool.measure()
        account.peak = None if found is None or account.peak is None else max(found, account.peak)

    # The host's memory

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
        """A handle without the patches that steer a run and change no weights (docs/adr/0005-sampling-patches.md)."""
        infos = {patch.kind: self._registry.extension("patch", patch.kind).info for patch in handle.patches}
        kept = [patch for patch in handle.patches if infos[patch.kind].get("stage") != "sampling"]
        return type(handle)(handle.model_kind, handle.files, handle.info, kept)

    def _base(self, handle: Handle) -> HostModel:
        """The model without its patches. It is never placed itself: others are made over its weights."""
        bare = type(handle)(handle.model_kind, handle.files, handle.info)
        name = _identity(bare)
        if name in self._bases and not self._opened.intact(self._bases[name]):
            del self._bases[name]
        if name not in self._bases:
            kind: ModelKind = self._registry.extension("model_kind", handle.model_kind).load()()
            files = self._opened.open(handle.files)
            with gathered_warnings() as warnings:
                content = kind.load([file.path for file in files], handle.info)
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
                self._bases.clear()  # its weights are no longer those of the file
                raise PluginError(
                    f"the patch '{kind}' wrote into the model's weights",
                    hint="make a new tensor: other models share the old one",
                )
        return HostModel(content, base.name, tuple(files), tuple(warnings))

    def _applied(self, content: Any, kind: str, patches: Sequence[Patch], files: list[Opened]) -> Any:
        """A model with patches of one kind that follow each other: at once where the kind wants that. Adds to `files`
        what they read.
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
        """Forget models that were used longest ago, beyond the memory or the number that stays.

        A processor computes in the same memory, so what patches made and what it computes with share one budget.
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
        """Bytes of weights that patches made."""
        return sum(item.own_bytes for item in self._loaded.values())


def _no_grad() -> Any:
    """Weights are never trained: neither their patches nor their copies are recorded for gradients."""
    import torch

    return torch.no_grad()


def _identity(handle: Handle) -> str:
    return array_digest(handle.kind, handle.essence(), [array.numpy() for array in handle.split()[1]])


def torch_dtype(name: str) -> Any:
    """The torch dtype of "fp32", "fp16" or "bf16"."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[name]
