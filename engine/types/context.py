"""The context of a node: access to progress, models, registered extensions and saved files."""

import math
import threading
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from latentloom.engine.errors import Cancelled, NodeError, OutOfMemoryError
from latentloom.engine.events import FileSaved, NodePreview, NodeProgress, NodeWarning, RunEvent
from latentloom.engine.files.preview_maps import PreviewMaps
from latentloom.engine.types.node_log import NodeLog
from latentloom.engine.types.spec import NodeSpec

PREVIEWS_PER_SECOND = 5
RECOGNITION = "recognition"
"""Marks, in `Context.used`, that a node called `recognise`: its result depends on the code of all model kinds."""


@dataclass(slots=True, eq=False)
class Borrower:
    """One call of a node that borrows models and the device. What it borrows is returned when the call ends."""

    work: Hashable = None
    """Key for the measured working memory: node type and sizes of its inputs."""
    asynchronous: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)
    asked: bool = False
    """Whether the call has requested models."""
    warn: Callable[[str, str], None] = lambda _code, _message: None
    told: set[tuple[str, str]] = field(default_factory=set)
    """Warnings about models that were already given; shared by the borrowers of a run."""

    def warn_once(self, code: str, message: str) -> None:
        """Give a warning about a borrowed model, once per run."""
        if (code, message) not in self.told:
            self.told.add((code, message))
            self.warn(code, message)

    def check(self) -> None:
        """Raise Cancelled if the run was cancelled."""
        if self.cancelled.is_set():
            raise Cancelled("the run was cancelled")


class Lent(Protocol):
    """Loaded models for the duration of a with-block: `with` in a sync node, `async with` in an async node."""

    def __enter__(self) -> tuple[Any, ...]: ...

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> None: ...

    async def __aenter__(self) -> tuple[Any, ...]: ...

    async def __aexit__(self, kind: Any, error: Any, trace: Any, /) -> None: ...


