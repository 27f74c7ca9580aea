"""Routes for saved workflows and drafts."""

import json
import re
from typing import Any

from aiohttp import web
from pydantic import Field

from latentloom.api import wire
from latentloom.api.workflow_files import block_names, workflow_names
from latentloom.engine.errors import brief
from latentloom.web.http_errors import RequestError, Unconditional
from latentloom.web.named_workflows import document_of
from latentloom.web.queue_writer import OwnedTables
from latentloom.web.routing import (
    ANY_ETAG,
    API,
    IF_CHANGED,
    IF_MATCH,
    IF_NONE_MATCH,
    MOST,
    Call,
    Query,
    Reply,
    Route,
    not_modified,
    unchanged,
)
from latentloom.web.services import Services
from latentloom.web.workflow_store import Draft, Expected, Saved

_NAME = re.compile(r"[\w][\w .()+-]{0,99}\Z")
_NUMBER = re.compile(r"\d{1,12}\Z")


class VersionQuery(Query):
    """Which version."""

    version: int | None = Field(None, ge=0, le=MOST, description="Default: the newest.")


async def list_workflows(_: Services, call: Call) -> wire.WorkflowList:
    """List the workflows saved on this server and those that ship with Latentloom (version 0)."""
    saved = await call.store.read(lambda t: t.workflow_store.names())
    known = {item.name for item in saved}
    shipped = [Saved(name, 0, "", 0.0) for name in (*workflow_names(), *block_names()) if name not in known]
    found = sorted([*saved, *shipped], key=lambda item: item.name.lower())
    return wire.WorkflowList(workflows=[_info(item) for item in found])


def _info(item: Saved) -> wire.WorkflowInfo:
    block = _is_block(item.name, item.version)
    return wire.WorkflowInfo(name=item.name, version=item.version, saved=item.saved or None, block=block)


def _is_block(name: str, version: int) -> bool:
    return version == 0 and name in block_names()


async def show_workflow(services: Services, call: Call) -> Reply | web.Response:
    """Return a workflow. Its ETag is its version."""
    name = call.part("name")
    version, document = await document_of(services, call.store, name, call.query.version)
    if version and unchanged(call.request, str(version)):
        return not_modified(str(version))
    return _saved(name, version, document)


def _saved(
    name: str, version: int, document: dict[str, Any], saved: float | None = None, *, status: int = 200
) -> Reply:
    block = _is_block(name, version)
    answer = wire.SavedWorkflow(name=name, version=version, saved=saved, block=block, workflow=document)
    return Reply(answer, status, {"ETag": f'"{version}"'})


async def list_versions(services: Services, call: Call) -> wire.WorkflowList:
    """List the stored versions of a saved workflow, newest first."""
    name = call.part("name")
    found = await call.store.read(lambda t: t.workflow_store.versions(name))
    if not found:
        await document_of(services, call.store, name)
    return wire.WorkflowList(workflows=[_info(item) for item in found])


async def save_workflow(services: Services, call: Call) -> Reply:
    """Save a new version of a workflow: `If-Match: "version"`, `If-Match: *`, or `If-None-Match: *` for a new name."""
    name, expected = call.part("name"), _expected(call)
    if not _NAME.match(name):
        raise RequestError("a workflow cannot have that name", expected="letters, digits, spaces and . _ - + ( )")
    workflow = await services.intake.thread(services.intake.read, call.body.workflow)
    text = await services.intake.thread(services.intake.canonical, workflow)

    def save(tables: OwnedTables) -> tuple[Saved, bool]:
        new = not tables.workflow_store.versions(name)
        return tables.workflow_store.save(name, text, expected), new

    saved, new = await call.store.write(save)
    document = await services.intake.thread(json.loads, text)
    return _saved(name, saved.version, document, saved.saved, status=201 if new else 200)


async def remove_workflow(_: Services, call: Call) -> wire.Empty:
    """Remove a saved workflow with its versions, under the same conditions. A shipped one of that name reappears."""
    name, expected = call.part("name"), _expected(call)
    await call.store.write(lambda t: t.workflow_store.remove(name, expected))
    return wire.Empty()


