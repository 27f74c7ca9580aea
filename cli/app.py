"""All commands with their flags. Bodies import their modules on demand, so that `loom --help` starts quickly."""

from pathlib import Path
from typing import Annotated

import typer

from latentloom.cli import cache_commands
from latentloom.cli.arguments import (
    LOCAL,
    AsJson,
    Device,
    Dtype,
    ExplainMemory,
    Grid,
    JobId,
    Name,
    OnServer,
    Output,
    RamBudget,
    Rows,
    Server,
    Set,
    Sweep,
    Token,
    VramBudget,
)
from latentloom.cli.flags import Given
from latentloom.cli.plugin_commands import plugins
from latentloom.cli.workflow_command import WorkflowCommand

app = typer.Typer(
    help="Run node-graph workflows for Stable Diffusion.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help, because the import of rich is slow
    add_completion=False,
    pretty_exceptions_enable=False,
)
nodes = typer.Typer(help="List and show the installed node types.", invoke_without_command=True)
models = typer.Typer(help="List, add and download model files.", invoke_without_command=True)
app.add_typer(nodes, name="nodes")
app.add_typer(plugins, name="plugins")
app.add_typer(models, name="models")
app.add_typer(cache_commands.cache, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"latentloom {version('latentloom')}")
        raise typer.Exit


@app.callback()
def _loom(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    pass


def _given(ctx: typer.Context) -> list[Given]:
    """Return the workflow's flags, which WorkflowCommand has stored."""
    return list(ctx.meta["given"])


@app.command(cls=WorkflowCommand)
def run(
    ctx: typer.Context,
    name: Name,
    assign: Set = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Save files here.")] = None,
    output: Output = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every node and cache nothing.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    vram_budget: VramBudget = None,
    ram_budget: RamBudget = None,
    explain_memory: ExplainMemory = False,
    no_metadata: Annotated[bool, typer.Option("--no-metadata", help="Save pictures without the workflow.")] = False,
    no_label: Annotated[bool, typer.Option("--no-label", help="Do not label pictures as generated.")] = False,
    sweep: Sweep = None,
    rows: Rows = None,
    grid: Grid = None,
    server: OnServer = None,
    token: Token = None,
) -> int:
    """Run a workflow. Its inputs are flags: `loom run NAME --help` lists them."""
    from latentloom.cli.inputs import Asked
    from latentloom.cli.run import Options, run
    from latentloom.cli.sizes import size_of

    asked = Asked(name, _given(ctx), assign or [], output or None)
    debug = bool(ctx.find_root().params["debug"])
    budgets = {"vram_budget": vram_budget and size_of(vram_budget), "ram_budget": ram_budget and size_of(ram_budget)}
    settings = {"device": device, "dtype": dtype, **budgets}
    flags = {"--no-cache": no_cache, "--no-metadata": no_metadata, "--no-label": no_label, "--dtype": dtype}
    flags |= {"--vram-budget": vram_budget, "--ram-budget": ram_budget}
    own = tuple(name for name, given in flags.items() if given)
    saved = {"metadata": not no_metadata, "label": not no_label}
    options = Options(out=out, json=json, cache=not no_cache, debug=debug, own=own, **saved)
    if server is not None:
        from latentloom.cli.remote_run import run_at

        more = {
            "--device": device,
            "--explain-memory": explain_memory,
            "--sweep": sweep,
            "--rows": rows,
            "--grid": grid,
        }
        return run_at(server, token, asked, options, (*own, *(name for name, given in more.items() if given)))
    if explain_memory:
        from latentloom.cli.explain import explain_memory as explain

        return explain(asked, settings)
    if sweep or rows or grid:
        from latentloom.cli.sweep import Wanted, run_sweep

        return run_sweep(asked, Wanted(sweep or [], rows, grid), options, settings)
    return run(asked, options, settings)


@app.command(cls=WorkflowCommand)
def validate(ctx: typer.Context, name: Name, assign: Set = None, output: Output = None) -> int:
    """Check a workflow and list every problem, without running it."""
    from latentloom.cli.explain import validate
    from latentloom.cli.inputs import Asked

    return validate(Asked(name, _given(ctx), assign or [], output or None))


@app.command(cls=WorkflowCommand)
def explain(
    ctx: typer.Context,
    name: Name,
    assign: Set = None,
    output: Output = None,
    device: Device = None,
    dtype: Dtype = None,
) -> int:
    """Show for each node whether its result is cached or, if not, what has changed."""
    from latentloom.cli.explain import explain
    from latentloom.cli.inputs import Asked

    return explain(Asked(name, _given(ctx), assign or [], output or None), device=device, dtype=dtype)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option("--host", help="Listen on this address.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Listen on this port; 0 takes a free one.")] = None,
    device: Annotated[list[str] | None, typer.Option("--device", help="Worker for this device; repeatable.")] = None,
    cpu_workers: Annotated[int | None, typer.Option("--cpu-workers", help="Workers without a device.")] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Host name that clients may use; repeatable."),
    ] = None,
    comfy: Annotated[bool, typer.Option("--comfy", help="Also serve ComfyUI clients.")] = False,
    openai: Annotated[bool, typer.Option("--openai", help="Also serve clients of the OpenAI images API.")] = False,
    a1111: Annotated[bool, typer.Option("--a1111", help="Also serve clients of the AUTOMATIC1111 web API.")] = False,
) -> int:
    """Run the server: a queue of jobs, workers, and an HTTP API."""
    from latentloom.cli.serve import serve

    doors = {"comfy": comfy, "openai": openai, "a1111": a1111}
    return serve(host=host, port=port, devices=device, cpu_workers=cpu_workers, allow_hosts=allow_host, doors=doors)


