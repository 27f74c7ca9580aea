"""The Python door: run, validate and explain workflows in this process."""

from latentloom.api.library import load_workflow, workflow_names
from latentloom.api.session import Result, Running, Session, explain, open_session, run, stream, validate

__all__ = [
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