def _expected(call: Call) -> Expected:
    """Return the versions that a change may be based on; None for any. Raises Unconditional, RequestError.

    As in RFC 9110, any ETag of a list may match, and a weak ETag never matches.
    """
    match, none = call.request.if_match, call.request.if_none_match
    if none is not None and [one.value for one in none] == [ANY_ETAG]:
        return (0,)
    if match is None:
        raise Unconditional(
            "a change must say which version it is based on",
            expected='If-Match: "version", If-Match: * or If-None-Match: *',
        )
    if any(one.value == ANY_ETAG for one in match):
        return None
    if not match or not all(_NUMBER.match(one.value) for one in match):
        raise RequestError(
            "that is not a version", expected='If-Match: "3"', got=brief(call.request.headers["If-Match"])
        )
    return tuple(int(one.value) for one in match if not one.is_weak)


# Drafts


def _draft_info(draft: Draft) -> wire.DraftInfo:
    return wire.DraftInfo(id=draft.id, name=draft.name, revision=draft.revision, saved=draft.saved)


async def list_drafts(_: Services, call: Call) -> wire.DraftList:
    """List the drafts, newest first."""
    return wire.DraftList(
        drafts=[_draft_info(draft) for draft in await call.store.read(lambda t: t.workflow_store.drafts())]
    )


async def show_draft(services: Services, call: Call) -> Reply | web.Response:
    """Return a draft. Its ETag is its revision."""
    id = call.part("draft")
    draft = await call.store.read(lambda t: t.workflow_store.draft(id))
    if unchanged(call.request, str(draft.revision)):
        return not_modified(str(draft.revision))
    document = await services.intake.thread(json.loads, draft.document)
    answer = wire.SavedDraft(**_draft_info(draft).model_dump(), workflow=document)
    return Reply(answer, 200, {"ETag": f'"{draft.revision}"'})


async def keep_draft(services: Services, call: Call) -> Reply:
    """Save an editor's current document, valid or not, as the draft with that id.

    `If-Match: "revision"`, `If-Match: *`, or `If-None-Match: *` for a new one.
    """
    id, expected = call.part("draft"), _expected(call)
    text = await services.intake.thread(lambda: json.dumps(call.body.workflow, ensure_ascii=False))
    draft = await call.store.write(lambda t: t.workflow_store.keep_draft(id, text, expected))
    status = 201 if draft.revision == 1 else 200
    return Reply(_draft_info(draft), status, {"ETag": f'"{draft.revision}"'})


async def remove_draft(_: Services, call: Call) -> wire.Empty:
    """Remove a draft, under the same conditions."""
    id, expected = call.part("draft"), _expected(call)
    await call.store.write(lambda t: t.workflow_store.drop_draft(id, expected))
    return wire.Empty()


_ONE = f"{API}/workflows/{{name}}"
_DRAFT = f"{API}/drafts/{{draft:[A-Za-z0-9_-]{{1,64}}}}"
_CHANGE: dict[str, Any] = {"reads": (IF_MATCH, IF_NONE_MATCH), "refuses": (412, 428)}

ROUTES = (
    Route(method="GET", path=f"{API}/workflows", handler=list_workflows, answer=wire.WorkflowList),
    Route(
        method="GET",
        path=_ONE,
        handler=show_workflow,
        query=VersionQuery,
        answer=wire.SavedWorkflow,
        also=(304,),
        reads=(IF_CHANGED,),
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=save_workflow,
        body=wire.Document,
        answer=wire.SavedWorkflow,
        also=(201,),
        **_CHANGE,
    ),
    Route(method="DELETE", path=_ONE, handler=remove_workflow, answer=wire.Empty, **_CHANGE),
    Route(method="GET", path=f"{_ONE}/versions", handler=list_versions, answer=wire.WorkflowList),
    Route(method="GET", path=f"{API}/drafts", handler=list_drafts, answer=wire.DraftList),
    Route(method="GET", path=_DRAFT, handler=show_draft, answer=wire.SavedDraft, also=(304,), reads=(IF_CHANGED,)),
    Route(
        method="PUT",
        path=_DRAFT,
        handler=keep_draft,
        body=wire.Document,
        answer=wire.DraftInfo,
        also=(201,),
        **_CHANGE,
    ),
    Route(method="DELETE", path=_DRAFT, handler=remove_draft, answer=wire.Empty, **_CHANGE),
)
