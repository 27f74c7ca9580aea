"""Checks the captions of data sets before anything runs."""

from collections.abc import Iterator

from latentloom.engine.errors import LoomError, Problem
from latentloom.engine.planning.step import Files, Step

SHOWN = 3


def caption_problems(step: Step, files: Files) -> Iterator[Problem]:
    """Yield a problem for each data set with pictures that have no caption, or whose captions cannot be read.

    An input "caption" next to the data set is the caption of the pictures that have none.
    """
    for port in step.spec.inputs:
        name = step.literals.get(port.name)
        if port.source != "datasets" or not isinstance(name, str):
            continue
        try:
            files.check("datasets", name, alike=False)
        except LoomError:
            continue  # reported at the input
        try:
            missing = files.captions(name).uncaptioned
        except LoomError as error:
            facts = {key: text for key, text in error.problem.record().items() if key not in ("node", "input")}
            yield Problem(node=step.id, input=port.name, **facts)
            continue
        if missing and not (step.literals.get("caption") or "caption" in step.edges):
            yield Problem(
                code="missing_captions",
                message=f"{len(missing)} picture{'s have' if len(missing) > 1 else ' has'} no caption",
                node=step.id,
                input=port.name,
                expected="NAME.txt next to each picture, or metadata.jsonl",
                got=", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else ""),
                hint="set 'caption', the caption of pictures that have none",
            )