@app.command(cls=WorkflowCommand)
def submit(
    ctx: typer.Context,
    name: Name,
    assign: Set = None,
    output: Output = None,
    server: Server = LOCAL,
    token: Token = None,
    priority: Annotated[int, typer.Option("--priority", help="Higher runs first, -100 to 100.")] = 0,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag to find the job by; repeatable.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Follow it and download files.")] = None,
    json: AsJson = False,
) -> int:
    """Queue a workflow on a server and print the job's id. Its inputs are flags."""
    from latentloom.api.client import Client
    from latentloom.cli import remote
    from latentloom.cli.inputs import Asked

    asked = Asked(name, _given(ctx), assign or [], output or None)
    with Client(server, token=token, patience=10) as client:
        return remote.submit(client, asked, priority=priority, tags=tag or [], watching=watch, out=out, json=json)


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Job id; all jobs by default.")] = None,
    server: Server = LOCAL,
    token: Token = None,
    json: AsJson = False,
) -> int:
    """Show a server's queue, or one job."""
    from latentloom.api.client import Client
    from latentloom.cli import remote

    with Client(server, token=token, patience=2) as client:
        return remote.status(client, job, json=json)


@app.command()
def watch(
    job: JobId,
    server: Server = LOCAL,
    token: Token = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Download the job's files here.")] = None,
    json: AsJson = False,
) -> int:
    """Follow a job until it ends. Ctrl-C does not cancel the job."""
    from latentloom.api.client import Client
    from latentloom.cli import remote

    with Client(server, token=token) as client:
        return remote.watch(client, job, out=out, json=json)


@app.command()
def cancel(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Job id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All waiting and running jobs.")] = False,
    server: Server = LOCAL,
    token: Token = None,
) -> int:
    """Cancel a job on a server."""
    from latentloom.api.client import Client
    from latentloom.cli import remote

    with Client(server, token=token, patience=2) as client:
        return remote.cancel(client, job, all=every)


@nodes.callback()
def _nodes(ctx: typer.Context) -> int | None:
    return list_nodes(None) if ctx.invoked_subcommand is None else None


