"""Routes for batches: many runs of one workflow as one resource."""

import csv
import io
import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web
from pydantic import Field

from latentloom.api import wire
from latentloom.api.contact_sheet import is_picture
from latentloom.api.wire_batches import Batch, BatchOrder, BatchPage, BatchTable
from latentloom.engine.document.workflow import NamedInput, Workflow
from latentloom.engine.errors import BadValueError
from latentloom.engine.files.tables import read_rows
from latentloom.engine.jobs.batches import TAG, CellRecord, NewBatch
from latentloom.engine.jobs.outputs import Output
from latentloom.engine.planning.sweep import Cell, combined, rows_of
from latentloom.web.http_errors import NotFound, RequestError
from latentloom.web.queue_writer import OwnedTables
from latentloom.web.routes.jobs import check_priority, key_of, order_of
from latentloom.web.routing import API, MOST, Call, Query, Reply, Route
from latentloom.web.services import Services
from latentloom.web.wire_jobs import batch_answer, cell_answer

SHEET_CELLS = 100  # pictures on one contact sheet
PAGE = 1000
_ABOUT = ("place", "state", "seed", "seconds", "files", "error", "job")


class BatchQuery(Query):
    """Which batches."""

    before: int | None = Field(None, ge=0, le=MOST, description="Continue after the page that returned that `next`.")
    limit: int = Field(100, ge=1, le=1000)
    name: str | None = Field(None, max_length=200, description="The name of the workflow.")


class CellQuery(Query):
    """Which cells."""

    after: int = Field(-1, ge=-1, le=MOST, description="Continue after the page that returned that `next`.")
    limit: int = Field(100, ge=1, le=PAGE)


class SheetQuery(Query):
    """Which part of the sheet."""

    page: int = Field(0, ge=0, le=10_000, description=f"Each page has the pictures of {SHEET_CELLS} cells.")


# Requests


async def make_batch(services: Services, call: Call) -> Reply:
    """Start a batch: a workflow with axes or rows of values for its named inputs.

    The response is the batch, or all problems of the request: every value is checked before the first run. The cells
    run in an order that switches models least. A batch continues after a restart of the server.
    """
    _check_values(call.body)
    key = key_of(call)
    call = replace(call, key=key, body=call.body.model_copy(update={"idempotency_key": key}))
    known = await call.store.read(lambda t: call.known(t, call.asked()))
    if known is not None:
        return _reply(Batch.model_validate_json(known), 200)
    new = await _new_batch(services, call)
    made = await call.once(Batch, lambda t: batch_answer(t.batches.add(new)))
    services.batch_feeder.wake()
    return _reply(made, 201 if made.id == new.id else 200)


def _check_values(body: BatchOrder) -> None:
    """Raise RequestError if a body has no values for cells, or rows twice."""
    if body.rows is not None and body.rows_file is not None:
        raise RequestError("the rows are given twice", expected="`rows` or `rows_file`, one of the two")
    if not (body.axes or body.rows or body.rows_file):
        raise RequestError("a batch needs values", expected="`axes`, `rows` or `rows_file`")


async def _new_batch(services: Services, call: Call) -> NewBatch:
    """Return the batch that a call asks for, checked. Raises WorkflowError, Forbidden, WebhookRefused."""
    body, id = call.body, uuid.uuid4().hex
    check_priority(services, call, body.priority)
    order = await order_of(call, services)
    webhook = services.webhooks.checked(body.webhook)
    swept = await services.intake.sweep(order, lambda base: _cells(services, call, base))
    return NewBatch(
        id=id,
        document=swept.document,
        name=swept.name,
        outputs=order.outputs,
        owner=call.owner,
        device=swept.device,
        columns=len(body.axes[-1].values) if body.axes and body.mode == "product" else 0,
        priority=body.priority,
        tags=(*body.tags, TAG + id),
        webhook=webhook,
        cells=swept.cells,
        order=swept.order,
    )


def _reply(batch: Batch, status: int) -> Reply:
    return Reply(batch, status, {"Location": f"{API}/batches/{batch.id}"})


def _cells(services: Services, call: Call, workflow: Workflow) -> list[Cell]:
    """Return the cells that a body asks for. Raises WorkflowError, BadValueError, MissingFileError."""
    body: BatchOrder = call.body
    rows: Sequence[dict[str, Any]] | None = body.rows
    if body.rows_file is not None:
        rows = read_rows(
            services.intake.files(call.sees).find("input", body.rows_file).path.read_bytes(), body.rows_file
        )
    axes: list[list[Cell]] = []
    if rows is not None:
        if not rows:
            raise BadValueError("the table has no rows")
        axes.append(rows_of(rows, workflow, services.intake.registry, lambda name: _named(workflow, name)))
    axes += [[{axis.input: value} for value in axis.values] for axis in body.axes]
    return combined(axes, body.mode, body.inputs)


def _named(workflow: Workflow, name: str) -> NamedInput:
    found = workflow.input(name)
    if found is None:
        workflow.with_inputs({name: None})  # raises, with the names that there are
        raise AssertionError("unreachable")
    return found


async def list_batches(_: Services, call: Call) -> BatchPage:
    """List batches, newest first."""
    query = call.query

    def page(tables: OwnedTables) -> BatchPage:
        found = tables.batches.page(query.before, query.limit, name=query.name)
        next = found[-1].seq if len(found) == query.limit else None
        return BatchPage(batches=[batch_answer(batch) for batch in found], next=next)

    return await call.store.read(page)


