"""Methods for batches: many runs of one workflow."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from latentloom.api.client.jobs import JobMethods
from latentloom.api.client.requests import path_of
from latentloom.api.session import Source
from latentloom.api.wire_batches import Batch, BatchPage, BatchTable
from latentloom.engine.planning.sweep import Mode

POLL_SECONDS = 0.5


class BatchMethods(JobMethods):
    """The routes for batches."""

    async def batch(
        self,
        /,
        workflow: Source | None = None,
        *,
        workflow_name: str | None = None,
        axes: Mapping[str, Sequence[Any]] | None = None,
        mode: Mode = "product",
        rows: Sequence[Mapping[str, Any]] | None = None,
        rows_file: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Collection[str] | None = None,
        priority: int = 0,
        tags: Collection[str] = (),
        webhook: str | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Start a batch: all combinations of the values of `axes`, or the axes in step, or one run for each row.

        `rows_file` is a CSV or JSONL file in the server's input folder. `inputs` are the values that do not change.
        Raises ServerError with all problems.
        """
        body = {
            **await self._order(workflow, workflow_name, inputs or {}, outputs),
            "axes": [{"input": name, "values": await self._input(values)} for name, values in (axes or {}).items()],
            "mode": mode,
            "rows": None if rows is None else [await self._row(row) for row in rows],
            "rows_file": rows_file,
            "priority": priority,
            "tags": list(tags),
            "webhook": webhook,
        }
        return await self._ask(Batch, "POST", "batches", body, key=idempotency_key)

    async def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: await self._input(value) for name, value in row.items()}

    async def batches(self, *, before: int | None = None, limit: int = 100, name: str | None = None) -> BatchPage:
        """Return batches, newest first. `before` is the `next` of the previous page. Raises ServerError."""
        return await self._ask(BatchPage, "GET", path_of("batches", before=before, limit=limit, name=name))

    async def show_batch(self, id: str) -> Batch:
        """Return the state of a batch and its counts. Raises ServerError."""
        return await self._ask(Batch, "GET", path_of("batches", id))

    async def wait_batch(self, id: str) -> Batch:
        """Wait until a batch has ended, and return it. Raises ServerError, UnreachableError."""
        while (found := await self.show_batch(id)).state == "running":
            await asyncio.sleep(POLL_SECONDS)
        return found

    async def cancel_batch(self, id: str) -> Batch:
        """Cancel what has not ended. Raises ServerError."""
        return await self._ask(Batch, "POST", path_of("batches", id, "cancel"))

    async def retry_batch(self, id: str) -> Batch:
        """Run the failed and cancelled cells again. Raises ServerError."""
        return await self._ask(Batch, "POST", path_of("batches", id, "retry"))

    async def cells(self, id: str, *, after: int | None = None, limit: int = 100) -> BatchTable:
        """Return a page of a batch's table. `after` is the `next` of the previous page. Raises ServerError."""
        return await self._ask(BatchTable, "GET", path_of("batches", id, "cells", after=after, limit=limit))

    async def batch_csv(self, id: str) -> str:
        """Return the table of a batch as CSV. Raises ServerError."""
        return (await self._connection.content(path_of("batches", id, "table.csv"))).decode()

    async def batch_sheet(self, id: str, *, page: int = 0) -> bytes:
        """Return a contact sheet of a batch's pictures as PNG. Raises ServerError."""
        return await self._connection.content(path_of("batches", id, "sheet", page=page or None))
