"""Routes for nodes, models, plugins, validation and explanation."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import Field

from latentloom.api import wire, wire_nodes
from latentloom.engine.document.difference import difference
from latentloom.engine.document.interfaces import node_types, port_at
from latentloom.engine.document.workflow import Edge, NamedInput, Workflow
from latentloom.engine.document.writing import to_json
from latentloom.engine.errors import LoomError, Problem, WorkflowError
from latentloom.engine.files.catalog import INPUTS, WHOLE, Catalog, Found
from latentloom.engine.planning.validate import CHOICE_SOURCES
from latentloom.engine.types.registry import NodeType, Registry
from latentloom.engine.types.spec import InputSpec
from latentloom.web.http_errors import NotFound
from latentloom.web.operations import Operation
from latentloom.web.routes.jobs import order_of
from latentloom.web.routing import API, IF_CHANGED, Call, Query, Reply, Route, not_modified, unchanged
from latentloom.web.services import Services
from latentloom.web.tokens import READERS


class ChoiceQuery(Query):
    """Which choices."""

    source: str = Field(max_length=200, description="An input's `source`: samplers, input, models/checkpoints, ...")


class ModelQuery(Query):
    """Which model file."""

    source: str = Field(max_length=200, description="The source of the input that names it: models/checkpoints, ...")
    name: str = Field(max_length=1000)


def port_record(port: InputSpec, registry: Registry) -> wire_nodes.InputPort:
    """Return everything that a form needs to show an input, with the choices that plugins provide."""
    data = asdict(port)
    if port.source in CHOICE_SOURCES:
        data["choices"] = tuple(registry.extensions(CHOICE_SOURCES[port.source]))
    return wire_nodes.InputPort(**data)


def _node_record(item: NodeType, registry: Registry) -> wire_nodes.NodeTypeInfo:
    spec = item.spec
    about = ("display_name", "aliases", "deprecated", "help")
    plain = ("type", "version", "category", *about, "purity", "device", "asynchronous")
    return wire_nodes.NodeTypeInfo(
        **{name: getattr(spec, name) for name in plain},
        inputs=[port_record(port, registry) for port in spec.inputs],
        outputs=[wire_nodes.OutputPort(**asdict(port)) for port in spec.outputs],
        distribution=str(item.distribution),
    )


async def list_nodes(services: Services, call: Call) -> web.Response:
    """List the node types with everything that a form needs, and the port types with their colours. Has an ETag."""
    registry = services.intake.registry
    types = [wire_nodes.PortTypeInfo(kind=item.kind, colour=item.colour, help=item.help) for item in registry.types()]
    nodes = [_node_record(item, registry) for item in registry.nodes.values()]
    text = wire_nodes.NodeTypes(nodes=nodes, types=types).model_dump_json()
    etag, cache = hashlib.sha256(text.encode()).hexdigest()[:32], {"Cache-Control": "private, no-cache"}
    if unchanged(call.request, etag):
        return not_modified(etag, **cache)
    return web.Response(text=text, content_type="application/json", headers={"ETag": f'"{etag}"', **cache})


async def list_choices(services: Services, call: Call) -> wire_nodes.Choices:
    """List the allowed values of inputs with that source."""
    source = call.query.source
    if source in CHOICE_SOURCES:
        return wire_nodes.Choices(choices=list(services.intake.registry.extensions(CHOICE_SOURCES[source])))
    files = services.intake.files(call.sees)
    known = source in INPUTS or source in WHOLE or source in files.model_sources()
    return wire_nodes.Choices(choices=await services.disk(files.names, source) if known else [])


async def validate(services: Services, call: Call) -> wire_nodes.Validation:
    """List all problems of a workflow, and its named inputs and outputs. Nothing runs."""
    order = await order_of(call, services)
    try:
        workflow, checked = await services.intake.check(order)
        problems = checked.problems
    except LoomError as error:
        problems = list(error.problems)
        workflow = Workflow({})
    return await services.intake.thread(_validation, workflow, problems, services.intake.registry)


def _validation(workflow: Workflow, problems: list[Problem], registry: Registry) -> wire_nodes.Validation:
    types = node_types(workflow, registry)
    return wire_nodes.Validation(
        problems=[wire.Problem(**problem.record()) for problem in problems],
        inputs=[_interface(workflow, named, types, registry) for named in workflow.inputs],
        outputs=[output.name for output in workflow.outputs],
    )


def _interface(
    workflow: Workflow, named: NamedInput, types: Mapping[str, NodeType], registry: Registry
) -> wire_nodes.Interface:
    port, value = None, None
    for target in named.to:
        node = workflow.nodes.get(target.node)
        spec = port_at(workflow, types, target)
        if spec is not None and node is not None and port is None:
            port, value = port_record(spec, registry), node.inputs.get(target.input, spec.default)
    plain = None if isinstance(value, Edge) else value
    return wire_nodes.Interface(name=named.name, port=port, value=plain)


async def explain(services: Services, call: Call) -> wire_nodes.Explanation:
    """Show for each node whether its result is cached or, if not, what has changed. Nothing runs."""
    order = await order_of(call, services)
    workflow, checked = await services.intake.check(order)
    if checked.problems:  # a worker would also find the pictures of other owners
        raise WorkflowError(checked.problems)
    outputs = None if order.outputs is None else list(order.outputs)
    found = await services.dispatcher.ask("explain", document=to_json(workflow), outputs=outputs)
    return wire_nodes.Explanation(steps=[wire_nodes.Step(**step) for step in found])


async def compare(services: Services, call: Call) -> wire_nodes.Difference:
    """Compare two workflows by meaning. They need not be valid."""
    return await services.intake.thread(_difference, services, call.body)


def _difference(services: Services, body: wire_nodes.ComparedWorkflows) -> wire_nodes.Difference:
    before, after = services.intake.read(body.before), services.intake.read(body.after)
    return wire_nodes.Difference(**difference(before, after, services.intake.registry).record())


async def list_models(services: Services, call: Call) -> wire_nodes.ModelList:
    """List the model files that workflows can use."""
    return wire_nodes.ModelList(models=await services.disk(_models, services.intake.files(call.sees)))


def _models(catalog: Catalog) -> list[wire_nodes.ModelFile]:
    return [_model(catalog, source, found) for source in catalog.model_sources() for found in catalog.files(source)]


def _model(catalog: Catalog, source: str, found: Found) -> wire_nodes.ModelFile:
    """Return a model file. Size and hash are unknown if it was removed or cannot be read."""
    size, sha256 = 0, None
    with contextlib.suppress(OSError):
        size, sha256 = size_of(found.path), catalog.known_hash(found)
    return wire_nodes.ModelFile(source=source, name=found.name, bytes=size, sha256=sha256)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


async def show_model(services: Services, call: Call) -> wire_nodes.ModelFacts:
    """Tell what a model file is, by its header, and the settings that suit it."""
    source, name = call.query.source, call.query.name
    await services.disk(services.intake.files(call.sees).find, source, name)
    return wire_nodes.ModelFacts(**await services.dispatcher.ask("facts", source=source, name=name))


async def hash_model(services: Services, call: Call) -> Reply:
    """Start to compute a model's sha256; the operation's result is the model file.

    Events: `model_hashing` while a large file is read, then `operation_done` or `operation_failed`.
    """
    source, name = call.body.source, call.body.name
    sources = services.intake.files(call.sees).model_sources()
    if source not in sources:
        raise NotFound("there is no such folder of models", expected=", ".join(sources))
    found = await services.disk(services.intake.files(call.sees).find, source, name)

    async def work(id: str) -> dict[str, Any]:
        sha256 = await services.dispatcher.ask("hash", seconds=None, source=source, name=name, operation=id)
        size = await services.disk(size_of, found.path)
        return wire_nodes.ModelFile(source=source, name=name, bytes=size, sha256=sha256).model_dump()

    operation = services.operations.begin("hash_model", {"source": source, "name": name}, work)
    return Reply(_operation(operation), 202, {"Location": f"{API}/operations/{operation.id}"})


async def show_operation(services: Services, call: Call) -> wire.Operation:
    """Show the progress of an operation."""
    return _operation(services.operations.get(call.part("id")))


def _operation(operation: Operation) -> wire.Operation:
    fields = {name: getattr(operation, name) for name in wire.Operation.model_fields if name != "problems"}
    return wire.Operation(**fields, problems=[wire.Problem(**problem) for problem in operation.problems])


async def tokenize(services: Services, call: Call) -> wire_nodes.Tokens:
    """Show how a model reads a prompt: chunks, tokens and weights. No job runs."""
    await services.disk(services.intake.files(call.sees).find, call.body.source, call.body.name)
    return wire_nodes.Tokens(**await services.dispatcher.ask("tokenize", **call.body.model_dump()))


async def list_plugins(services: Services, _: Call) -> wire_nodes.PluginList:
    """List the installed plugins and whether they were loaded."""
    names = wire_nodes.Plugin.model_fields
    return wire_nodes.PluginList(
        plugins=[
            wire_nodes.Plugin(**{name: getattr(record, name) for name in names}) for record in services.intake.plugins
        ]
    )


ROUTES = (
    Route(
        method="GET",
        path=f"{API}/nodes",
        handler=list_nodes,
        answer=wire_nodes.NodeTypes,
        also=(304,),
        reads=(IF_CHANGED,),
    ),
    Route(method="GET", path=f"{API}/choices", handler=list_choices, query=ChoiceQuery, answer=wire_nodes.Choices),
    Route(
        method="POST",
        path=f"{API}/validate",
        handler=validate,
        body=wire.WorkflowOrder,
        answer=wire_nodes.Validation,
        refuses=(404,),
        allows=READERS,
    ),
    Route(
        method="POST",
        path=f"{API}/explain",
        handler=explain,
        body=wire.WorkflowOrder,
        answer=wire_nodes.Explanation,
        refuses=(404,),
        allows=READERS,
    ),
    Route(
        method="POST",
        path=f"{API}/compare",
        handler=compare,
        body=wire_nodes.ComparedWorkflows,
        answer=wire_nodes.Difference,
        allows=READERS,
    ),
    Route(method="GET", path=f"{API}/models", handler=list_models, answer=wire_nodes.ModelList),
    Route(
        method="GET",
        path=f"{API}/models/facts",
        handler=show_model,
        query=ModelQuery,
        answer=wire_nodes.ModelFacts,
        refuses=(404,),
    ),
    Route(
        method="POST",
        path=f"{API}/models/hash",
        handler=hash_model,
        body=wire_nodes.ModelName,
        answer=wire.Operation,
        status=202,
        refuses=(404,),
    ),
    Route(method="GET", path=f"{API}/operations/{{id}}", handler=show_operation, answer=wire.Operation),
    Route(
        method="POST",
        path=f"{API}/tokenize",
        handler=tokenize,
        body=wire_nodes.Prompt,
        answer=wire_nodes.Tokens,
        refuses=(404,),
        allows=READERS,
    ),
    Route(method="GET", path=f"{API}/plugins", handler=list_plugins, answer=wire_nodes.PluginList),
)
