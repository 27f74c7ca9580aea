"""Routes about what is installed and what a workflow would do: nodes, validation, explanation, models, plugins."""

import hashlib
from dataclasses import asdict
from pathlib import Path

from aiohttp import web
from pydantic import Field

from latentloom.api import specs, wire
from latentloom.engine.errors import LoomError
from latentloom.engine.registry import NodeType, Registry
from latentloom.engine.spec import InputSpec
from latentloom.engine.validate import CHOICE_SOURCES
from latentloom.engine.workflow import Edge, NamedInput, Workflow
from latentloom.engine.writing import to_json
from latentloom.web.faults import NotFound
from latentloom.web.jobs import order_of
from latentloom.web.routing import API, Call, Query, Route
from latentloom.web.site import Site


class ChoiceQuery(Query):
    """Which choices."""

    source: str = Field(max_length=200, description="An input's `source`: samplers, input, models/checkpoints, ...")


def port_record(port: InputSpec, registry: Registry) -> specs.InputPort:
    """Everything that a form needs to show an input; choices that plugins bring are filled in."""
    data = asdict(port)
    if port.source in CHOICE_SOURCES:
        data["choices"] = tuple(registry.extensions(CHOICE_SOURCES[port.source]))
    return specs.InputPort(**data)


def _node_record(item: NodeType, registry: Registry) -> specs.NodeTypeInfo:
    spec = item.spec
    plain = ("type", "version", "category", "help", "purity", "device", "asynchronous")
    return specs.NodeTypeInfo(
        **{name: getattr(spec, name) for name in plain},
        inputs=[port_record(port, registry) for port in spec.inputs],
        outputs=[specs.OutputPort(**asdict(port)) for port in spec.outputs],
        distribution=str(item.distribution),
    )


async def list_nodes(site: Site, call: Call) -> web.Response:
    """List the node types with all that a form needs, and the port types with their colours. Has an ETag."""
    registry = site.desk.registry
    types = [specs.PortTypeInfo(kind=item.kind, colour=item.colour, help=item.help) for item in registry.types()]
    nodes = [_node_record(item, registry) for item in registry.nodes.values()]
    text = specs.NodeTypes(nodes=nodes, types=types).model_dump_json()
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if call.request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    return web.Response(text=text, content_type="application/json", headers=headers)


async def list_choices(site: Site, call: Call) -> wire.Choices:
    """List what may stand in an input with that source."""
    source = call.query.source
    if source in CHOICE_SOURCES:
        return wire.Choices(choices=list(site.desk.registry.extensions(CHOICE_SOURCES[source])))
    known = source == "input" or source in site.desk.catalog.model_sources()
    return wire.Choices(choices=await site.desk.thread(site.desk.catalog.names, source) if known else [])


async def validate(site: Site, call: Call) -> specs.Validation:
    """Name everything that is wrong with a workflow, and tell its own inputs and outputs. Nothing runs."""
    order = await order_of(site, call.body)
    registry = site.desk.registry
    try:
        workflow, checked = await site.desk.check(order)
        problems = checked.problems
    except LoomError as error:
        problems = list(error.problems)
        workflow = Workflow({})
    return specs.Validation(
        problems=[wire.Problem(**problem.record()) for problem in problems],
        inputs=[_interface(workflow, named, registry) for named in workflow.inputs],
        outputs=[output.name for output in workflow.outputs],
    )


def _interface(workflow: Workflow, named: NamedInput, registry: Registry) -> specs.Interface:
    port, value = None, None
    for target in named.to:
        node = workflow.nodes.get(target.node)
        found = registry.nodes.get(node.type) if node else None
        spec = found.spec.by_name.get(target.input) if found else None
        if spec is not None and node is not None and port is None:
            port, value = port_record(spec, registry), node.inputs.get(target.input, spec.default)
    plain = None if isinstance(value, Edge) else value
    return specs.Interface(name=named.name, port=port, value=plain)


async def explain(site: Site, call: Call) -> wire.Explanation:
    """Tell for every node whether its result is known, or what changed since. Nothing runs."""
    order = await order_of(site, call.body)
    workflow, _ = await site.desk.check(order)
    outputs = None if order.outputs is None else list(order.outputs)
    found = await site.supervisor.ask("explain", document=to_json(workflow), outputs=outputs)
    return wire.Explanation(steps=[wire.Step(**step) for step in found])


async def list_models(site: Site, _: Call) -> wire.ModelList:
    """List the model files that workflows may name."""
    return wire.ModelList(models=await site.desk.thread(_models, site))


def _models(site: Site) -> list[wire.ModelFile]:
    catalog = site.desk.catalog
    return [
        wire.ModelFile(source=source, name=found.name, bytes=size_of(found.path), sha256=catalog.known_hash(found))
        for source in catalog.model_sources()
        for found in catalog.files(source)
    ]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


async def hash_model(site: Site, call: Call) -> wire.ModelFile:
    """Compute a model's sha256; the reading of a large file is told as `model_hashing` events."""
    source, name = call.body.source, call.body.name
    if source not in site.desk.catalog.model_sources():
        raise NotFound("there is no such folder of models", expected=", ".join(site.desk.catalog.model_sources()))
    found = await site.desk.thread(site.desk.catalog.find, source, name)
    sha256 = await site.supervisor.ask("hash", source=source, name=name)
    return wire.ModelFile(source=source, name=name, bytes=size_of(found.path), sha256=sha256)


async def list_plugins(site: Site, _: Call) -> wire.PluginList:
    """List the installed plugins and how they fared."""
    names = wire.Plugin.model_fields
    return wire.PluginList(
        plugins=[wire.Plugin(**{name: getattr(record, name) for name in names}) for record in site.desk.plugins]
    )


ROUTES = (
    Route(method="GET", path=f"{API}/nodes", handler=list_nodes, answer=specs.NodeTypes),
    Route(method="GET", path=f"{API}/choices", handler=list_choices, query=ChoiceQuery, answer=wire.Choices),
    Route(method="POST", path=f"{API}/validate", handler=validate, body=wire.WorkflowOrder, answer=specs.Validation),
    Route(method="POST", path=f"{API}/explain", handler=explain, body=wire.WorkflowOrder, answer=wire.Explanation),
    Route(method="GET", path=f"{API}/models", handler=list_models, answer=wire.ModelList),
    Route(method="POST", path=f"{API}/models/hash", handler=hash_model, body=wire.ModelName, answer=wire.ModelFile),
    Route(method="GET", path=f"{API}/plugins", handler=list_plugins, answer=wire.PluginList),
)
