"""Converts jobs and saved files to their HTTP data models."""

from latentloom.api import wire
from latentloom.engine.errors import Problem, listed
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


def output_answer(output: Output) -> wire.OutputFile:
    """Return a saved file's data model."""
    fields = output._asdict()
    lists = {name: list(fields[name]) for name in ("models", "tags", "outputs")}
    return wire.OutputFile(**{**fields, **lists})
