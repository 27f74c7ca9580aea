"""Converts jobs, batches and saved files to their HTTP data models."""

from latentloom.api import wire
from latentloom.api.wire_batches import Batch as Answer
from latentloom.api.wire_batches import BatchCell
from latentloom.engine.errors import Problem, listed
from latentloom.engine.jobs.batches import Batch, CellRecord
from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.outputs import Output

LISTED_PROBLEMS = 10  # maximum number of problems of a job in a list


def job_answer(job: Job, files: list[Output] | None = None, *, listing: bool = False) -> wire.Job:
    """Return a job's data model. With `listing`, without its result, which may be large, and with few problems."""
    problems = [Problem(**problem) for problem in job.problems]
    problems = listed(problems, len(problems), LISTED_PROBLEMS) if listing else problems
    fields = {name: getattr(job, name) for name in wire.Job.model_fields if name not in ("files", "problems")}
    return wire.Job(
        **{
            **fields,
            "tags": list(job.tags),
            "outputs": None if job.outputs is None else list(job.outputs),
            "result": {} if listing else job.result,
        },
        problems=[wire.Problem(**problem.record()) for problem in problems],
        files=None if files is None else [output_answer(output) for output in files],
    )


def batch_answer(batch: Batch) -> Answer:
    """Return a batch's data model."""
    fields = {name: getattr(batch, name) for name in Answer.model_fields}
    lists = {"tags": list(batch.tags), "outputs": None if batch.outputs is None else list(batch.outputs)}
    return Answer(**{**fields, **lists})


def cell_answer(cell: CellRecord, files: list[Output]) -> BatchCell:
    """Return the data model of a cell with its job's saved files."""
    problems = [wire.Problem(**problem) for problem in cell.problems]
    seed = next((file.seed for file in files if file.seed is not None), None)
    return BatchCell(
        place=cell.place,
        inputs=dict(cell.inputs),
        state=cell.state,
        job=cell.job,
        seed=seed or (str(cell.inputs["seed"]) if "seed" in cell.inputs else None),
        seconds=cell.seconds,
        files=[output_answer(file) for file in files],
        error=problems[0] if problems else None,
    )


def output_answer(output: Output) -> wire.OutputFile:
    """Return a saved file's data model."""
    fields = output._asdict()
    lists = {name: list(fields[name]) for name in ("models", "tags", "outputs")}
    return wire.OutputFile(**{**fields, **lists})
