"""A test kit for plugins: checks that the nodes of an installed plugin follow the rules (docs/plugins.md)."""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from latentloom.engine.engine import Engine
from latentloom.engine.errors import Cancelled, LoomError, nearest
from latentloom.engine.events import Event, NodeProgress
from latentloom.engine.execution.call import Call
from latentloom.engine.execution.outputs import outputs_of
from latentloom.engine.files.preview_maps import PreviewMaps
from latentloom.engine.files.save import Saver
from latentloom.engine.keys import digest, literal_digest
from latentloom.engine.planning.step import Step
from latentloom.engine.settings import load_settings
from latentloom.engine.types.context import Borrower, Context, Lent
from latentloom.engine.types.expansion import Expansion, Given
from latentloom.engine.types.registry import NodeType
from latentloom.engine.types.spec import ANY, FILE_KINDS, LITERAL_KINDS
from latentloom.plugins.discovery import discover
from latentloom.plugins.samples import NoSampleError, Samples

Check = Callable[["Bench"], Iterator[str]]


class PluginChecks:
    """Subclass it in a test file: `class TestMine(PluginChecks): plugin = "vignette"`.

    `plugin` is the name of the entry point. `samples` maps node type (without the plugin's prefix) and input to a value
    for the node, or to a function without arguments that creates one. For other inputs, small values are created from
    the spec. There are none for models, so a node with a model input needs a sample.
    """

    plugin: ClassVar[str]
    samples: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def test_numbers_have_bounds(self, tmp_path: Path) -> None:
        """Each number input has a minimum and a maximum, so that an editor can show it and bad values are rejected."""
        _refute(self, tmp_path, bounds)

    def test_everything_is_documented(self, tmp_path: Path) -> None:
        """Nodes have a category and a help sentence; literal inputs, port types and extensions are explained."""
        _refute(self, tmp_path, docs)

    def test_pure_nodes_repeat_themselves(self, tmp_path: Path) -> None:
        """A pure node returns the same values when it runs again with the same inputs."""
        _refute(self, tmp_path, purity)

    def test_inputs_are_left_alone(self, tmp_path: Path) -> None:
        """No node modifies an input value."""
        _refute(self, tmp_path, mutation)

    def test_the_process_is_left_alone(self, tmp_path: Path) -> None:
        """No node changes process-wide settings: the default dtype, the working folder, the environment, ..."""
        _refute(self, tmp_path, process)

    def test_cancel_is_honoured(self, tmp_path: Path) -> None:
        """A node that reports progress does not catch Cancelled from `ctx.progress`, so that it ends."""
        _refute(self, tmp_path, cancel)

    def test_kept_state_changes_nothing(self, tmp_path: Path) -> None:
        """A node that keeps its state with `ctx.keep` and goes on from it returns what an undisturbed call returns."""
        _refute(self, tmp_path, keeping)


