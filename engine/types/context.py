"""What a node may touch: progress, models, registered extensions, and files that it saves."""

import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from latentloom.engine.errors import Cancelled, OutOfMemoryError
from latentloom.engine.events import Event, FileSaved, NodePreview, NodeProgress, NodeWarning

PREVIEWS_PER_SECOND = 5
RECOGNITION = "recognition"
"""What a node used that asked which kind of model a file is: every kind's code."""


@dataclass(slots=True, eq=False)
class Borrower:
    """One call of a node, as the owner of models and device knows it: what it borrows comes back when the call ends."""

    work: Hashable = None
    """Node type and sizes of its inputs: what working memory is learnt for."""
    asynchronous: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)
    asked: bool = False
    """Whether it ever asked for models."""
    warn: Callable[[str, str], None] = lambda _code, _message: None
    told: set[tuple[str, str]] = field(default_factory=set)
    """What was told of models; the borrowers of a run share it."""

    def warn_once(self, code: str, message: str) -> None:
        """Tell something of a model that is lent, unless the run told it before."""
        if (code, message) not in self.told:
            self.told.add((code, message))
            self.warn(code, message)

    def check(self) -> None:
        """Raise Cancelled if the run was cancelled."""
        if self.cancelled.is_set():
            raise Cancelled("the run was cancelled")


class Lent(Protocol):
    """Loaded models, for the time of a with-block: `with` in a sync node, `async with` in an async one."""

    def __enter__(self) -> tuple[Any, ...]: ...

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> None: ...

    async def __aenter__(self) -> tuple[Any, ...]: ...

    async def __aexit__(self, kind: Any, error: Any, trace: Any, /) -> None: ...


class Services(Protocol):
    """What the engine lends to a context."""

    def load(self, handles: tuple[Any, ...], working: int, borrower: Borrower) -> Lent:
        """Loaded models, for the time of a with-block."""

    def unplaced(self, handle: Any) -> Any:
        """A model with its weights in the host's memory."""

    def make_room(self, borrower: Borrower) -> None:
        """Free what memory can be freed: a node ran out of it and is run again."""

    def take_back(self, borrower: Borrower) -> None:
        """A call ended: take back what it left open."""

    def lookup(self, kind: str, name: str) -> Any:
        """A registered extension's code."""

    def facts(self, kind: str, name: str) -> Mapping[str, Any]:
        """What a registered extension said of itself."""

    def recognise(self, file: Any) -> tuple[str, dict[str, Any]] | None:
        """The model kind of a file, and what it knows of it."""

    def suggest(self, source: str, name: str) -> str | None:
        """The name below a source that is most alike."""

    def save(self, node: str, kind: str, data: Any, name_template: str, fields: Mapping[str, Any]) -> str:
        """Write a file for a node; its final path."""


class RunServices(Services, Protocol):
    """What the engine lends to a run."""

    def begin(self, node: str, *, saves: bool) -> None:
        """A sink's body begins; `saves` tells whether it can save through its context."""


class Context:
    """A node's door to the world, made anew for each run of a node."""

    def __init__(
        self,
        *,
        node: str,
        services: Services,
        emit: Callable[[Event], None],
        cancelled: threading.Event,
        edges: Mapping[str, Any] | None = None,
        mentioned: Mapping[str, Any] | None = None,
        previews: bool = True,
        economy: int = 0,
        work: Hashable = None,
        asynchronous: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self.borrower = Borrower(work, asynchronous, cancelled, warn=self.warn)
        self.economy = economy
        """How much memory to spare, 0..economies of the node type: more each time that the node ran out of it."""
        self.mentioned: Mapping[str, Any] = mentioned or {}  # ModelFiles that its texts may mean, by name
        self._services = services
        self._emit = emit
        self._cancelled = cancelled
        self._edges = edges or {}
        self._clock = clock
        self._next_preview = 0.0 if previews else math.inf
        self.used: set[tuple[str, str]] = set()
        """Kind and name of what was lent, beside the node's inputs: its result depends on it."""
        self.stopped = False  # whether the node was told to stop: what it returns then is not its result

    def check(self) -> None:
        """Raise Cancelled if the run was cancelled. `progress` calls it; long loops without progress should too."""
        if self._cancelled.is_set():
            self.stopped = True
            raise Cancelled("the run was cancelled", node=self.node)

    def progress(self, step: int, total: int, preview: Callable[[], Any] | None = None, message: str = "") -> None:
        """Report step of total. `preview` makes an Image and is called at most five times a second, and never in
        a run that nobody watches. Raises Cancelled when the run was cancelled.
        """
        self.check()
        self._emit(NodeProgress(node=self.node, step=step, total=total, message=message))
        now = self._clock()
        if preview is not None and now >= self._next_preview:
            try:
                self._emit(NodePreview(node=self.node, step=step, image=preview()))
            except OutOfMemoryError:  # a picture to look at is not worth the run
                self._next_preview = math.inf
                return
            self._next_preview = self._clock() + 1 / PREVIEWS_PER_SECOND

    def warn(self, code: str, message: str) -> None:
        """Tell the person something that does not stop the run."""
        self._emit(NodeWarning(node=self.node, code=code, message=message))

    def load(self, *handles: Any, working: int = 0) -> Lent:
        """`with ctx.load(model, controlnet, working=bytes) as (unet, control):` one reservation, always a tuple.

        An async node writes `async with`. One node at a time computes on the device: the others wait for their turn,
        and a cancel ends the wait. `working` is the memory that the node needs beside the weights, where it knows;
        otherwise the engine measures it.
        """
        self.check()
        for handle in handles:
            self.used.add(("model_kind", handle.model_kind))
            self.used.update(("patch", patch.kind) for patch in handle.patches)
        return self._services.load(handles, working, self.borrower)

    def unplaced(self, handle: Any) -> Any:
        """A model with all of its weights in the host's memory, as files and patches have them, not to be written to.

        For nodes that look at weights. `load` is for those that compute. Raises BadValueError for packed weights.
        """
        return self._services.unplaced(handle)

    def lookup(self, kind: str, name: str) -> Any:
        """The code registered as a "sampler", "schedule", "model_kind" or "patch" of that name."""
        self.used.add((kind, name))
        return self._services.lookup(kind, name)

    def facts(self, kind: str, name: str) -> Mapping[str, Any]:
        """What an extension said of itself when it was registered: a sampler's noise, evaluations per step, ..."""
        self.used.add((kind, name))
        return self._services.facts(kind, name)

    def recognise(self, file: Any) -> tuple[str, dict[str, Any]] | None:
        """(model kind, facts) of a ModelFile, told by the registered kinds from its content; None if none knows it."""
        self.used.add((RECOGNITION, ""))
        return self._services.recognise(file)

    def suggest(self, source: str, name: str) -> str | None:
        """The file below a source whose name is most alike, for a warning: no key knows of it."""
        return self._services.suggest(source, name)

    def save(self, kind: str, data: Any, name_template: str, **fields: Any) -> str:
        """Save an "image" (one picture of an Image, [H, W, C], or a PictureToSave), "text", "safetensors" or "bytes".

        The file's final path; it is never half there.

        `name_template` may hold {name}s of fields and {counter}; folders are below the output folder.
        """
        path = self._services.save(self.node, kind, data, name_template, fields)
        self._emit(FileSaved(node=self.node, path=path))
        return path

    def edge(self, input: str) -> Any:
        """What is wired to an input, for use in an expansion's nodes and outputs: for a list a list, with the literals
        that stand in it. Raises KeyError for an input without edges.
        """
        found = self._edges[input]
        return list(found) if type(found) is list else found
