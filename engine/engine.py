"""The engine: built from settings and a registry, it validates, explains and runs workflows."""

import copy
import json
import threading
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from latentloom.engine.cache.cache import Cache, Flights
from latentloom.engine.cache.disk import DiskStore
from latentloom.engine.document.interfaces import node_types, port_at
from latentloom.engine.document.resolve import resolve
from latentloom.engine.document.workflow import Target, Workflow
from latentloom.engine.document.writing import write
from latentloom.engine.errors import FileError, LoomError, PathError, WorkflowError, nearest
from latentloom.engine.events import Listener, NodeProgress, NodeWarning, RunEvent
from latentloom.engine.execution.executor import Executor
from latentloom.engine.execution.imports import Imports
from latentloom.engine.execution.memory_plan import MemoryNeed, memory_plan
from latentloom.engine.execution.memory_retry import Economies
from latentloom.engine.execution.options import Options
from latentloom.engine.execution.outcome import Outcome
from latentloom.engine.execution.process_state import ProcessState
from latentloom.engine.execution.record import Making
from latentloom.engine.execution.runs import Runs
from latentloom.engine.execution.tools import Tools
from latentloom.engine.files.catalog import Catalog
from latentloom.engine.files.checks import Checked as CheckedPicture
from latentloom.engine.files.checks import check
from latentloom.engine.files.encoding import SUFFIXES, PictureToSave, encode
from latentloom.engine.files.hashes import Hashes
from latentloom.engine.files.labels import Label, SourceType, label_of, packet
from latentloom.engine.files.model_files import ModelFile
from latentloom.engine.files.partial import sweep
from latentloom.engine.files.pictures import RECORD_CHUNK, WORKFLOW_CHUNK
from latentloom.engine.files.preview_maps import PreviewMaps
from latentloom.engine.files.save import Counters, Saver, Saves
from latentloom.engine.models.environment import Environment, probe
from latentloom.engine.models.store import Budgets, ModelStore
from latentloom.engine.planning.explain import Explainer, Explanation
from latentloom.engine.planning.identity import Identity
from latentloom.engine.planning.step import Checked
from latentloom.engine.planning.uses import Uses
from latentloom.engine.planning.validate import validate
from latentloom.engine.settings import Settings
from latentloom.engine.types.context import Borrower, Lent
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import InputSpec
from latentloom.engine.types.values import Image


@dataclass(frozen=True, slots=True)
class Job:
    """A resolved and validated workflow, ready to run."""

    workflow: Workflow
    checked: Checked


