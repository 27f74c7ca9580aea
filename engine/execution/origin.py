"""The origin of a saved picture: the part that generative models and the user's pictures had in it."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from latentloom.engine.errors import LoomError
from latentloom.engine.files.labels import COMPOSITE, GENERATED, Label, SourceType
from latentloom.engine.planning.step import Step

Labels = Callable[[str, str], Label]


def origin(steps: Iterable[Step], labels: Labels) -> SourceType | None:
    """Return the digital source type of a picture that these steps made; None if no model had a part in it.

    A model has a part if a step that computes on the device gives pictures, or if a picture that went in is labelled.
    A picture that went in without such a label makes the result a composite. `labels` gives the label of a file by
    source and name.
    """
    drawing = [step for step in steps if any(port.kind == "IMAGE" for port in step.spec.outputs)]
    given = [_part(labels, source, name) for step in drawing for source, name in _files(step)]
    if not any(given) and not any(step.spec.device for step in drawing):
        return None
    return GENERATED if all(part == GENERATED for part in given) else COMPOSITE


def _files(step: Step) -> Iterator[tuple[str, str]]:
    """Yield source and name of the files that a step reads; the name is "" if it is not in the document."""
    for port in step.spec.inputs:
        if port.kind == "FILE":
            value = step.edges.get(port.name, step.literals.get(port.name))
            names: Sequence[object] = value if isinstance(value, list) else [value] if value is not None else []
            yield from ((port.source or "input", name if isinstance(name, str) else "") for name in names)


def _part(labels: Labels, source: str, name: str) -> SourceType | None:
    try:
        return labels(source, name).origin if name else None
    except LoomError:  # not a picture, or gone since it was read
        return None
