"""Validates workflows in the server with the snapshots of plugins. Asks a worker if plugin code is needed."""

import asyncio
import base64
import binascii
import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from latentloom.api.workflow_files import load_workflow, workflow_names
from latentloom.engine.document.interfaces import registered
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.resolve import resolve
from latentloom.engine.document.strict_json import Limits
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.document.writing import to_json, write
from latentloom.engine.errors import Problem, WorkflowError
from latentloom.engine.files.catalog import Catalog
from latentloom.engine.files.hashes import Hashes
from latentloom.engine.files.pictures import picture_suffix
from latentloom.engine.jobs.job import NewJob
from latentloom.engine.planning.step import Checked
from latentloom.engine.planning.validate import validate
from latentloom.engine.settings import Settings
from latentloom.engine.types.registry import Registry
from latentloom.plugins.comfyui.bridge.packs import packs_of
from latentloom.plugins.discovery import Record, discover
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


class Intake:
    """Validation for the server. It runs in its own threads."""

    def __init__(self, settings: Settings, ask: Ask, stored: Callable[[str], None]) -> None:
        """`ask` is `Dispatcher.ask`, `stored` is that of the catalog."""
        self._settings = settings
        self._stored = stored
        self._ask = ask
        self._threads = ThreadPoolExecutor(2, "latentloom-intake")
        self.limits = Limits(size=settings.request_bytes, nodes=settings.request_nodes)
        self._looked = False  # whether a worker has loaded all plugins
        self.refresh()

    def refresh(self, failed: Collection[Record] = ()) -> None:
        """Read the snapshots. Workers create missing ones when they start, except for plugins that fail."""
        found = discover(
            Snapshots(self._settings.data / "specs"),
            self._settings.plugins,
            imports=False,
            packs=packs_of(self._settings),
        )
        packaged = [(f.source, path) for f in found.registry.folders if (path := f.path()) is not None]
        self._registry = found.registry
        self._catalog = Catalog(
            self._settings.input,
            self._settings.models,
            Hashes(self._settings.data / "hashes.db"),
            packaged,
            self._stored,
        )
        faults = {record.plugin: record for record in failed}
        self.plugins = tuple(faults.get(record.plugin, record) for record in found.records)

    def looked(self, failed: Collection[Record]) -> None:
        """Note that a worker has loaded the plugins, and which of them failed."""
        self._looked = True
        self.refresh(failed)

    @property
    def ready(self) -> bool:
        """Whether each plugin has a snapshot or is known to fail."""
        return self._looked or all(record.status != "no snapshot" for record in self.plugins)

    def files(self, sees: str | None) -> Catalog:
        """Return the files that a caller may use; see `Order.sees`."""
        return self._catalog.of(sees)

    @property
    def registry(self) -> Registry:
        """The registry. Raises NotReady until all plugins have been loaded once."""
        if not self.ready:
            raise NotReady("the plugins are being inspected for the first time", hint="try again in a moment")
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
        """Return a shipped workflow as JSON, or None."""
        return to_json(load_workflow(name)) if name in workflow_names() else None

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
            **fields,
        )

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
        resolved = resolve(workflow, self._registry, inputs)
        return resolved, validate(resolved, self._registry, files, order.outputs)


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