class Engine:
    """Owns what all runs share: registry, cache, models and files. Create one per process."""

    def __init__(self, settings: Settings, registry: Registry, *, metadata: bool = True, label: bool = True) -> None:
        """`metadata`: embed workflow and record in pictures. `label`: label the pictures that models made."""
        self.settings = settings
        self.registry = registry
        self._metadata = metadata
        self._label = label
        hashes = Hashes(settings.data / "hashes.db")
        packaged = [(folder.source, path) for folder in registry.folders if (path := folder.path()) is not None]
        self.catalog = Catalog(settings.input, settings.models, hashes, packaged)
        self.store = DiskStore(settings.cache, settings.cache_bytes) if settings.cache_bytes else None
        self.cache = Cache(settings.memory_cache_bytes, self.store)
        budgets = Budgets(settings.vram_budget, settings.ram_budget)
        self.models = ModelStore(registry, lambda: self.environment, self.catalog.path_of, budgets)
        self._local = threading.local()
        self._runs = Runs()
        self.counters = Counters()
        self.preview_maps = PreviewMaps(settings.data / "previews")
        self._swept: set[Path] = set()  # folders that were cleared of partial files
        self.economies = Economies()
        self.state = ProcessState()
        self._identity = Identity(
            registry,
            self._identify,
            lambda: self.environment.record(),
            settings.salt,
            self.economies.of,
            self.catalog.mentioned,
            lambda: self.state.deviation,
        )
        uses = Uses(registry)
        known, imports = self._identity, Imports(registry)
        tools = Tools(registry, self.cache, Flights(), known, uses, self.catalog, self.economies, self.state, imports)
        self._explainer = Explainer(self._identity, uses, self.cache, registry, self.catalog)
        self._executor = Executor(tools)

    @cached_property
    def environment(self) -> Environment:
        """Device, dtype and library versions. Raises SettingsError."""
        return probe(self.settings)

    def _identify(self, source: str, name: str) -> Any:
        report: Callable[[int, int], None] | None = getattr(self._local, "report", None)
        return self.catalog.identify(source, name, report)

    # Preparing

    def check(
        self,
        workflow: Workflow,
        inputs: Mapping[str, Any] | None = None,
        values: Mapping[Target, Any] | None = None,
        wanted: Collection[str] | None = None,
    ) -> tuple[Workflow, Checked]:
        """Return the resolved workflow and its validation result. Raises WorkflowError for unknown inputs."""
        targets = {named.name: named.to for named in workflow.inputs}
        stored = {name: self._stored(workflow, targets.get(name, ()), value) for name, value in (inputs or {}).items()}
        placed = {target: self._stored(workflow, (target,), value) for target, value in (values or {}).items()}
        resolved = resolve(workflow, self.registry, stored, placed)
        return resolved, validate(resolved, self.registry, self.catalog, wanted)

    def prepare(
        self,
        workflow: Workflow,
        inputs: Mapping[str, Any] | None = None,
        values: Mapping[Target, Any] | None = None,
        wanted: Collection[str] | None = None,
    ) -> Job:
        """Return a job that can run. Raises WorkflowError with all problems."""
        resolved, checked = self.check(workflow, inputs, values, wanted)
        if checked.problems:
            raise WorkflowError(checked.problems)
        return Job(resolved, checked)

    def _stored(self, workflow: Workflow, targets: Collection[Target], value: Any) -> Any:
        """Copy paths given for a FILE input into the input folder: a document can name only files in that folder."""
        types = node_types(workflow, self.registry)
        for target in targets:
            port = port_at(workflow, types, target)
            if port is not None and port.kind == "FILE":
                source = port.source or "input"
                many = isinstance(value, list)
                return [self._stored_file(source, item) for item in value] if many else self._stored_file(source, value)
        return value

    def _stored_file(self, source: str, value: Any) -> Any:
        """Return the name of the stored file. A value that names no file is unchanged; validation reports it."""
        if isinstance(value, Path):
            return self.catalog.store(value)
        if not isinstance(value, str):
            return value
        try:
            self.catalog.find(source, value)
        except PathError:
            return self.catalog.store(Path(value))
        except LoomError:
            return self.catalog.store(Path(value)) if Path(value).is_file() else value
        return value

    # Running

    def run(
        self,
        job: Job,
        *,
        listen: Listener = lambda event: None,
        cancelled: threading.Event | None = None,
        use_cache: bool = True,
        previews: bool = False,
        out: Path | None = None,
        resume: str | None = None,
        saver: Saves | None = None,
    ) -> Outcome:
        """Run a job to its end and return its outcome, which holds the error if a node failed.

        Files are saved to `out`, by default to the output folder. Previews cost time, so they are made only with
        `previews`. `resume` is the id of a run: if the same job was started under this id before, its stored results
        are reused, also those of nondeterministic nodes and sinks. `saver` replaces the default saver.
        """
        if saver is None:
            folder = out or self.settings.output
            if folder not in self._swept:
                sweep([folder])
                self._swept.add(folder)
            saver = Saver(folder, self.counters)
        checked = replace(job.checked, steps=dict(job.checked.steps))  # a run adds the steps of expansions
        making = Making(checked, self.environment)
        files: list[str] = []

        def hear(event: RunEvent) -> None:
            making(event)
            listen(event)

        services = _RunServices(self, job, making, saver, files, hear)
        if self.store is not None:
            self.store.notice = lambda code, message: hear(NodeWarning(node=None, code=code, message=message))
        self._local.report = _HashProgress(hear)
        options = Options(
            run=resume or uuid.uuid4().hex,
            name=job.workflow.name,
            use_cache=use_cache,
            previews=previews,
            resumable=resume is not None,
        )
        cancelled = threading.Event() if cancelled is None else cancelled
        with self._runs.under_way(cancelled):
            outcome = self._executor.run(checked, services, options, hear, cancelled)
        outcome.files = files
        outcome.origins = {
            name: services.origin(checked.outputs[name].node)
            for name, value in outcome.outputs.items()
            if isinstance(value[0] if isinstance(value, list) and value else value, Image)
        }
        return outcome

    def explain(self, job: Job) -> list[Explanation]:
        """Explain each step of the plan: a cache hit, or the parts of its cache key that changed."""
        return self._explainer.explain(job.checked, job.workflow.name)

    def memory_plan(self, job: Job) -> list[MemoryNeed]:
        """Return where the weights of each node's models would be placed. Runs the nodes that produce model handles."""
        return memory_plan(job.checked, lambda checked: self.run(Job(job.workflow, checked)).outputs, self.models)

    def recognise(self, path: Path) -> tuple[str, dict[str, Any]] | None:
        """Return the model kind of a file or folder and its facts, or None. Raises FileError if the file is broken.

        A kind whose facts contain "refused", the reason why it rejects the file, is returned only if no other matches.
        """
        refused: tuple[str, dict[str, Any]] | None = None
        for name, extension in self.registry.extensions("model_kind").items():
            try:
                info = extension.load()().recognise(path)
                found = None if info is None else dict(info)
            except LoomError:
                raise
            except Exception as error:  # one broken file must not abort the listing of all files
                text = f"{type(error).__name__}: {error}"
                raise FileError(f"'{path.name}' cannot be read as {name}", got=text) from error
            if found is not None:
                if "refused" not in found:
                    return name, found
                refused = refused or (name, found)
        return refused

    def check_picture(self, pixels: Any) -> CheckedPicture:
        """Show a picture [H, W, C] to all checkers before it is saved. Raises PictureRefusedError, PluginError."""
        checkers = {name: item.load() for name, item in self.registry.extensions("checker").items()}
        return check(pixels, checkers)

    def figures(self) -> dict[str, int]:
        """Return the counters of the cache and the models since the engine was created, and the memory they use."""
        counts = self.cache.counts
        cache = {"cache_hits": counts.hits, "cache_misses": counts.misses, "cache_bytes": self.cache.held_bytes}
        return {**cache, **self.models.figures()}

    def close(self) -> None:
        """Cancel all runs, wait until they end, and release files and models."""
        self._runs.end()
        self.models.evict_all()
        if self.store is not None:
            self.store.flush()
            self.store.close()


