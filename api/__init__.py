"""The Python API: run, validate and explain workflows in this process, or through a server."""

from typing import TYPE_CHECKING, Any

from latentloom.api.result import Result
from latentloom.api.running import Running
from latentloom.api.session import Session, arun, explain, open_session, run, stream, validate
from latentloom.api.workflow_files import block_names, load_workflow, workflow_names

if TYPE_CHECKING:
    from latentloom.api.client import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Client",
    "Result",
    "Running",
    "Session",
    "arun",
    "block_names",
    "explain",
    "load_workflow",
    "open_session",
    "run",
    "stream",
    "validate",
    "workflow_names",
]


def __getattr__(name: str) -> Any:
    """Import the clients on first access, because they import an HTTP library."""
    if name in ("AsyncClient", "Client"):
        from latentloom.api import client

        return getattr(client, name)
    raise AttributeError(f"module 'latentloom.api' has no attribute '{name}'")