async def show_batch(_: Services, call: Call) -> Batch:
    """Show a batch: its state, and how many cells wait, run, are done, failed and were cancelled."""
    id = call.part("id")
    return await call.store.read(lambda t: batch_answer(t.batches.get(id)))


async def cancel_batch(services: Services, call: Call) -> Batch:
    """Cancel what has not ended. Running jobs stop at their next step."""
    id, stopping = call.part("id"), list[str]()

    def cancel(tables: OwnedTables) -> Batch:
        stopping[:] = tables.batches.cancel(id)
        return batch_answer(tables.batches.get(id))

    answer = await call.once(Batch, cancel)
    for job in stopping:
        services.dispatcher.cancel(job, "cancelling")
    services.batch_feeder.wake()
    return answer


async def retry_batch(services: Services, call: Call) -> Batch:
    """Run the failed and cancelled cells again. Those that are done stay as they are."""
    id = call.part("id")
    answer = await call.once(Batch, lambda t: batch_answer(t.batches.retry(id)))
    services.batch_feeder.wake()
    return answer


# Results


async def list_cells(_: Services, call: Call) -> BatchTable:
    """List the table of a batch: inputs, state, seed, seconds, files and error of each run."""
    id, query = call.part("id"), call.query

    def page(tables: OwnedTables) -> BatchTable:
        found = _with_files(tables, id, query.after, query.limit)
        next = found[-1][0].place if len(found) == query.limit else None
        return BatchTable(cells=[cell_answer(*one) for one in found], next=next)

    return await call.store.read(page)


def _with_files(tables: OwnedTables, id: str, after: int, limit: int) -> list[tuple[CellRecord, list[Output]]]:
    cells = tables.batches.cells(tables.batches.get(id), after, limit)
    return [(cell, tables.outputs.of_job(cell.job) if cell.job else []) for cell in cells]


async def show_table(_: Services, call: Call) -> web.Response:
    """Return the table of a batch as CSV, with a column for each input."""
    id = call.part("id")
    text = await call.store.search(lambda t: _csv(t, id))
    headers = {"Content-Disposition": f'attachment; filename="batch-{id[:8]}.csv"'}
    return web.Response(text=text, content_type="text/csv", headers=headers)


def _csv(tables: OwnedTables, id: str) -> str:
    cells, after = list[wire.Answer](), -1
    while found := _with_files(tables, id, after, PAGE):
        cells += [cell_answer(*one) for one in found]
        after = found[-1][0].place
    rows = [cell.model_dump() for cell in cells]
    inputs = list(dict.fromkeys(name for row in rows for name in row["inputs"]))
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow([*inputs, *(name for name in _ABOUT if name not in inputs)])
    for row in rows:
        about = {
            **row,
            "files": " ".join(file["path"] for file in row["files"]),
            "error": row["error"]["message"] if row["error"] else None,
        }
        values = [_field(row["inputs"].get(name)) for name in inputs]
        lines.writerow([*values, *(about[name] for name in _ABOUT if name not in inputs)])
    return out.getvalue()


def _field(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value


async def show_sheet(services: Services, call: Call) -> web.Response:
    """Return a contact sheet as PNG: the first picture of each run, with headings of rows and columns or labels."""
    id, page = call.part("id"), call.query.page
    batch = await call.store.read(lambda t: t.batches.get(id))
    found = await call.store.read(lambda t: _with_files(t, id, page * SHEET_CELLS - 1, SHEET_CELLS))
    firsts = [(cell, next((file.path for file in files if is_picture(file.path)), None)) for cell, files in found]
    shown = [
        (dict(cell.inputs), str(services.settings.output / path))
        for cell, path in firsts
        if path is not None and (services.settings.output / path).is_file()
    ]
    if not shown:
        raise NotFound("no run of this part of the batch has saved a picture")
    columns = batch.columns if len(shown) == len(found) else 0
    with services.temporary() as target:
        await services.dispatcher.ask("sheet", pictures=shown, columns=columns, to=str(target))
        data = await services.disk(target.read_bytes)
    return web.Response(body=data, content_type="image/png")


ROUTES = (
    Route(
        method="POST",
        path=f"{API}/batches",
        handler=make_batch,
        body=BatchOrder,
        answer=Batch,
        status=201,
        also=(200,),
        refuses=(404,),
    ),
    Route(method="GET", path=f"{API}/batches", handler=list_batches, query=BatchQuery, answer=BatchPage),
    Route(method="GET", path=f"{API}/batches/{{id}}", handler=show_batch, answer=Batch),
    Route(method="POST", path=f"{API}/batches/{{id}}/cancel", handler=cancel_batch, answer=Batch),
    Route(method="POST", path=f"{API}/batches/{{id}}/retry", handler=retry_batch, answer=Batch),
    Route(method="GET", path=f"{API}/batches/{{id}}/cells", handler=list_cells, query=CellQuery, answer=BatchTable),
    Route(method="GET", path=f"{API}/batches/{{id}}/table.csv", handler=show_table, media="text/csv"),
    Route(method="GET", path=f"{API}/batches/{{id}}/sheet", handler=show_sheet, query=SheetQuery, media="image/png"),
)
