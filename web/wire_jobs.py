"""Jobs and saved files as they travel."""

from latentloom.api import wire
from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.outputs import Output


def job_answer(job: Job, files: list[Output] | None = None, *, result: bool = True) -> wire.Job:
    """A job as it travels; its result may be large and is left out of lists."""
    fields = {name: getattr(job, name) for name in wire.Job.model_fields if name not in ("files", "problems")}
    return wire.Job(
        **{
            **fields,
            "tags": list(job.tags),
            "outputs": None if job.outputs is None else list(job.outputs),
            "result": job.result if result else {},
        },
        problems=[wire.Problem(**problem) for problem in job.problems],
        files=None if files is None else [output_answer(output) for output in files],
    )


def output_answer(output: Output) -> wire.OutputFile:
    """A saved file as it travels."""
    fields = output._asdict()
    return wire.OutputFile(**{**fields, "models": list(output.models), "tags": list(output.tags)})
