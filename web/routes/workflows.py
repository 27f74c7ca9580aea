"""Routes about saved workflows and drafts."""

import json
import re
from typing import Any

from aiohttp import web
from pydantic import Field

from latentloom.api import wire
from latentloom.api.workflow_files import workflow_names
from latentloom.web.http_errors import RequestError, Unconditional
from latentloom.web.routing import API, MOST, Call, Query, Route
from latentloom.web.services import Services
from latentloom.web.workflow_store import Draft, Saved, UnknownDocument

_NAME = re.compile(r"[\w][\w .()+-]{0,99}\Z")
_ETAG = re.compile(r'"(\d{1,12})"\Z')


class VersionQuery(Query):
    """Which version."""

    version: int | None = Field(None, ge=0, le=MOST, description="Default: the newest.")


async def document_of(services: Services, name: str, version: int | None = None) -> tuple[int, dict[str, Any]]:
    """Version and document of a saved or shipped workflow. Raises UnknownDocument."""
    shipped = services.intake.shipped(name)
    if version != 0:
        try:
            saved = await services.store.read(lambda t: t.workflow_store.workflow(name, version))
            return saved.version, await services.intake.thread(json.loads, saved.document)
        except UnknownDocument:
            if shipped is None or version is not None:
                raise
    if shipped is None:
        raise UnknownDocument(f"there is no shipped workflow '{name}'")
    return 0, shipped


async def list_workflows(services: Services, _: Call) -> wire.WorkflowList:
    """List the workflows: those saved on this server, and those that ship with Latentloom (version 0)."""
    saved = await services.store.read(lambda t: t.workflow_store.names())
    own = {item.name for item in saved}
    shipped = [Saved(name, 0, "", 0.0) for name in workflow_names() if name not in own]
    found = sorted([*saved, *shipped], key=lambda item: item.name.lower())
    return wire.WorkflowList(workflows=[_info(item) for item in found])


def _info(item: Saved) -> wire.WorkflowInfo:
    return wire.WorkflowInfo(name=item.name, version=item.version, saved=item.saved or None)


async def show_workflow(services: Services, call: Call) -> web.Response:
    """Give a workflow; its ETag is its version."""
    version, document = await document_of(services, call.part("name"), call.query.version)
    return await services.intake.thread(_saved, call.part("name"), version, document)


def _saved(name: str, version: int, document: dict[str, Any], saved: float | None = None) -> web.Response:
    answer = wire.SavedWorkflow(name=name, version=version, saved=saved, workflow=document)
    return web.Response(
        text=answer.model_dump_json(), content_type="application/json", headers={"ETag": f'"{version}"'}
    )


async def list_versions(services: Services, call: Call) -> wire.WorkflowList:
    """List the kept versions of a saved workflow, the newest first."""
    name = call.part("name")
    found = await services.store.read(lambda t: t.workflow_store.versions(name))
    if not found and services.intake.shipped(name) is None:
        raise UnknownDocument(f"there is no workflow '{name}'")
    return wire.WorkflowList(workflows=[_info(item) for item in found])


async def save_workflow(services: Services, call: Call) -> web.Response:
    """Save a new version of a workflow: `If-Match: "version"`, `If-Match: *`, or `If-None-Match: *` for a new name."""
    name, expected = call.part("name"), _expected(call)
    if not _NAME.match(name):
        raise RequestError("a workflow cannot have that name", expected="letters, digits, spaces and . _ - + ( )")
    workflow = await services.intake.thread(services.intake.read, call.body.workflow)
    text = await services.intake.thread(services.intake.canonical, workflow)
    saved = await services.store.write(lambda t: t.workflow_store.save(name, text, expected), durable=True)
    return await services.intake.thread(lambda: _saved(name, saved.version, json.loads(text), saved.saved))


async def remove_workflow(services: Services, call: Call) -> wire.Empty:
    """Remove a saved workflow with its versions, under the same conditions; a shipped one of that name shows again."""
    name, expected = call.part("name"), _expected(call)
    await services.store.write(lambda t: t.workflow_store.remove(name, expected), durable=True)
    return wire.Empty()


def _expected(call: Call) -> int | None:
    """The version that a change is based on; None for whatever is there. Raises Unconditional, RequestError."""
    match, none = call.request.headers.get("If-Match"), call.request.headers.get("If-None-Match")
    if none == "*":
        return 0
    if match is None:
        raise Unconditional(
            "a change must say which version it is based on",
            expected='If-Match: "version", If-Match: * or If-None-Match: *',
        )
    if match == "*":
        return None
    found = _ETAG.match(match)
    if found is None:
        raise RequestError("that is no version", expected='If-Match: "3"', got=match[:40])
    return int(found[1])


# Drafts


def _draft_info(draft: Draft) -> wire.DraftInfo:
    return wire.DraftInfo(id=draft.id, name=draft.name, revision=draft.revision, saved=draft.saved)


async def list_drafts(services: Services, _: Call) -> wire.DraftList:
    """List the drafts, the newest first."""
    return wire.DraftList(
        drafts=[_draft_info(draft) for draft in await services.store.read(lambda t: t.workflow_store.drafts())]
    )


async def show_draft(services: Services, call: Call) -> wire.SavedDraft:
    """Give a draft."""
    id = call.part("draft")
    draft = await services.store.read(lambda t: t.workflow_store.draft(id))
    document = await services.intake.thread(json.loads, draft.document)
    return wire.SavedDraft(**_draft_info(draft).model_dump(), workflow=document)


async def keep_draft(services: Services, call: Call) -> wire.DraftInfo:
    """Keep a document as an editor has it now, valid or not, in place of the draft of that id.

    `If-Match: "revision"` or `If-None-Match: *` refuses to do so where somebody else has kept another one since.
    """
    id = call.part("draft")
    text = await services.intake.thread(lambda: json.dumps(call.body.workflow, ensure_ascii=False))
    conditional = {"If-Match", "If-None-Match"} & set(call.request.headers)
    expected = _expected(call) if conditional else None
    return _draft_info(
        await services.store.write(lambda t: t.workflow_store.keep_draft(id, text, expected), durable=True)
    )


async def remove_draft(services: Services, call: Call) -> wire.Empty:
    """Remove a draft."""
    id = call.part("draft")
    await services.store.write(lambda t: t.workflow_store.drop_draft(id), durable=True)
    return wire.Empty()


_ONE = f"{API}/workflows/{{name}}"
_DRAFT = f"{API}/drafts/{{draft:[A-Za-z0-9_-]{{1,64}}}}"

ROUTES = (
    Route(method="GET", path=f"{API}/workflows", handler=list_workflows, answer=wire.WorkflowList),
    Route(method="GET", path=_ONE, handler=show_workflow, query=VersionQuery, answer=wire.SavedWorkflow),
    Route(method="PUT", path=_ONE, handler=save_workflow, body=wire.Document, answer=wire.SavedWorkflow),
    Route(method="DELETE", path=_ONE, handler=remove_workflow, answer=wire.Empty),
    Route(method="GET", path=f"{_ONE}/versions", handler=list_versions, answer=wire.WorkflowList),
    Route(method="GET", path=f"{API}/drafts", handler=list_drafts, answer=wire.DraftList),
    Route(method="GET", path=_DRAFT, handler=show_draft, answer=wire.SavedDraft),
    Route(method="PUT", path=_DRAFT, handler=keep_draft, body=wire.Document, answer=wire.DraftInfo),
    Route(method="DELETE", path=_DRAFT, handler=remove_draft, answer=wire.Empty),
)
