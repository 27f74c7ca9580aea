"""Methods for node types and plugins, and for questions about workflows that run nothing."""

from collections.abc import Collection, Mapping
from typing import Any

from latentloom.api.client.jobs import JobMethods
from latentloom.api.client.requests import document, path_of
from latentloom.api.session import Source
from latentloom.api.wire_nodes import Choices, Difference, Explanation, NodeTypes, Plugin, PluginList, Step, Validation


class NodeMethods(JobMethods):
    """The routes for node types, plugins, validation, explanation and comparison."""

    async def nodes(self) -> NodeTypes:
        """Return all node types with their ports, and all port types. Raises ServerError."""
        return await self._ask(NodeTypes, "GET", "nodes")

    async def choices(self, source: str) -> list[str]:
        """Return the values of inputs with that source, such as "samplers" or "models/lora". Raises ServerError."""
        return (await self._ask(Choices, "GET", path_of("choices", source=source))).choices

    async def plugins(self) -> list[Plugin]:
        """Return the installed plugins and whether they were loaded. Raises ServerError."""
        return (await self._ask(PluginList, "GET", "plugins")).plugins

    async def validate(
        self,
        /,
        workflow: Source | None = None,
        *,
        workflow_name: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Collection[str] | None = None,
        **named: Any,
    ) -> Validation:
        """Return all problems of a workflow, and its named inputs and outputs. Parameters as in `submit`.

        Raises ServerError.
        """
        body = await self._order(workflow, workflow_name, {**(inputs or {}), **named}, outputs)
        return await self._ask(Validation, "POST", "validate", body)

    async def explain(
        self,
        /,
        workflow: Source | None = None,
        *,
        workflow_name: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Collection[str] | None = None,
        **named: Any,
    ) -> list[Step]:
        """Return for each needed node whether its result is cached, or what changed. Parameters as in `submit`.

        Raises ServerError.
        """
        body = await self._order(workflow, workflow_name, {**(inputs or {}), **named}, outputs)
        return (await self._ask(Explanation, "POST", "explain", body)).steps

    async def compare(self, before: Source, after: Source) -> Difference:
        """Return what distinguishes two workflows, by meaning. Raises ServerError."""
        body = {"before": document(before), "after": document(after)}
        return await self._ask(Difference, "POST", "compare", body)
