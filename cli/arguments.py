"""The arguments and flags that commands share, and those of sweeps."""

from pathlib import Path
from typing import Annotated

import typer

LOCAL = "http://localhost:8420"

Name = Annotated[str, typer.Argument(metavar="NAME", help="A shipped workflow, a JSON file, or a saved picture.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="NODE.INPUT=VALUE", help="Set an input of a node.")]
Output = Annotated[list[str] | None, typer.Option("--output", metavar="NAME", help="Compute only this named output.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="auto, fp32, fp16 or bf16.")]

VramBudget = Annotated[str | None, typer.Option("--vram-budget", metavar="SIZE", help="GPU memory for models: 6GB.")]
RamBudget = Annotated[str | None, typer.Option("--ram-budget", metavar="SIZE", help="RAM for models.")]
ExplainMemory = Annotated[
    bool, typer.Option("--explain-memory", help="Show where the weights would be, without running.")
]
Server = Annotated[
    str, typer.Option("--server", metavar="URL", envvar="LATENTLOOM_SERVER", help="The server's address.")
]
OnServer = Annotated[str | None, typer.Option("--server", metavar="URL", help="Run it on this server.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="SECRET", envvar="LATENTLOOM_TOKEN", help="Prefer the variable: process lists show flags."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Job id.")]
Sweep = Annotated[
    list[str] | None,
    typer.Option("--sweep", metavar="NAME=A,B,...", help="Run with each value of an input, 1..4 too; repeatable."),
]
Rows = Annotated[Path | None, typer.Option("--rows", metavar="FILE", help="Run with each row of a CSV or JSONL file.")]
Grid = Annotated[
    Path | None, typer.Option("--grid", metavar="FILE", help="Put the pictures of all runs on one labelled sheet.")
]
