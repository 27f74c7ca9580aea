"""Saved workflows as clients of other programs call them: by name, with values for named inputs."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from latentloom.api.workflow_files import workflow_names
from latentloom.engine.errors import LoomError, Problem, WorkflowError
from latentloom.engine.jobs.job import NewJob
from latentloom.engine.types.literals import RANDOM
from latentloom.web.intake import Order
from latentloom.web.queue_writer import OwnedStore
from latentloom.web.services import Services
from latentloom.web.tokens import Caller
from latentloom.web.workflow_store import UnknownDocument

MAX_SEED = 2**64 - 1
_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,20})?\Z")


class Named(NamedTuple):
    """A saved or shipped workflow."""

    name: str
    document: Mapping[str, Any]

    @property
    def inputs(self) -> dict[str, list[dict[str, str]]]:
        """The targets of each named input."""
        return {item["name"]: item["to"] for item in self.document.get("inputs", [])}

    def input_of(self, problem: Problem) -> str | None:
        """Return the named input that sets the input of a problem; None if there is none."""
        place = (problem.node, problem.input)
        return next((name for name, to in self.inputs.items() for t in to if (t["node"], t["input"]) == place), None)


async def document_of(
    services: Services, store: OwnedStore, name: str, version: int | None = None
) -> tuple[int, dict[str, Any]]:
    """Return version and document of a saved or shipped workflow. Raises UnknownDocument."""
    shipped = services.intake.shipped(name)
    try:
        saved = await store.read(lambda t: t.workflow_store.workflow(name, version))
        return saved.version, await services.intake.thread(json.loads, saved.document)
    except UnknownDocument:
        if shipped is None or version:
            raise
    return 0, shipped


async def find(services: Services, store: OwnedStore, name: str) -> Named:
    """Return a workflow. Raises UnknownDocument."""
    return Named(name, (await document_of(services, store, name))[1])


async def callable_names(services: Services, store: OwnedStore) -> dict[str, float]:
    """Return the names of the workflows that have an input `prompt`, with the time of saving; 0 for shipped ones."""
    saved = await store.read(lambda t: [t.workflow_store.workflow(one.name) for one in t.workflow_store.names()])
    return await services.intake.thread(_callable, services, {one.name: (one.document, one.saved) for one in saved})


def _callable(services: Services, saved: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    found = {name: (json.loads(text), time) for name, (text, time) in saved.items()}
    shipped = {name: (services.intake.shipped(name) or {}, 0.0) for name in workflow_names()}
    every = {**shipped, **found}
    return {name: time for name, (document, time) in sorted(every.items()) if "prompt" in Named(name, document).inputs}


def typed(services: Services, workflow: Named, name: str, text: str) -> Any:
    """Return the value for a named input from a form, where all values are texts: a number unless a text is wanted."""
    target = next(iter(workflow.inputs.get(name, ())), None)
    node = services.intake.registry.nodes.get(workflow.document["nodes"][target["node"]]["type"]) if target else None
    port = node.spec.by_name.get(target["input"]) if node and target else None
    if port is not None and port.kind == "BOOLEAN" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return json.loads(text) if port is not None and port.kind in ("INT", "FLOAT") and _NUMBER.match(text) else text


async def jobs(
    services: Services, workflow: Named, inputs: Mapping[str, Any], seeds: list[int | None], caller: Caller, tag: str
) -> list[NewJob]:
    """Return a job for each seed; None draws one. A workflow without an input `seed` runs as it is.

    Raises WorkflowError with all problems, NotReady.
    """
    return [
        await services.intake.job(
            Order(workflow.document, {**inputs, **_seed(workflow, seed)}, None, caller.sees),
            owner=caller.owner,
            tags=(tag,),
        )
        for seed in seeds
    ]


def _seed(workflow: Named, seed: int | None) -> dict[str, Any]:
    return {"seed": RANDOM if seed is None else seed} if "seed" in workflow.inputs else {}


def with_inputs_named(workflow: Named, error: LoomError) -> WorkflowError:
    """Return the problems of a workflow with the workflow's own names for the inputs of nodes."""
    found = []
    for problem in error.problems:
        name = workflow.input_of(problem)
        found.append(problem if name is None else replace(problem, node=None, input=name))
    return WorkflowError(found)
