"""The record that is embedded in a saved picture: versions, seeds, models and timings of the run."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from latentloom.engine.document.workflow import edges_in
from latentloom.engine.events import Event, NodeCached, NodeFinished
from latentloom.engine.execution.origin import Labels, origin
from latentloom.engine.files.labels import SourceType
from latentloom.engine.files.model_files import ModelFile
from latentloom.engine.models.environment import Environment
from latentloom.engine.planning.step import Checked, Step
from latentloom.engine.types.spec import MAX_SEED

FORMAT = "latentloom-record/1"


class Making:
    """Collects a run's events and builds the records of saved pictures."""

    def __init__(self, checked: Checked, environment: Environment) -> None:
        self._checked = checked
        self._environment = environment
        self._cached = 0
        self._seconds: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Process an event of the run."""
        if isinstance(event, NodeCached):
            self._cached += 1
        elif isinstance(event, NodeFinished):
            self._seconds[event.node] = round(event.seconds, 4)

    def record(self, node: str, item: int, models: Mapping[str, ModelFile]) -> dict[str, Any]:
        """Return the record of the item-th picture that a node saves. `models` are the files that it depends on."""
        seeds = self._seeds(node, item)
        return {
            "format": FORMAT,
            "latentloom": version("latentloom"),
            "python": platform.python_version(),
            **self._environment.record(),
            "node": node,
            "item": item,
            "seed": next(iter(seeds.values()), None),
            "seeds": seeds,
            "models": {file.name: file.sha256 for file in models.values()},
            "seconds": dict(self._seconds),
            "cache_hits": self._cached,
        }

    def origin(self, node: str, labels: Labels) -> SourceType | None:
        """Return the digital source type of the pictures of a node; None if no model had a part in them."""
        above = {step.id for step in self.upstream(node)}
        inside = (step for step in self._checked.steps.values() if _roots(step.id) & above)
        return origin(inside, labels)

    def _seeds(self, node: str, item: int) -> dict[str, int]:
        """Return the seed of each upstream node, nearest first; with noise_rule "per_item", that of this batch item."""
        found: dict[str, int] = {}
        own: set[str] = set()  # nodes whose seed feeds a sampler with one seed per item
        for step in self.upstream(node):
            rule = step.id in own or step.literals.get("noise_rule") == "per_item"
            for port in (port for port in step.spec.inputs if port.seed):
                own |= {edge.node for edge in edges_in(step.edges.get(port.name)) if rule}
                seed = step.literals.get(port.name)
                if isinstance(seed, int):
                    found[step.id] = (seed + item) & MAX_SEED if rule else seed
        return found

    def upstream(self, node: str) -> list[Step]:
        """Return a node's step and all upstream steps, nearest first."""
        found, queue = {node}, [node]
        for id in queue:
            step = self._checked.steps.get(id)
            for source in step.sources(lazy=True) if step else ():
                if source not in found:
                    found.add(source)
                    queue.append(source)
        return [self._checked.steps[id] for id in queue if id in self._checked.steps]


def _roots(id: str) -> set[str]:
    """Return the id of a step and those of the steps that it is inside of, such as "a/1" and "a" for "a/1/b"."""
    parts = id.split("/")
    return {"/".join(parts[:n]) for n in range(1, len(parts) + 1)}
