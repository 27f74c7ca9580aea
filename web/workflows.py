"""Routes about saved workflows and drafts."""

import json
import re
from typing import Any

from aiohttp import web
from pydantic import Field

from latentloom.api import wire
from latentloom.api.library import workflow_names
from latentloom.web.faults import RequestError, Unconditional
from latentloom.web.routing import API, MOST, Call, Query, Route
from latentloom.web.shelf import Draft, Saved, UnknownDocument
from latentloom.web.site import Site

_NAME = re.compile(r"[\w][\w .()+-]{0,99}\Z")
_ETAG = re.compile(r'"(\d{1,12})"\Z')


class VersionQuery(Query):
    """Which version."""

    version: int | None = Field(None, ge=0, le=MOST, description="Default: the newest.")


async def document_of(site: Site, name: str, version: int | None = None) -> tuple[int, dict[str, Any]]:
    """Version and document of a saved or shipped workflow. Raises UnknownDocument."""
    shipped = site.desk.shipped(name)
    if version != 0:
        try:
            saved = await site.store.read(lambda t: t.shelf.workflow(name, version))
            return saved.version, json.loads(saved.document)
        except UnknownDocument:
            if shipped is None or version is not None:
                raise
    if shipped is None:
        raise UnknownDocument(f"there is no shipped workflow '{name}'")
    return 0, shipped


async def list_workflows(site: Site, _: Call) -> wire.WorkflowList:
    """List the workflows: those saved on this server, and those that ship with Latentloom (version 0)."""
    saved = await site.store.read(lambda t: t.shelf.names())
    own = {item.name for item in saved}
    shipped = [Saved(name, 0, "", 0.0) for name in workflow_names() if name not in own]
    found = sorted([*saved, *shipped], key=lambda item: item.name.lower())
    return wire.WorkflowList(workflows=[_info(item) for item in found])


def _info(item: Saved) -> wire.WorkflowInfo:
    return wire.WorkflowInfo(name=item.name, version=item.version, saved=item.saved or None)


async def show_workflow(site: Site, call: Call) -> web.Response:
    """Give a workflow; its ETag is its version."""
    version, document = await document_of(site, call.part("name"), call.query.version)
    return _saved(call.part("name"), version, document)


def _saved(name: str, version: int, document: dict[str, Any], saved: float | None = None) -> web.Response:
    answer = wire.SavedWorkflow(name=name, version=version, saved=saved, workflow=document)
    return web.Response(
        text=answer.model_dump_json(), content_type="application/json", headers={"ETag": f'"{version}"'}
    )


async def list_versions(site: Site, call: Call) -> wire.WorkflowList:
    """List the kept versions of a saved workflow, the newest first."""
    name = call.part("name")
    found = await site.store.read(lambda t: t.shelf.versions(name))
    if not found and site.desk.shipped(name) is None:
        raise UnknownDocument(f"there is no workflow '{name}'")
    return wire.WorkflowList(workflows=[_info(item) for item in found])


async def save_workflow(site: Site, call: Call) -> web.Response:
    """Save a new version of a workflow: `If-Match: "version"`, `If-Match: *`, or `If-None-Match: *` for a new name."""
    name, expected = call.part("name"), _expected(call)
    if not _NAME.match(name):
        raise RequestError("a workflow cannot have that name", expected="letters, digits, spaces and . _ - + ( )")
    workflow = await site.desk.thread(site.desk.read, call.body.workflow)
    text = await site.desk.thread(site.desk.canonical, workflow)
    saved = await site.store.write(lambda t: t.shelf.save(name, text, expected), durable=True)
    return _saved(name, saved.version, json.loads(text), saved.saved)


async def remove_workflow(site: Site, call: Call) -> wire.Empty:
    """Remove a saved workflow with its versions, under the same conditions; a shipped one of that name shows again."""
    name, expected = call.part("name"), _expected(call)
    await site.store.write(lambda t: t.shelf.remove(name, expected), durable=True)
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
    name = json.loads(draft.document).get("name")
    return wire.DraftInfo(
        id=draft.id, name=name if isinstance(name, str) else "", revision=draft.revision, saved=draft.saved
    )


async def list_drafts(site: Site, _: Call) -> wire.DraftList:
    """List the drafts, the newest first."""
    return wire.DraftList(drafts=[_draft_info(draft) for draft in await site.store.read(lambda t: t.shelf.drafts())])


async def show_draft(site: Site, call: Call) -> wire.SavedDraft:
    """Give a draft."""
    id = call.part("draft")
    draft = await site.store.read(lambda t: t.shelf.draft(id))
    return wire.SavedDraft(**_draft_info(draft).model_dump(), workflow=json.loads(draft.document))


async def keep_draft(site: Site, call: Call) -> wire.DraftInfo:
    """Keep a document as an editor has it now, valid or not, in place of the draft of that id.

    `If-Match: "revision"` or `If-None-Match: *` refuses to do so where somebody else has kept another one since.
    """
    id, text = call.part("draft"), json.dumps(call.body.workflow, ensure_ascii=False)
    conditional = {"If-Match", "If-None-Match"} & set(call.request.headers)
    expected = _expected(call) if conditional else None
    return _draft_info(await site.store.write(lambda t: t.shelf.keep_draft(id, text, expected), durable=True))


async def remove_draft(site: Site, call: Call) -> wire.Empty:
    """Remove a draft."""
    id = call.part("draft")
    await site.store.write(lambda t: t.shelf.drop_draft(id), durable=True)
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