@nodes.command("list")
def list_nodes(category: Annotated[str | None, typer.Option("--category", help="Only this category.")] = None) -> int:
    """List the node types."""
    from latentloom.cli.nodes import list_nodes

    return list_nodes(category)


@nodes.command("show")
def show_node(name: Annotated[str, typer.Argument(metavar="TYPE", help="A node type.")]) -> int:
    """Show a node type: its ports, bounds, defaults and help."""
    from latentloom.cli.nodes import show_node

    return show_node(name)


@models.callback()
def _models(ctx: typer.Context) -> int | None:
    return list_models(False) if ctx.invoked_subcommand is None else None


@models.command("list")
def list_models(
    compute: Annotated[bool, typer.Option("--hash", help="Compute the missing hashes.")] = False,
) -> int:
    """List the models with size and sha256."""
    from latentloom.cli.models import list_models

    return list_models(compute=compute)


@models.command("show")
def show_model(name: Annotated[str, typer.Argument(metavar="NAME", help="As `loom models` lists it.")]) -> int:
    """Show what a model is, its author and licence, and the settings that suit it."""
    from latentloom.cli.models import show_model

    return show_model(name)


@models.command("add")
def add_models(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Contains checkpoints/, ...")]) -> int:
    """Add a model folder to the settings file."""
    from latentloom.cli.models import add_folder

    return add_folder(folder)


@models.command("get")
def get_model(
    url: Annotated[str, typer.Argument(metavar="URL", help="An https address.")],
    sha256: Annotated[str, typer.Option("--sha256", metavar="HEX", help="The expected sha256 of the file.")],
    folder: Annotated[str, typer.Option("--folder", help="The model folder to save in.")] = "checkpoints",
    name: Annotated[str | None, typer.Option("--name", help="File name; by default the last part of the URL.")] = None,
) -> int:
    """Download a model. The file is kept only if its sha256 matches."""
    from latentloom.cli.models import get_model

    return get_model(url, sha256, folder, name)


@app.command()
def verify(picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="A PNG saved by Latentloom.")]) -> int:
    """Run the workflow of a saved picture again and compare the pixels."""
    from latentloom.cli.verify import verify

    return verify(picture)


@app.command()
def inspect(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="A picture of any program.")], json: AsJson = False
) -> int:
    """Show everything that a picture file says about its origin, and whether it is as it was saved."""
    from latentloom.cli.inspect import inspect

    return inspect(picture, as_json=json)


@app.command()
def mcp(
    server: Server = LOCAL,
    token: Token = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="Offer the shipped workflows too.")] = False,
) -> int:
    """Offer the workflows of a server as tools to a language model (Model Context Protocol, over stdin and stdout)."""
    from latentloom.cli.mcp import mcp

    return mcp(server, token, shipped=shipped)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A shipped workflow, a JSON file or a picture.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The workflow that is compared with A.")],
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="A and B may be workflows saved there: NAME@VERSION.")
    ] = None,
    token: Token = None,
    json: AsJson = False,
) -> int:
    """Show what distinguishes two workflows; exit with 1 if their results can differ."""
    from contextlib import nullcontext

    from latentloom.api.client import Client
    from latentloom.cli.diff import diff

    with nullcontext() if server is None else Client(server, token=token) as client:
        return diff(before, after, client, as_json=json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file, picture or safetensors file of ComfyUI.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write the workflow here.")] = None,
) -> int:
    """Convert another program's workflow and report what was changed or lost."""
    from latentloom.cli.imported import import_file

    return import_file(file, out)


@app.command("export")
def export_file(
    name: Name,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write the graph here.")] = None,
) -> int:
    """Convert a workflow to ComfyUI's API format and report what was changed or lost."""
    from latentloom.cli.imported import export_file

    return export_file(name, out)


@app.command()
def doctor() -> int:
    """Check this installation and show how to fix what is broken."""
    from latentloom.cli.doctor import doctor

    return doctor()
