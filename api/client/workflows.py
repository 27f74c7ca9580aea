"""Methods for the workflows and drafts that are saved on a server."""

from collections.abc import Mapping
from typing import Any

from latentloom.api.client.requests import Requests, condition, document, path_of
from latentloom.api.session import Source
from latentloom.api.wire import DraftInfo, DraftList, Empty, SavedDraft, SavedWorkflow, WorkflowInfo, WorkflowList


class WorkflowMethods(Requests):
    """The routes for saved workflows and drafts.

    A change names the version that it is `based_on`: 0 if there is none yet, None to replace whatever is there. The
    server refuses it (status 412) if somebody else has saved another version since.
    """

    async def workflows(self) -> list[WorkflowInfo]:
        """Return the saved workflows and those that ship with Latentloom (version 0). Raises ServerError."""
        return (await self._ask(WorkflowList, "GET", "workflows")).workflows

    async def workflow(self, name: str, version: int | None = None) -> SavedWorkflow:
        """Return a saved or shipped workflow, the newest version unless one is named. Raises ServerError."""
        return await self._ask(SavedWorkflow, "GET", path_of("workflows", name, version=version))

    async def versions(self, name: str) -> list[WorkflowInfo]:
        """Return the stored versions of a saved workflow, newest first. Raises ServerError."""
        return (await self._ask(WorkflowList, "GET", path_of("workflows", name, "versions"))).workflows

    async def save_workflow(self, name: str, workflow: Source, *, based_on: int | None = None) -> SavedWorkflow:
        """Save a new version of a workflow and return it. Raises ServerError."""
        body, path = {"workflow": document(workflow)}, path_of("workflows", name)
        return await self._ask(SavedWorkflow, "PUT", path, body, headers=condition(based_on))

    async def remove_workflow(self, name: str, *, based_on: int | None = None) -> None:
        """Remove a saved workflow with its versions. Raises ServerError."""
        await self._ask(Empty, "DELETE", path_of("workflows", name), headers=condition(based_on))

    async def drafts(self) -> list[DraftInfo]:
        """Return the drafts of editors, newest first. Raises ServerError."""
        return (await self._ask(DraftList, "GET", "drafts")).drafts

    async def draft(self, id: str) -> SavedDraft:
        """Return a draft. Raises ServerError."""
        return await self._ask(SavedDraft, "GET", path_of("drafts", id))

    async def save_draft(self, id: str, content: Mapping[str, Any], *, based_on: int | None = None) -> DraftInfo:
        """Save a document, valid or not, as the draft with that id. Raises ServerError."""
        body = {"workflow": dict(content)}
        return await self._ask(DraftInfo, "PUT", path_of("drafts", id), body, headers=condition(based_on))

    async def remove_draft(self, id: str, *, based_on: int | None = None) -> None:
        """Remove a draft. Raises ServerError."""
        await self._ask(Empty, "DELETE", path_of("drafts", id), headers=condition(based_on))
