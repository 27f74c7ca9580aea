"""Saved workflows as tools of the Model Context Protocol (MCP), for language models that act as agents.

Needs the extra `mcp`. A call of a tool is an ordinary job of the server.
"""

import asyncio
import base64
import contextlib
import io
import re
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.stdio import stdio_server
from PIL import Image as Pil

from latentloom.api.client import AsyncClient
from latentloom.api.wire import Job, OutputFile
from latentloom.api.wire_nodes import InputPort, Interface
from latentloom.engine.errors import LoomError, Problem
from latentloom.engine.events import NodeProgress, NodeStarted, event_of
from latentloom.engine.types.literals import RANDOM

MOST_CHOICES = 200  # of an input, in a schema
MOST_PICTURES = 4  # that an answer contains; the others are links
PICTURE_BYTES = 600_000  # larger pictures are sent as a JPEG with at most PICTURE_SIDE pixels a side
PICTURE_SIDE = 1024
INSTRUCTIONS = (
    "Each tool runs a workflow that was saved on a Latentloom server with named inputs, and returns its pictures. "
    "If there are none, save a workflow with named inputs in the editor."
)
_KINDS = {"INT": "integer", "FLOAT": "number", "STRING": "string", "BOOLEAN": "boolean", "CHOICE": "string"}
_FILE = "A picture: the path of a file on this computer, or the name of one in the server's input folder."
_OTHER = re.compile(r"[^A-Za-z0-9_.-]+")
_Context = ServerRequestContext[Any]


