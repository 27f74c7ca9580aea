"""Validates workflows in the server with the snapshots of plugins. Asks a worker if plugin code is needed."""

import asyncio
import base64
import binascii
import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from latentloom.api.workflow_files import block_names, load_workflow, workflow_names
from latentloom.engine.document.interfaces import registered
from latentloom.engine.document.reading import from_json, read
from latentloom.engine.document.resolve import resolve
from latentloom.engine.document.strict_json import Limits
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.document.writing import to_json, write
from latentloom.engine.errors import Problem, WorkflowError
from latentloom.engine.files.catalog import Catalog
from latentloom.engine.files.hashes import Hashes
from latentloom.engine.files.pictures import picture_suffix
from latentloom.engine.jobs.batches import Batch, CellRecord
from latentloom.engine.jobs.job import NewJob
from latentloom.engine.planning.model_names import model_names
from latentloom.engine.planning.step import Checked
from latentloom.engine.planning.sweep import Cell, check_cells, run_order
from latentloom.engine.planning.validate import validate
from latentloom.engine.settings import Settings
from latentloom.engine.types.registry import Registry
from latentloom.plugins.comfyui.bridge.packs import packs_of
from latentloom.plugins.discovery import BUILTIN, WAITS, Discovered, Record, discover
from latentloom.plugins.isolation.isolating import Isolation
from latentloom.plugins.snapshots import Snapshots
from latentloom.web.dispatcher import NotReady

Ask = Callable[..., Awaitable[Any]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """A workflow and the values for its named inputs, as a client sent them.

    `sees`: the owner whose uploaded pictures it may name; None: those of all.
    """

    document: Mapping[str, Any]
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...] | None
    sees: str | None


@dataclass(frozen=True, slots=True)
class Swept:
    """The checked runs of a batch: a document without the values of the cells, the cells, and their order."""

    document: str
    name: str
    device: bool
    cells: list[Cell]
    order: list[int]


