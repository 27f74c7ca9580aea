"""Inputs that refer to outputs of earlier jobs, as `{"output": {"job": ID, "name": NAME}}` or by sha256."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from latentloom.api.wire import OutputReference
from latentloom.engine.errors import LoomError, Problem, WorkflowError, brief, nearest
from latentloom.engine.jobs.faults import WrongState
from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.outputs import Output
from latentloom.web.queue_writer import OwnedTables
from latentloom.web.routing import Call
from latentloom.web.services import Services


class _Unusable(LoomError):
    """An output that cannot be an input."""

    code = "unusable_output"


async def with_outputs(services: Services, call: Call, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of named inputs, in which references are replaced by what they refer to.

    A picture is copied to the input folder under its hash, so that the new job does not depend on the old one's files.
    Raises WorkflowError with all problems.
    """
    found, problems = dict[str, Any](), list[Problem]()
    for name, value in inputs.items():
        try:
            found[name] = await _replaced(services, call, value)
        except LoomError as error:
            problems += [replace(problem, input=name) for problem in error.problems]
    if problems:
        raise WorkflowError(problems)
    return found


async def _replaced(services: Services, call: Call, value: Any) -> Any:
    """Return a value, or the elements of a list, without references."""
    if isinstance(value, list):
        return [await _replaced(services, call, item) for item in value] if any(map(_is_reference, value)) else value
    return await _value(services, call, _reference(value["output"])) if _is_reference(value) else value


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"output"}


def _reference(value: Any) -> OutputReference:
    try:
        return OutputReference.model_validate(value)
    except ValidationError as error:
        text = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}".lstrip(": ") for one in error.errors())
        expected = '{"job": ID, "name": NAME, "item": NUMBER} or {"sha256": HEX}'
        raise _Unusable(f"not a reference to an output: {text}", expected=expected, got=brief(value)) from None


async def _value(services: Services, call: Call, reference: OutputReference) -> Any:
    if reference.sha256 is not None:
        sha256 = reference.sha256
        files = await call.store.read(lambda t: t.outputs.by_hash(sha256))
        if not files:
            raise _Unusable("there is no saved file with that sha256", got=sha256)
        return await _stored(services, call, files)
    return await _of_job(services, call, reference)


async def _of_job(services: Services, call: Call, reference: OutputReference) -> Any:
    """Return the name of a file of a job's output; the value of an output without files."""
    job, files = await call.store.read(lambda t: _facts(t, str(reference.job)))
    values = job.result.get("outputs", {})
    name = str(reference.name)
    own = [file for file in files if name in file.outputs]
    if own:
        return await _stored(services, call, [_item(own, reference.item or 0, f"files of the output '{name}'")])
    if name in values:
        value = values[name]
        return value if reference.item is None else _item(value, reference.item, f"values of the output '{name}'")
    raise _missing(job, name, sorted({*values, *(output for file in files for output in file.outputs)}))


def _facts(tables: OwnedTables, id: str) -> tuple[Job, list[Output]]:
    """Return a job that is done, with its files. Raises UnknownJob, WrongState."""
    job = tables.queue.job(id)
    if job.state != "done":
        hint = "wait until it has ended" if job.finished is None else "only finished work can be used; retry that job"
        raise WrongState(f"the job '{id}' is not done", expected="done", got=job.state, hint=hint)
    return job, tables.outputs.of_job(id)


def _item(values: Any, item: int, what: str) -> Any:
    if not isinstance(values, list):
        raise _Unusable(f"there are no {what}: it is a single value", hint="leave `item` out")
    if item >= len(values):
        raise _Unusable(f"there is no item {item} among the {what}", expected=f"0..{len(values) - 1}", got=str(item))
    return values[item]


def _missing(job: Job, name: str, names: list[str]) -> LoomError:
    """Return the error for an output that is not there, left out of the result, or has lost its files."""
    if name in job.result.get("left_out", {}):
        return _Unusable(f"the output '{name}' of the job '{job.id}' was too long to be kept")
    return _Unusable(
        f"the job '{job.id}' has no output '{name}', or its files were removed",
        expected=", ".join(names) or "none: nothing of that job can be used",
        nearest=nearest(name, names),
    )


async def _stored(services: Services, call: Call, files: list[Output]) -> str:
    """Copy the first file that is unchanged to the input folder. Returns its name for documents."""
    path = await services.disk(services.files.intact, files)
    if path is None:
        raise _Unusable("the file was removed or changed after it was saved", got=files[0].path)
    if not files[0].media.startswith("image/"):
        raise _Unusable("only pictures can be the files of inputs", expected="image/...", got=files[0].media)
    return await services.disk(services.intake.files(call.sees).store, path)
