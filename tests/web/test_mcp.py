"""`loom mcp`: saved workflows as tools, called by the client of the package mcp."""

import asyncio
import base64
import io
import os
import sys
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from PIL import Image
from serving import flow, use

from latentloom.api.client import AsyncClient
from latentloom.api.mcp import WorkflowTools
from latentloom.cli.main import main


def workflow(node: dict[str, Any], **inputs: str) -> dict[str, Any]:
    """A workflow of one node `n`; named inputs as name="input"."""
    named = [{"name": name, "to": [{"node": "n", "input": input}]} for name, input in inputs.items()]
    return {**flow("n", n=node), "inputs": named}


SAVED = {
    "a plant (big)": workflow(use("SavePicture"), level="level"),
    "a plant_big": workflow(use("SavePicture"), shade="level"),
    "steps": workflow(use("Steps", pause=0), steps="steps", until="until"),
    "no inputs": workflow(use("SavePicture")),
}


@pytest.fixture(scope="module")
def plants(server):
    for name, document in SAVED.items():
        path = f"workflows/{name.replace(' ', '%20')}"
        assert server.request("PUT", path, {"workflow": document}, If_None_Match="*")[0] == 201
    return server


@asynccontextmanager
async def tools(server, **flags):
    """A client of the tools of a server."""
    async with (
        AsyncClient(server.address) as client,
        Client(WorkflowTools(client, server.address, **flags).server()) as agent,
    ):
        yield agent


def called(server, name, arguments, **flags):
    async def go():
        async with tools(server) as agent:
            return await agent.call_tool(name, arguments, **flags)

    return asyncio.run(go())


def test_every_saved_workflow_with_inputs_is_a_tool_with_a_schema(plants):
    async def go():
        async with tools(plants) as agent:
            return {tool.name: tool for tool in (await agent.list_tools()).tools}

    found = asyncio.run(go())
    assert {name: tool.title for name, tool in found.items()} == {
        "a_plant_big": "a plant (big)",
        "a_plant_big_2": "a plant_big",
        "steps": "steps",
    }
    schema = found["a_plant_big"].input_schema
    assert (schema["required"], schema["additionalProperties"]) == ([], False)
    assert schema["properties"]["level"] == {"type": "number", "default": 0.5}


def test_shipped_workflows_are_tools_on_request(plants):
    async def go():
        async with tools(plants, shipped=True) as agent:
            return {tool.name: tool for tool in (await agent.list_tools()).tools}

    found = asyncio.run(go())
    assert "detailer" not in found  # a block does not run on its own
    schema = found["txt2img"].input_schema["properties"]
    assert schema["steps"]["type"] == "integer"
    assert "euler" in schema["sampler"]["enum"]
    assert schema["seed"]["anyOf"][1] == {"const": "random"}


def test_a_call_is_a_job_and_returns_the_picture_and_a_link(plants):
    answer = called(plants, "a_plant_big", {"level": 0.25})
    picture, link, text = answer.content
    facts = answer.structured_content
    assert (answer.is_error, text.text, facts["outputs"]) == (False, "n: 1", {"n": 1})
    assert Image.open(io.BytesIO(base64.b64decode(picture.data))).getpixel((0, 0))[0] == pytest.approx(64, abs=1)
    assert link.uri == facts["files"][0]["url"]
    assert plants.request("GET", link.uri.removeprefix(plants.address))[0] == 200
    job = plants.get(f"jobs/{facts['job']}")
    assert (job["state"], job["tags"]) == ("done", ["mcp"])


def test_problems_are_an_error_with_their_codes(plants):
    answer = called(plants, "a_plant_big", {"level": "red"})
    assert answer.is_error
    assert answer.content[0].text.startswith("wrong_type: ")
    unknown = called(plants, "a_plant_big", {"colour": "red"})
    assert unknown.content[0].text.startswith("unknown_workflow_input: ")
    assert called(plants, "nothing", {}).content[0].text == "unknown_workflow: there is no workflow 'nothing'"


def test_progress_grows_and_names_the_node(plants):
    seen = []

    async def report(progress, total, message):
        seen.append((progress, message))

    assert not called(plants, "steps", {"steps": 30}, progress_callback=report).is_error
    numbers = [number for number, _ in seen]
    assert numbers == sorted(numbers)
    assert seen[0] == (1, "n")


def test_a_call_that_is_given_up_cancels_its_job(plants, tmp_path):
    async def go():
        started = asyncio.Event()

        async def report(*_):
            started.set()

        async with tools(plants) as agent:
            inputs = {"steps": 1, "until": str(tmp_path / "never")}
            call = asyncio.create_task(agent.call_tool("steps", inputs, progress_callback=report))
            await started.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(go())
    assert plants.wait(plants.get("jobs?limit=1")["jobs"][0]["id"])["state"] == "cancelled"


def test_the_command_speaks_over_stdin_and_stdout(plants):
    async def go():
        code = "import sys; from latentloom.cli.main import main; sys.exit(main())"
        arguments = ["-c", code, "mcp", "--server", plants.address]
        parameters = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
        async with Client(stdio_client(parameters)) as agent:
            listed = await agent.list_tools()
            answer = await agent.call_tool("a_plant_big", {"level": 0.5})
            return [tool.name for tool in listed.tools], answer.is_error

    names, failed = asyncio.run(go())
    assert "a_plant_big" in names
    assert not failed


def test_a_server_that_is_away_ends_the_command(capsys):
    assert main(["mcp", "--server", "http://127.0.0.1:9"]) == 3
    assert capsys.readouterr().err.startswith("server_unreachable: ")