class Intake:
    """Validation for the server. It runs in its own threads."""

    def __init__(self, settings: Settings, ask: Ask, stored: Callable[[str], None]) -> None:
        """`ask` is `Dispatcher.ask`, `stored` is that of the catalog."""
        self._settings = settings
        self._stored = stored
        self._ask = ask
        self._threads = ThreadPoolExecutor(2, "latentloom-intake")
        self.limits = Limits(size=settings.request_bytes, nodes=settings.request_nodes)
        self._failed: dict[str, Record] = {}
        self._refreshing = asyncio.Lock()
        self._take(self._installed())

    async def refresh(self, failed: Collection[Record] = ()) -> None:
        """Use what is installed now. `failed`: plugins that have no snapshot because they failed."""
        async with self._refreshing:  # what was read later is used later
            self._failed |= {record.plugin: record for record in failed}
            self._take(await self.thread(self._installed))

    async def looked(self, failed: Collection[Record]) -> None:
        """Note that a worker is up: it has loaded the plugins that ship. `failed`: those that it could not load."""
        if not self.ready:
            await self.refresh(failed)

    def _installed(self) -> Discovered:
        """Return what is installed, from snapshots. No code of a plugin runs."""
        specs = Snapshots(self._settings.data / "specs")
        return discover(
            specs,
            self._settings.plugins,
            inspect="none",
            packs=packs_of(self._settings),
            isolation=Isolation.of(self._settings),
        )

    def _take(self, found: Discovered) -> None:
        packaged = [(f.source, path) for f in found.registry.folders if (path := f.path()) is not None]
        self._registry = found.registry
        self._catalog = Catalog(
            self._settings.input,
            self._settings.models,
            Hashes(self._settings.data / "hashes.db"),
            packaged,
            self._stored,
        )
        self.plugins = tuple(
            self._failed.get(record.plugin, record) if record.status == WAITS else record for record in found.records
        )

    @property
    def ready(self) -> bool:
        """Whether the built-in nodes are known, or known to fail, so that jobs can be checked."""
        return all(record.status != WAITS for record in self.plugins if record.ships)

    @property
    def inspecting(self) -> list[str]:
        """The names of the plugins that are not inspected yet. Jobs that need none of them run."""
        return [record.plugin for record in self.plugins if record.status == WAITS]

    @property
    def codes(self) -> frozenset[str]:
        """The identities of the code of plugins that can run."""
        found = self._registry.distributions.values()
        return frozenset(distribution.code for distribution in found if distribution.name != BUILTIN)

    def files(self, sees: str | None) -> Catalog:
        """Return the files that a caller may use; see `Order.sees`."""
        return self._catalog.of(sees)

    @property
    def registry(self) -> Registry:
        """The registry. Raises NotReady until the built-in nodes are known."""
        if not self.ready:
            raise NotReady("the built-in nodes are being inspected for the first time", hint="try again in a moment")
        return self._registry

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    async def thread(self, act: Callable[..., T], *arguments: Any) -> T:
        """Run a slow function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, act, *arguments)

    # Documents

    def read(self, document: Any) -> Workflow:
        """Read a workflow from a client's JSON. Raises WorkflowError."""
        return from_json(document, self.limits)

    def canonical(self, workflow: Workflow) -> str:
        """Return the canonical text, in which documents are stored."""
        return write(workflow, registered(self._registry))

    def shipped(self, name: str) -> dict[str, Any] | None:
        """Return a shipped workflow or block as JSON, or None."""
        return to_json(load_workflow(name)) if name in (*workflow_names(), *block_names()) else None

    # Orders

    async def job(self, order: Order, **fields: Any) -> NewJob:
        """Return a job for the queue. Raises WorkflowError with all problems, NotReady."""
        return await self._with(order, lambda workflow: self._job(order, workflow, fields))

    def _job(self, order: Order, read: Workflow, fields: Mapping[str, Any]) -> NewJob:
        workflow, checked = self._check(read, order)
        if checked.problems:
            raise WorkflowError(checked.problems)
        return NewJob(
            id=uuid.uuid4().hex,
            document=self.canonical(workflow),
            name=workflow.name,
            outputs=order.outputs,
            device=checked.needs_device,
            models=model_names(workflow, self._registry),
            **fields,
        )

    async def sweep(self, order: Order, cells_of: Callable[[Workflow], list[Cell]]) -> Swept:
        """Return a batch's document, and its cells in order. `cells_of` returns them for the document.

        Raises WorkflowError with all problems, NotReady.
        """
        return await self._with(order, lambda workflow: self._sweep(order, workflow, cells_of))

    def _sweep(self, order: Order, workflow: Workflow, cells_of: Callable[[Workflow], list[Cell]]) -> Swept:
        files = self.files(order.sees)
        self._inspected(_types_in(workflow))
        base = resolve(workflow, self._registry, {name: _given(value, files) for name, value in order.inputs.items()})
        cells = cells_of(base)
        check_cells(cells, base, self._registry, files)
        checked = validate(base.with_inputs(cells[0]), self._registry, files, order.outputs)
        if checked.problems:
            raise WorkflowError(checked.problems)
        run = run_order(cells, base, self._registry)
        return Swept(self.canonical(base), base.name, checked.needs_device, cells, run)

    async def cell_jobs(self, batch: Batch, cells: Sequence[CellRecord]) -> list[tuple[int, NewJob | WorkflowError]]:
        """Return a job for each cell of a batch, or why there is none. Their values have been checked.

        Raises NotReady.
        """
        registry = self.registry
        return await self.thread(self._cell_jobs, batch, cells, registry)

    def _cell_jobs(
        self, batch: Batch, cells: Sequence[CellRecord], registry: Registry
    ) -> list[tuple[int, NewJob | WorkflowError]]:
        base, found = read(batch.document), list[tuple[int, NewJob | WorkflowError]]()
        self._inspected(_types_in(base))
        for cell in cells:
            try:
                workflow = resolve(base, registry, cell.inputs)
            except WorkflowError as error:
                found.append((cell.place, error))
                continue
            job = NewJob(
                id=uuid.uuid4().hex,
                document=self.canonical(workflow),
                name=batch.name,
                outputs=batch.outputs,
                owner=batch.owner,
                priority=batch.priority,
                tags=batch.tags,
                device=batch.device,
                models=model_names(workflow, registry),
            )
            found.append((cell.place, job))
        return found

    async def check(self, order: Order) -> tuple[Workflow, Checked]:
        """Return the resolved workflow and its validation result. Raises WorkflowError, NotReady."""
        return await self._with(order, lambda workflow: self._check(workflow, order))

    async def _with(self, order: Order, act: Callable[[Workflow], T]) -> T:
        """Run a function on an order's workflow in a thread, after its nodes were migrated."""
        registry = self.registry

        def at_once() -> tuple[T | None, Workflow]:
            workflow = self.read(order.document)
            return (None, workflow) if self._old(workflow, registry) else (act(workflow), workflow)

        found, workflow = await self.thread(at_once)
        if found is not None:
            return found
        migrated = await self._ask("migrate", document=to_json(workflow))
        return await self.thread(lambda: act(self.read(migrated)))

    def _old(self, workflow: Workflow, registry: Registry) -> bool:
        """Whether plugin code must migrate nodes."""
        nodes = (node for scope in workflow.scopes() for node in scope.nodes.values())
        known = ((node, registry.nodes.get(node.type)) for node in nodes)
        return any(found and found.spec.migrates and node.version < found.spec.version for node, found in known)

    def _check(self, workflow: Workflow, order: Order) -> tuple[Workflow, Checked]:
        """Like `Engine.check`, but a string is never used as a path on this machine."""
        files = self.files(order.sees)
        inputs = {name: _given(value, files) for name, value in order.inputs.items()}
        self._inspected(_types_in(workflow))
        resolved = resolve(workflow, self._registry, inputs)
        checked = validate(resolved, self._registry, files, order.outputs)
        if any(problem.code == "unknown_choice" for problem in checked.problems):
            self._inspected(None)
        return resolved, checked

    def _inspected(self, types: Collection[str] | None) -> None:
        """Raise NotReady if a plugin that is not inspected may provide one of these types, or anything (None)."""
        owners = None if types is None else {type.partition("/")[0] for type in types - self._registry.nodes.keys()}
        waiting = [
            record.plugin
            for record in self.plugins
            if record.status == WAITS and (owners is None or owners & {record.plugin, record.prefix})
        ]
        if waiting:
            raise NotReady(
                f"the workflow may need a plugin that is being inspected: {', '.join(waiting)}",
                hint="try again in a moment",
            )


def _types_in(workflow: Workflow) -> set[str]:
    return {node.type for scope in workflow.scopes() for node in scope.nodes.values()}


def _given(value: Any, files: Catalog) -> Any:
    """Return an input's value. A picture in base64, also in a list, is stored and replaced by its name."""
    if isinstance(value, list):
        return [_given(item, files) for item in value]
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        try:
            data = base64.b64decode(value["base64"], validate=True)
        except binascii.Error as error:
            raise WorkflowError([Problem(code="bad_value", message=f"not base64: {error}")]) from None
        return files.store_bytes(data, suffix_of(data))
    return value


def suffix_of(data: bytes) -> str:
    """Return the suffix of a picture, detected from its first bytes. Raises WorkflowError for anything else."""
    suffix = picture_suffix(data)
    if suffix is None:
        expected = "PNG, JPEG, WebP, AVIF, HEIC, GIF, BMP or TIFF"
        raise WorkflowError([Problem(code="bad_file", message="not a picture", expected=expected)])
    return suffix


def fingerprint(data: Any) -> str:
    """Return a digest of a request, to detect repeated requests."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