class WorkflowTools:
    """The saved workflows of a server as tools. `base` is the server's address, for links to files."""

    def __init__(self, client: AsyncClient, base: str, *, shipped: bool = False) -> None:
        self._client = client
        self._base = base.rstrip("/")
        self._shipped = shipped

    def server(self) -> Server[Any]:
        """Return an MCP server with these tools."""
        return Server(
            "latentloom",
            version=version("latentloom"),
            title="Latentloom",
            instructions=INSTRUCTIONS,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
        )

    async def list_tools(self, _: _Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """List the workflows with named inputs. Raises ServerError, UnreachableError."""
        found = await asyncio.gather(*(self._tool(tool, name) for tool, name in (await self._names()).items()))
        return types.ListToolsResult(tools=[tool for tool in found if tool is not None])

    async def call_tool(self, context: _Context, call: types.CallToolRequestParams) -> types.CallToolResult:
        """Run a workflow as a job, with progress. The job is cancelled with the call."""
        try:
            name = (await self._names()).get(call.name)
            if name is None:
                return _failed([Problem(code="unknown_workflow", message=f"there is no workflow '{call.name}'")])
            return await self._run(context, name, call.arguments or {})
        except LoomError as error:
            return _failed(error.problems)

    async def _names(self) -> dict[str, str]:
        """Return the name of each tool, with the name of its workflow."""
        listed = await self._client.workflows()
        found: dict[str, str] = {}
        for item in listed:
            if item.version > 0 or (self._shipped and not item.block):
                tool = _OTHER.sub("_", item.name).strip("_")[:60] or "workflow"
                number = 2
                while tool in found:
                    tool, number = f"{tool[:60]}_{number}", number + 1
                found[tool] = item.name
        return found

    async def _tool(self, tool: str, name: str) -> types.Tool | None:
        interface = await self._client.validate(workflow_name=name)
        if not interface.inputs:
            return None
        properties = {item.name: await self._schema(item) for item in interface.inputs}
        needed = [item.name for item in interface.inputs if item.port and item.port.required and item.value is None]
        schema = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
        text = f"Run the workflow '{name}'. Outputs: {', '.join(interface.outputs) or 'files'}."
        return types.Tool(name=tool, title=name, description=text, input_schema=schema)

    async def _schema(self, item: Interface) -> dict[str, Any]:
        """Return the JSON Schema of a named input."""
        port = item.port
        if port is None:
            return {}
        schema = _port_schema(port)
        if port.source is not None and schema.get("type") == "string":
            choices = port.choices or await self._client.choices(port.source)
            schema |= {"enum": list(choices)} if 0 < len(choices) <= MOST_CHOICES and port.kind != "FILE" else {}
        if port.is_list:
            schema = {"type": "array", "items": schema}
        text = " ".join(part for part in (port.help, _FILE if port.kind == "FILE" else "") if part)
        default = {} if item.value is None else {"default": item.value}
        return {**schema, **({"description": text} if text else {}), **default}

    # Calls

    async def _run(self, context: _Context, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        interface = await self._client.validate(workflow_name=name)
        files = {item.name for item in interface.inputs if item.port is not None and item.port.kind == "FILE"}
        inputs = {key: await _file(value) if key in files else value for key, value in arguments.items()}
        job = await self._client.submit(workflow_name=name, inputs=inputs, tags=("mcp",))
        try:
            await self._follow(context, job)
        except asyncio.CancelledError:
            await asyncio.shield(self._client.cancel(job.id))
            raise
        return await self._result(await self._client.job(job.id))

    async def _follow(self, context: _Context, job: Job) -> None:
        """Report the progress of a job until it has ended: nodes, and the steps within a node as parts of one."""
        started = 0
        async with contextlib.aclosing(self._client.stream(job.id, live=True)) as events:
            async for record in events:
                event = event_of(record)
                if isinstance(event, NodeStarted):
                    started += 1
                    await context.session.report_progress(started, None, event.node)
                elif isinstance(event, NodeProgress) and event.total:
                    text = f"{event.node}: {event.step} of {event.total}"
                    await context.session.report_progress(started + event.step / (event.total + 1), None, text)

    async def _result(self, job: Job) -> types.CallToolResult:
        if job.state != "done":
            problems = [Problem(**problem.model_dump()) for problem in job.problems]
            return _failed(problems or [Problem(code=job.state, message=f"the job was {job.state}")])
        files, content = job.files or [], list[types.ContentBlock]()
        for file in files[:MOST_PICTURES]:
            content += await self._picture(file)
        content += [self._link(file) for file in files]
        facts = {
            "job": job.id,
            "outputs": job.result.get("outputs", {}),
            "files": [self._facts(file) for file in files],
        }
        text = "; ".join(f"{name}: {value}" for name, value in facts["outputs"].items())
        content += [types.TextContent(text=text)] if text else []
        return types.CallToolResult(content=content, structured_content=facts)

    async def _picture(self, file: OutputFile) -> Iterable[types.ImageContent]:
        if not file.media.startswith("image/"):
            return ()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture"
            await self._client.fetch(file, path)
            data, media = await asyncio.to_thread(_sendable, path, file.media)
        return (types.ImageContent(data=base64.b64encode(data).decode(), mime_type=media),)

    def _address(self, file: OutputFile) -> str:
        return f"{self._base}/api/v1/outputs/{file.sha256}/content"

    def _link(self, file: OutputFile) -> types.ResourceLink:
        return types.ResourceLink(
            uri=self._address(file), name=file.path, mime_type=file.media, size=file.bytes, description=file.texts[:200]
        )

    def _facts(self, file: OutputFile) -> dict[str, Any]:
        names = ("path", "sha256", "width", "height", "seed")
        return {**{name: getattr(file, name) for name in names}, "url": self._address(file)}


async def serve(server: str, token: str | None, *, shipped: bool) -> None:
    """Serve the workflows of a Latentloom server as tools over stdin and stdout, until stdin is closed.

    Raises AddressError, ServerError, UnreachableError.
    """
    async with AsyncClient(server, token=token, patience=2) as client:
        await client.system()  # a wrong address or token is an error of the command, not of a tool
    async with AsyncClient(server, token=token) as client:
        tools = WorkflowTools(client, server, shipped=shipped).server()
        async with stdio_server() as (reading, writing):
            await tools.run(reading, writing, tools.create_initialization_options())


def _port_schema(port: InputPort) -> dict[str, Any]:
    """Return the JSON Schema of one value."""
    if port.kind not in _KINDS:
        return {"type": "string"} if port.kind in ("FILE", "MODEL_FILE") else {}
    limits = {
        "minimum": port.minimum,
        "maximum": port.maximum,
        "multipleOf": port.multiple_of,
        "minLength": port.min_length,
        "maxLength": port.max_length,
        "enum": list(port.choices) or None,
    }
    schema = {"type": _KINDS[port.kind], **{name: value for name, value in limits.items() if value is not None}}
    return {"anyOf": [schema, {"const": RANDOM}]} if port.widget == "seed" else schema


async def _file(value: Any) -> Any:
    """Return the path of an existing file, which is uploaded; any other value as it is."""
    if isinstance(value, list):
        return [await _file(item) for item in value]
    is_file = isinstance(value, str) and await asyncio.to_thread(_exists, value)
    return Path(value).expanduser() if is_file else value


def _exists(text: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return Path(text).expanduser().is_file()
    return False


def _sendable(path: Path, media: str) -> tuple[bytes, str]:
    """Return a picture's bytes and type; a large one as a smaller JPEG."""
    if path.stat().st_size <= PICTURE_BYTES:
        return path.read_bytes(), media
    out = io.BytesIO()
    with Pil.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        small.save(out, "JPEG", quality=85)
    return out.getvalue(), "image/jpeg"


def _failed(problems: Iterable[Problem]) -> types.CallToolResult:
    lines = [f"{problem.code}: {problem}" for problem in problems]
    return types.CallToolResult(content=[types.TextContent(text="\n".join(lines))], is_error=True)
