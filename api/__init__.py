"""The Python door: run, validate and explain workflows in this process, or through a server."""

from typing import TYPE_CHECKING, Any

from latentloom.api.session import Result, Running, Session, explain, open_session, run, stream, validate
from latentloom.api.workflow_files import load_workflow, workflow_names

if TYPE_CHECKING:
    from latentloom.api.client import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Client",
    "Result",
    "Running",
    "Session",
    "explain",
    "load_workflow",
    "open_session",
    "run",
    "stream",
    "validate",
    "workflow_names",
]


def __getattr__(name: str) -> Any:
    """The clients, which import an HTTP library, when they are asked for."""
    if name in ("AsyncClient", "Client"):
        from latentloom.api import client

        return getattr(client, name)
    raise AttributeError(f"module 'latentloom.api' has no attribute '{name}'")