class Services(Protocol):
    """What the engine provides to a context."""

    @property
    def preview_maps(self) -> PreviewMaps:
        """Return what previews know of VAEs."""

    @property
    def device(self) -> str:
        """Return the name in torch of the device that `load` uses."""

    def folder(self, plugin: str) -> Path:
        """Return a plugin's own folder, which exists."""

    def load(self, handles: tuple[Any, ...], working: int, borrower: Borrower) -> Lent:
        """Return loaded models for the duration of a with-block."""

    def unplaced(self, handle: Any) -> Any:
        """Return a model with its weights in host memory."""

    def make_room(self, borrower: Borrower) -> None:
        """Free all memory that can be freed, before a node that ran out of memory is run again."""

    def take_back(self, borrower: Borrower) -> None:
        """Take back what a call that ended has not returned."""

    def lookup(self, kind: str, name: str) -> Any:
        """Return a registered extension's code."""

    def facts(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return the facts of a registered extension."""

    def recognise(self, file: Any) -> tuple[str, dict[str, Any]] | None:
        """Return the model kind of a file and its facts."""

    def suggest(self, source: str, name: str) -> str | None:
        """Return the most similar file name in a source."""

    def save(self, node: str, kind: str, data: Any, name_template: str, fields: Mapping[str, Any]) -> str:
        """Save a file for a node and return its final path."""


class RunServices(Services, Protocol):
    """What the engine provides to a run."""

    def begin(self, node: str, *, saves: bool) -> None:
        """Note that a sink's body starts. `saves`: whether it can save through its context."""


class State(Protocol):
    """Where a call keeps its state."""

    there: bool
    """Whether the call has kept or found any state."""

    def keep(self, data: bytes, used: Collection[tuple[str, str]]) -> bool:
        """Keep a state; `used` are the extensions used so far. Returns whether it is stored."""

    def kept(self) -> bytes | None:
        """Return the state that was kept last, or None."""


class Context:
    """A node's access to the engine. Each call of a node gets a new context."""

    def __init__(
        self,
        *,
        node: str,
        services: Services,
        emit: Callable[[RunEvent], None],
        cancelled: threading.Event,
        edges: Mapping[str, Any] | None = None,
        mentioned: Mapping[str, Any] | None = None,
        previews: bool = True,
        economy: int = 0,
        work: Hashable = None,
        asynchronous: bool = False,
        state: State | None = None,
        spec: NodeSpec | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self._spec = spec
        self.log = NodeLog(spec.type if spec else "", node)
        """The log of this node, for operators and authors. What the user of a workflow should know is a `warn`."""
        self.state = state
        self.borrower = Borrower(work, asynchronous, cancelled, warn=self.warn)
        self.economy = economy
        """The level of memory saving, 0..economies of the node type. It rises each time the node runs out of memory."""
        self.mentioned: Mapping[str, Any] = mentioned or {}  # ModelFiles that its texts may name, by name
        self._services = services
        self.emit = emit
        """Pass an event of this node on."""
        self._cancelled = cancelled
        self.edges: Mapping[str, Any] = edges or {}
        """What `edge` returns, by input."""
        self._clock = clock
        self._next_preview = 0.0 if previews else math.inf
        self.used: set[tuple[str, str]] = set()
        """Kind and name of each extension that the node used: its result depends on their code."""
        self.imported: set[str] = set()
        """Files from which the node's code was imported in another process."""
        self.stopped = False  # whether `check` raised Cancelled: the return value is then not a result

    def check(self) -> None:
        """Raise Cancelled if the run was cancelled. `progress` calls it; long loops without progress should too."""
        if self._cancelled.is_set():
            self.stopped = True
            raise Cancelled("the run was cancelled", node=self.node)

    def progress(
        self,
        step: int,
        total: int,
        preview: Callable[[], Any] | None = None,
        message: str = "",
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Report progress: `step` of `total`. Raises Cancelled if the run was cancelled.

        `preview` makes an Image. It is called at most five times per second, and never in a run without previews.
        `figures` are finite numbers to watch, by name, such as {"loss": 0.12}.
        """
        self.check()
        found = {name: float(value) for name, value in (figures or {}).items()}
        self.emit(NodeProgress(node=self.node, step=step, total=total, message=message, figures=found))
        now = self._clock()
        if preview is not None and now >= self._next_preview:
            try:
                self.emit(NodePreview(node=self.node, step=step, image=preview()))
            except OutOfMemoryError:  # a preview must not fail the run
                self._next_preview = math.inf
                return
            self._next_preview = self._clock() + 1 / PREVIEWS_PER_SECOND

    @property
    def shows_previews(self) -> bool:
        """Whether the run makes previews."""
        return self._next_preview < math.inf

    @property
    def preview_maps(self) -> PreviewMaps:
        """What previews know of VAEs. A node's result must not depend on it."""
        return self._services.preview_maps

    def keep(self, data: bytes) -> bool:
        """Keep how far this call has got, in place of what it kept before. Returns whether it is stored.

        If the run is cancelled or its process dies, the next run of the same step finds it with `kept`. It is dropped
        when the node's result is stored. Nothing is kept in a run without a cache on disk, and by a sink.
        """
        return self.state is not None and self.state.keep(bytes(data), self.used)

    def kept(self) -> bytes | None:
        """Return what an earlier call of this step kept last, or None.

        It was kept for the same inputs, code and environment. A node that goes on from it must return the same result
        as one that starts anew.
        """
        return None if self.state is None else self.state.kept()

    def warn(self, code: str, message: str) -> None:
        """Give the user a warning. The run continues."""
        self.emit(NodeWarning(node=self.node, code=code, message=message))

    @property
    def device(self) -> str:
        """The name in torch of the device that `load` uses: "cpu", "cuda:0", "mps".

        Compute on it inside `with ctx.load():`, so that nodes take turns. Raises NodeError for a node without
        `device=True`, whose result may be reused on other devices.
        """
        if self._spec is not None and not self._spec.device:
            raise NodeError("ctx.device is for nodes that use the device", hint="write @node(..., device=True)")
        return self._services.device

    @property
    def folder(self) -> Path:
        """A folder for the files of the node's plugin, shared by its nodes. It exists.

        It is no part of the cache key: a pure node's result must not depend on what is in it.
        """
        plugin = self._spec.type.rpartition("/")[0] if self._spec is not None else ""
        return self._services.folder(plugin or "builtin")

    def load(self, *handles: Any, working: int = 0) -> Lent:
        """Load models together: `with ctx.load(model, controlnet, working=bytes) as (unet, control):`. Yields a tuple.

        An async node uses `async with`. Only one node at a time computes on the device; the others wait, and
        cancelling the run ends the wait. `working` is the memory in bytes that the node needs besides the weights. If
        it is not given, the engine measures it.
        """
        self.check()
        for handle in handles:
            self.used.add(("model_kind", handle.model_kind))
            self.used.update(("patch", patch.kind) for patch in handle.patches)
        return self._services.load(handles, working, self.borrower)

    def unplaced(self, handle: Any) -> Any:
        """Return a model with all its weights in host memory, with patches applied. Do not modify the weights.

        For nodes that read weights; use `load` to compute. Raises BadValueError for packed weights.
        """
        return self._services.unplaced(handle)

    def lookup(self, kind: str, name: str) -> Any:
        """Return the code registered as a "sampler", "schedule", "model_kind" or "patch" under this name."""
        self.used.add((kind, name))
        return self._services.lookup(kind, name)

    def facts(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return the facts that an extension was registered with: a sampler's noise, evaluations per step, ..."""
        self.used.add((kind, name))
        return self._services.facts(kind, name)

    def recognise(self, file: Any) -> tuple[str, dict[str, Any]] | None:
        """Return (model kind, facts) of a ModelFile, or None if no registered kind recognises its content."""
        self.used.add((RECOGNITION, ""))
        return self._services.recognise(file)

    def suggest(self, source: str, name: str) -> str | None:
        """Return the most similar file name in a source. Use it only in warnings: it is not part of the cache key."""
        return self._services.suggest(source, name)

    def save(self, kind: str, data: Any, name_template: str, **fields: Any) -> str:
        """Save an "image" (one picture of an Image, [H, W, C], or a PictureToSave), "text", "safetensors" or "bytes".

        Returns the file's final path. The file is written atomically. `name_template` may contain the {name}s of
        fields and {counter}. Its folders are relative to the output folder.
        """
        path = self._services.save(self.node, kind, data, name_template, fields)
        self.emit(FileSaved(node=self.node, path=path))
        return path

    def edge(self, input: str) -> Any:
        """Return what is connected to an input, for use in the nodes and outputs of an expansion.

        For a list input it is a list, which includes the literals. Raises KeyError for an input without edges.
        """
        found = self.edges[input]
        return list(found) if type(found) is list else found