class _HashProgress:
    """Reports the progress of hashing a file that is larger than 64 MiB."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen

    def __call__(self, done: int, total: int) -> None:
        if total > 64 * 2**20:
            self._listen(NodeProgress(node="", step=done // 2**20, total=total // 2**20, message="hashing a model"))


class _RunServices:
    """The engine's services for the nodes of one run, available through their contexts."""

    def __init__(
        self, engine: Engine, job: Job, making: Making, saver: Saves, files: list[str], hear: Listener
    ) -> None:
        self._engine = engine
        self._job = job
        self._making = making
        self._saver = saver
        self._files = files
        self._hear = hear
        self._loaded = False
        self._told: set[tuple[str, str]] = set()
        self._labels = cache(self._label_of)

    def load(self, handles: tuple[Any, ...], working: int, borrower: Borrower) -> Lent:
        if not self._loaded and self._engine.environment.slow:
            text = "fp16 is very slow on a CPU: try --dtype fp32 or bf16"
            self._hear(NodeWarning(node=None, code="slow_dtype", message=text))
        self._loaded, borrower.told = True, self._told
        return self._engine.models.load(handles, working, borrower)

    @property
    def preview_maps(self) -> PreviewMaps:
        return self._engine.preview_maps

    @property
    def device(self) -> str:
        return self._engine.environment.device

    def folder(self, plugin: str) -> Path:
        return self._engine.settings.plugin_folder(plugin)

    def unplaced(self, handle: Any) -> Any:
        return self._engine.models.unplaced(handle)

    def make_room(self, borrower: Borrower) -> None:
        self._engine.models.make_room(borrower)

    def take_back(self, borrower: Borrower) -> None:
        self._engine.models.take_back(borrower)

    def lookup(self, kind: str, name: str) -> Any:
        return self._engine.registry.extension(kind, name).load()

    def facts(self, kind: str, name: str) -> Mapping[str, Any]:
        return copy.deepcopy(dict(self._engine.registry.extension(kind, name).info))  # the node may modify it

    def recognise(self, file: ModelFile) -> tuple[str, dict[str, Any]] | None:
        return self._engine.recognise(Path(file.path))

    def suggest(self, source: str, name: str) -> str | None:
        return nearest(name, (PurePosixPath(found).stem for found in self._engine.catalog.names(source)))

    def begin(self, node: str, *, saves: bool) -> None:
        self._saver.begin(node, saves=saves)

    def save(self, node: str, kind: str, data: Any, name_template: str, fields: Mapping[str, Any]) -> str:
        item = int(fields.get("item", 0))
        models = self._models(node)
        record = {**self._making.record(node, item, models), "label": self._label_text(node)}
        own = {"name": self._job.workflow.name or "picture", "node": node, "seed": record["seed"] or 0, **fields}
        known = {**self._job.workflow.named_values(), **own}
        suffix, content = self._content(kind, data, record, self._packet(node))
        path = str(self._saver.save(content, name_template, suffix, known))
        self._files.append(path)
        return path

    def origin(self, node: str) -> SourceType | None:
        """Return the digital source type that a node's pictures are labelled with; None for no label."""
        return self._making.origin(node, self._labels) if self._engine._label else None

    def _packet(self, node: str) -> bytes | None:
        origin = self.origin(node)
        return packet(origin) if origin or self._engine._metadata else None

    def _label_text(self, node: str) -> str | None:
        """Return the digital source type of a node's pictures, or "left out" if the engine does not label."""
        origin = self._making.origin(node, self._labels)
        return origin if origin is None or self._engine._label else "left out"

    def _label_of(self, source: str, name: str) -> Label:
        return label_of(self._engine.catalog.find(source, name).path)

    def _content(self, kind: str, data: Any, record: Mapping[str, Any], xmp: bytes | None) -> tuple[str, bytes]:
        if kind == "image":
            picture = data if isinstance(data, PictureToSave) else PictureToSave(data)
            Image(picture.pixels[None])  # raises if it is not a picture
            seen = self._engine.check_picture(picture.pixels)
            picture = replace(picture, pixels=seen.pixels)
            record = {**record, "checkers": dict(seen.said)} if seen.said else record
            texts = (
                {WORKFLOW_CHUNK: self._document(), RECORD_CHUNK: json.dumps(record)} if self._engine._metadata else {}
            )
            return SUFFIXES[picture.form], encode(picture, texts, xmp)
        if kind == "text":
            return ".txt", data.encode()
        return ".safetensors" if kind == "safetensors" else "", bytes(data)

    def _document(self) -> str:
        nodes = self._engine.registry.nodes
        return write(self._job.workflow, lambda type: nodes[type].spec if type in nodes else None)

    def _models(self, node: str) -> dict[str, ModelFile]:
        """Return the model files that a node's output depends on, by the input or the text that names them."""
        places = [(step, port) for step in self._making.upstream(node) for port in step.spec.inputs]
        return {
            f"{step.id}/{port.name}/{name}": self._engine._identify(source, name)
            for step, port in places
            for source, name in self._named(port, step.literals.get(port.name))
        }

    def _named(self, port: InputSpec, value: Any) -> list[tuple[str, str]]:
        """Return the source and the name of each model file that a literal refers to."""
        if value and port.kind == "MODEL_FILE":
            return [(port.source or "", value)]
        if value and port.mentions:
            return [(port.mentions, name) for name in self._engine.catalog.mentioned(port.mentions, value)]
        return []