def check_plugin(plugin: str, samples: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Run all checks on an installed plugin. Raises AssertionError with all faults, one per line."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(plugin, samples or {}, Path(folder))
        faults = [fault for check in CHECKS for fault in check(bench)]
    if faults:
        raise AssertionError("\n".join(dict.fromkeys(faults)))


def _refute(checks: PluginChecks, folder: Path, check: Check) -> None:
    faults = list(check(Bench(checks.plugin, checks.samples, folder)))
    if faults:
        raise AssertionError("\n".join(faults))


# The checks. Each yields one line per fault.


def bounds(bench: "Bench") -> Iterator[str]:
    """Find numbers without a minimum or a maximum."""
    for node in bench.nodes:
        for port in node.spec.inputs:
            if port.kind in ("INT", "FLOAT") and None in (port.minimum, port.maximum):
                yield f"{node.spec.type}: input '{port.name}' has no bounds; write Field(ge=..., le=...)"


def docs(bench: "Bench") -> Iterator[str]:
    """Find missing documentation."""
    for node in bench.nodes:
        spec = node.spec
        if not spec.category:
            yield f'{spec.type}: has no category; write @node(..., category="image")'
        if not spec.help.partition("\n")[0].endswith("."):
            yield f"{spec.type}: the first line of its docstring is not a sentence that ends with '.'"
        for port in spec.inputs:
            if port.kind in LITERAL_KINDS and not (port.seed or port.help or port.name in spec.help):
                yield f"{spec.type}: input '{port.name}' is not explained; write Field(description=...)"
    for kind, name, help in bench.registered():
        if not help:
            yield f"{kind} '{name}': has no docstring"


def purity(bench: "Bench") -> Iterator[str]:
    """Find pure nodes with different results for the same input, and nodes that cannot run."""
    for node in bench.nodes:
        first = bench.attempt(node)
        if first.fault:
            yield f"{node.spec.type}: {first.fault}"
        elif node.spec.purity == "pure" and bench.attempt(node).outputs != first.outputs:
            yield (
                f"{node.spec.type}: gives other values when it runs again; use a seed input, or "
                'purity="nondeterministic"'
            )


def mutation(bench: "Bench") -> Iterator[str]:
    """Find inputs whose digest changes during a run."""
    for node in bench.nodes:
        for name in bench.attempt(node).changed:
            yield f"{node.spec.type}: writes into its input '{name}'; work on a copy"


def process(bench: "Bench") -> Iterator[str]:
    """Find process settings that nodes change."""
    for node in bench.nodes:
        for what in bench.attempt(node).left:
            yield f"{node.spec.type}: changes {what} for the whole process; put it back, or set it in another process"


def cancel(bench: "Bench") -> Iterator[str]:
    """Find nodes that continue after a cancel."""
    for node in bench.nodes:
        reports = bench.attempt(node).reports if node.spec.context else 0
        if reports and not bench.attempt(node, cancel_after=min(reports - 1, 1)).cancelled:
            yield f"{node.spec.type}: continues after a cancellation; do not catch what ctx.progress raises"


def keeping(bench: "Bench") -> Iterator[str]:
    """Find nodes that return something else when they go on from the state that they kept."""
    for node in bench.nodes:
        state = KeptInMemory()
        whole = bench.attempt(node, state=state) if node.spec.context and node.spec.purity == "pure" else Attempt()
        if not state.there:
            continue
        for reports in range(1, whole.reports):
            state = KeptInMemory()
            bench.attempt(node, cancel_after=reports, state=state)
            if bench.attempt(node, state=state).outputs != whole.outputs:
                yield f"{node.spec.type}: gives other values when it goes on from what it kept at report {reports}"
                break


CHECKS: tuple[Check, ...] = (bounds, docs, purity, mutation, process, cancel, keeping)


# Running one node


class KeptInMemory:
    """The kept state of a node under test."""

    def __init__(self) -> None:
        self.there = False
        self._data: bytes | None = None

    def keep(self, data: bytes, used: Collection[tuple[str, str]]) -> bool:  # noqa: ARG002
        """See `State.keep`."""
        self._data, self.there = data, True
        return True

    def kept(self) -> bytes | None:
        """See `State.kept`."""
        return self._data


@dataclass(slots=True)
class Attempt:
    """The observations from one run of a node."""

    outputs: dict[str, Any] = field(default_factory=dict)  # digests
    changed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # process settings that it changed
    reports: int = 0
    cancelled: bool = False
    fault: str | None = None


class Bench:
    """The nodes of an installed plugin, found by discovery, and an engine in a folder to run them."""

    def __init__(self, plugin: str, samples: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
        """Raises AssertionError if the plugin is not installed or cannot be loaded."""
        found = discover(only=[plugin])
        record = next((record for record in found.records if record.plugin == plugin), None)
        if record is None or record.status != "loaded":
            raise AssertionError(f"the plugin '{plugin}' {record.error if record else 'is not installed'}")
        flags = {"device": "cpu", "dtype": "fp32", "cache_bytes": 0}
        self.engine = Engine(load_settings(flags, {"LATENTLOOM_HOME": str(folder)}), found.registry)
        self.nodes = [node for node in found.registry.nodes.values() if node.distribution.plugin == plugin]
        self._plugin = plugin
        self._samples = Samples(samples, self.engine)

    def registered(self) -> Iterator[tuple[str, str, str]]:
        """Yield kind, name and help of the plugin's port types and extensions."""
        for item in self.engine.registry.types():
            if item.distribution.plugin == self._plugin:
                yield "port type", item.kind, item.help
        for kind in ("sampler", "schedule", "model_kind", "patch", "importer", "checker"):
            for name, extension in self.engine.registry.extensions(kind).items():
                if extension.distribution.plugin == self._plugin:
                    yield kind, name, extension.info["help"] or extension.load().__doc__ or ""

    def attempt(self, node: NodeType, *, cancel_after: int | None = None, state: KeptInMemory | None = None) -> Attempt:
        """Run a node once, with a kept state. `cancel_after` cancels it after this number of progress reports."""
        made, cancelled = Attempt(), threading.Event()
        if cancel_after == 0:
            cancelled.set()

        def emit(event: Event) -> None:
            made.reports += isinstance(event, NodeProgress)
            if cancel_after is not None and made.reports >= cancel_after:
                cancelled.set()

        try:
            values = self._samples.of(node)
            before = self._digests(node, values)
            context = self._context(node, emit, cancelled, state)
            try:
                with self.engine.state.run():
                    made.outputs = self._outputs(node, values, context)
                    made.left = self.engine.state.put_back(imported=True)
            finally:
                self.engine.models.take_back(context.borrower)
            made.changed = [name for name, was in before.items() if self._digests(node, values)[name] != was]
        except Cancelled:
            made.cancelled = True
        except NoSampleError as error:
            made.fault = str(error)
        except LoomError as error:
            made.fault = error.problem.message.removeprefix(f"{node.spec.type} ")
        except Exception as error:  # a codec, or what a sample makes: it must not hide the other nodes
            made.fault = f"cannot be checked: {type(error).__name__}: {error}"
        return made

    def _context(
        self, node: NodeType, emit: Callable[[Event], None], cancelled: threading.Event, state: KeptInMemory | None
    ) -> Context:
        edges = {port.name: Given(port.name) for port in node.spec.inputs}
        return Context(
            node="check",
            services=_Services(self.engine),
            emit=emit,
            cancelled=cancelled,
            edges=edges,
            asynchronous=node.spec.asynchronous,
            state=state,
            spec=node.spec,
        )

    def _outputs(self, node: NodeType, values: dict[str, Any], context: Context) -> dict[str, Any]:
        step = Step("check", node)
        call = Call(step, values, context, self.engine.registry, self.engine.state, trusted=True)
        returned = asyncio.run(call.run_async()) if node.spec.asynchronous else call.run()
        if isinstance(returned, Expansion):
            return {"expansion": digest(returned.record())}
        found = outputs_of(step, returned, self.engine.registry)
        return {
            name: [self._digest(*one) for one in value] if isinstance(value, list) else self._digest(*value)
            for name, value in found.items()
        }

    def _digests(self, node: NodeType, values: Mapping[str, Any]) -> dict[str, Any]:
        ports = [port for port in node.spec.inputs if port.kind not in FILE_KINDS]
        return {port.name: self._digest(port.kind, values[port.name]) for port in ports}

    def _digest(self, kind: str, value: Any) -> Any:
        """Return a value's digest, or None if it has none."""
        if isinstance(value, list) and kind != "JSON":
            return [self._digest(kind, item) for item in value]
        kind = getattr(value, "kind", "JSON") if kind == ANY else kind
        port_type = self.engine.registry.type_of(kind)
        return literal_digest(kind, value) if value is None or port_type is None else port_type.digest(value)


class _Services:
    """The services for nodes under test: models, and files in the bench's folder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._saver = Saver(engine.settings.output)

    def load(self, handles: tuple[Any, ...], working: int, borrower: Borrower) -> Lent:
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
        return self._engine.registry.extension(kind, name).info

    def recognise(self, file: Any) -> tuple[str, dict[str, Any]] | None:
        return self._engine.recognise(Path(file.path))

    def suggest(self, source: str, name: str) -> str | None:
        return nearest(name, self._engine.catalog.names(source))

    def save(self, node: str, kind: str, data: Any, name_template: str, fields: Mapping[str, Any]) -> str:
        content = bytes(data) if kind in ("bytes", "safetensors") else str(data).encode()
        return str(self._saver.save(content, name_template, "", {"name": "check", "node": node, "seed": 0, **fields}))
