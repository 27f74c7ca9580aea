"""The routes for clients of AUTOMATIC1111's web API (`/sdapi/v1`). A model is a checkpoint or a saved workflow."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aiohttp import web

from latentloom.engine.document.resolve import draw_seed
from latentloom.engine.errors import BadValueError, LoomError, brief
from latentloom.engine.jobs.job import NewJob
from latentloom.plugins.comfyui import sdapi, sdapi_control
from latentloom.plugins.comfyui.generation import Parameters, Source, document_of, with_loras
from latentloom.plugins.comfyui.report import Report
from latentloom.plugins.comfyui.sdapi import MAX_PICTURES, MAX_SEED, Installed, Request
from latentloom.web import named_workflows
from latentloom.web.http_errors import response_of
from latentloom.web.intake import Order
from latentloom.web.named_workflows import Named
from latentloom.web.routes import a1111_extras, a1111_lists
from latentloom.web.routes.json_bodies import answer, read_json
from latentloom.web.routing import AnyQuery, Call, Handler, Route
from latentloom.web.services import Services
from latentloom.web.tokens import Caller
from latentloom.web.waiting_jobs import Picture, Progress, cancel, ended, pictures, submit

EMBEDDED = ("shapes", "shapes-flow")  # checkpoints that ship
OPTIONS = {"sd_model_checkpoint": "", "sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1}


def routes() -> tuple[Route, ...]:
    """Return the routes."""
    api = A1111Api()
    table: tuple[tuple[str, str, Handler], ...] = (
        ("POST", "/txt2img", api.txt2img),
        ("POST", "/img2img", api.img2img),
        ("GET", "/options", api.show_options),
        ("POST", "/options", api.change_options),
        ("GET", "/progress", api.show_progress),
        ("POST", "/interrupt", api.interrupt),
        ("POST", "/skip", api.skip),
        *a1111_extras.table(),
        *a1111_lists.table(),
    )
    return tuple(
        Route(method=method, path=f"/sdapi/v1{path}", handler=handler, query=AnyQuery, render=refusal)
        for method, path, handler in table
    )


def refusal(error: LoomError) -> web.Response:
    """Return the answer for an error in the form of that API."""
    message = "; ".join(str(problem) for problem in error.problems)
    response = response_of(error)
    response.body = answer({"error": error.problems[0].code, "detail": message, "body": "", "errors": message}).body
    return response


@dataclass(slots=True)
class Run:
    """The jobs of a request that is being answered, and the progress of the current one."""

    jobs: list[str]
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    progress: Progress = field(default_factory=Progress)

    @property
    def share(self) -> float:
        """The finished share, 0..1."""
        step = self.progress.step / self.progress.total if self.progress.total else 0.0
        return min(1.0, (self.done + step) / len(self.jobs))


class A1111Api:
    """The handlers. The options of each owner last until the server restarts."""

    def __init__(self) -> None:
        self._options: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, list[Run]] = {}

    # Options

    async def show_options(self, services: Services, call: Call) -> web.Response:
        """Show the options that have an effect here."""
        found = self._options_of(call.owner)
        if not found["sd_model_checkpoint"]:
            found["sd_model_checkpoint"] = _default(await a1111_lists.installed(services, call))
        return answer({**found, "sd_checkpoint_hash": "", "samples_format": "png"})

    def _options_of(self, owner: str) -> dict[str, Any]:
        return {**OPTIONS, **self._options.get(owner, {})}

    async def change_options(self, services: Services, call: Call) -> web.Response:
        """Set options for later requests. Options without an effect are listed. Raises BadValueError."""
        given = await read_json(services, call.request, finite=True)
        new = {**self._options_of(call.owner), **{name: given[name] for name in OPTIONS if name in given}}
        installed = await a1111_lists.installed(services, call)
        if new["sd_model_checkpoint"]:
            await _model(services, call, installed, new["sd_model_checkpoint"])
        _vae(installed, new["sd_vae"])
        _clip_skip(new)
        self._options[call.owner] = new
        unused = sorted(given.keys() - OPTIONS.keys())
        return answer({"not_used": unused} if unused else None)

    # Pictures

    async def txt2img(self, services: Services, call: Call) -> web.Response:
        """Make pictures from a text, with a second pass at a larger size or without."""
        return await self._generate(services, call, from_picture=False)

    async def img2img(self, services: Services, call: Call) -> web.Response:
        """Make pictures from a text and a picture, with a mask or without."""
        return await self._generate(services, call, from_picture=True)

    async def _generate(self, services: Services, call: Call, *, from_picture: bool) -> web.Response:
        body = await read_json(services, call.request, size=services.settings.upload_bytes, finite=True)
        request, report = Request(body), Report("AUTOMATIC1111, request")
        installed = await a1111_lists.installed(services, call)
        options, unused = self._overridden(request, call.owner)
        workflow, model = await _model(services, call, installed, options["sd_model_checkpoint"] or _default(installed))
        made = sdapi.parameters_of(request, installed, report)
        made.model, made.vae = model, _vae(installed, options["sd_vae"])
        made.clip_skip = request.whole("clip_skip", _clip_skip(options), 1, 24)
        if from_picture:
            made.image = await _source(services, call, request)
        else:
            made.hires = sdapi.second_pass(request, made, installed)
        unused += await _controls(services, call, request, installed, made)
        seeds = _seeds(request)
        order = _Wanted(body, made, workflow, seeds, report, [*unused, *request.unread()])
        return await self._answered(services, call, order, send=request.flag("send_images", True))

    def _overridden(self, request: Request, owner: str) -> tuple[dict[str, Any], list[str]]:
        """Return the options for a request, and the names of overridden ones without an effect."""
        over = request.mapping("override_settings")
        unused = [
            f"override_settings.{name}" for name in over if name not in OPTIONS and over[name] not in sdapi.NOTHING
        ]
        known = {name: over[name] for name in OPTIONS if over.get(name) not in (None, "")}
        return {**self._options_of(owner), **known}, unused

    async def _answered(self, services: Services, call: Call, wanted: "_Wanted", *, send: bool) -> web.Response:
        new = [await wanted.job(services, call.caller, seed) for seed in wanted.seeds]
        run = Run([job.id for job in await submit(services, new)])
        runs = self._runs.setdefault(call.owner, [])
        runs.append(run)
        found: list[list[Picture]] = []
        try:
            for id in run.jobs:
                run.progress = Progress()
                found.append(await pictures(services, await ended(services, call.request, id, run.progress)))
                run.done += 1
        finally:
            runs.remove(run)
        images = [base64.b64encode(one.data).decode() for some in found for one in some]
        info = wanted.info(run.jobs, found)
        echo = {**wanted.body, "init_images": None, "mask": None}
        return answer({"images": images if send else [], "parameters": echo, "info": json.dumps(info)})

    # Progress

    async def show_progress(self, _: Services, call: Call) -> web.Response:
        """Show the progress of the oldest request of this client that is being answered."""
        run = next(iter(self._runs.get(call.owner, [])), None)
        skip = call.request.query.get("skip_current_image", "").lower() == "true"
        if run is None:
            return answer(_progress(0.0, 0.0, 0, 0, Progress(), None))
        spent = time.monotonic() - run.began
        rest = spent / run.share - spent if run.share else 0.0
        shown = None if skip or run.progress.preview is None else base64.b64encode(run.progress.preview).decode()
        return answer(_progress(run.share, rest, len(run.jobs), run.done, run.progress, shown))

    async def interrupt(self, services: Services, call: Call) -> web.Response:
        """Cancel the requests of this client. Their answers hold the pictures that were finished."""
        await cancel(services, call.store, [id for run in self._runs.get(call.owner, []) for id in run.jobs])
        return answer({})

    async def skip(self, services: Services, call: Call) -> web.Response:
        """Cancel the current picture of each request of this client."""
        await cancel(
            services, call.store, [id for run in self._runs.get(call.owner, []) for id in run.jobs[run.done :][:1]]
        )
        return answer({})


def _progress(share: float, rest: float, jobs: int, done: int, progress: Progress, shown: str | None) -> dict[str, Any]:
    state = {
        "skipped": False, "interrupted": False, "stopping_generation": False, "job": "txt2img" if jobs else "",
        "job_count": jobs, "job_timestamp": "0", "job_no": done, "sampling_step": progress.step,
        "sampling_steps": progress.total,
    }  # fmt: skip
    return {"progress": share, "eta_relative": rest, "state": state, "current_image": shown, "textinfo": None}


@dataclass(slots=True)
class _Wanted:
    """What a request asks for: parameters, a workflow if one stands for the model, and the seed of each picture."""

    body: Mapping[str, Any]
    made: Parameters
    workflow: Named | None
    seeds: list["PictureSeed"]
    report: Report
    unused: list[str]

    async def job(self, services: Services, caller: Caller, seed: "PictureSeed") -> NewJob:
        """Return the job for one picture. Raises WorkflowError, NotReady."""
        document, inputs = self._document(seed)
        kept = {"a1111": {"infotext": self.infotext(seed)}}
        document = {**document, "extra": {**document.get("extra", {}), **kept}}
        order = Order(document, inputs, None, caller.sees)
        return await services.intake.job(order, owner=caller.owner, tags=(a1111_extras.TAG,))

    def _of(self, seed: "PictureSeed") -> Parameters:
        return replace(self.made, seed=seed.first, variation=seed.variation)

    def _document(self, seed: "PictureSeed") -> tuple[Mapping[str, Any], dict[str, Any]]:
        if self.workflow is None:
            run = self.made.steps
            if self.made.image is not None:
                run = sdapi.img2img_steps(run, self.made.image.denoise)
            made = replace(self._of(seed), steps=run)
            return {**document_of(made, Report("")), "name": "img2img" if made.image else "txt2img"}, {}
        values = self._values(seed.first)
        without = [*(values.keys() - self.workflow.inputs.keys())]
        without += ["subseed"] if seed.variation else []
        without += [f"{sdapi_control.INPUT}.{sdapi_control.SCRIPT}"] if self.made.controls else []
        document = with_loras(self.workflow.document, self.made.loras) if self.made.loras else self.workflow.document
        without += ["prompt: LoRA tags"] if document is None else []
        self.unused = sorted({*self.unused, *without})
        return document or self.workflow.document, {
            name: values[name] for name in values.keys() & self.workflow.inputs.keys()
        }

    def _values(self, seed: int) -> dict[str, Any]:
        """Return the values for the named inputs of a workflow."""
        made, image = self.made, self.made.image
        values = {"prompt": made.prompt, "negative": made.negative, "seed": seed, "steps": made.steps, "cfg": made.cfg}
        values |= {"sampler": made.sampler, "schedule": made.schedule, "width": made.width, "height": made.height}
        if image is not None:
            values |= {"image": image.picture, "strength": image.denoise} | ({"mask": image.mask} if image.mask else {})
        given = {"cfg": "cfg_scale", "sampler": "sampler_name", "schedule": "scheduler", "steps": "steps"}
        given |= {"width": "width", "height": "height", "negative": "negative_prompt"}
        return {
            name: value for name, value in values.items() if self.body.get(given.get(name, "")) or name not in given
        }

    def infotext(self, seed: "PictureSeed") -> str:
        """Return the text with the parameters of one picture."""
        return sdapi.infotext(self._of(seed), seed.first)

    def info(self, jobs: list[str], found: list[list[Picture]]) -> dict[str, Any]:
        """Return the description of the pictures. A job that was cancelled has none."""
        made = self.made
        seeds: list[PictureSeed] = [seed for seed, some in zip(self.seeds, found, strict=False) for _ in some]
        facts = {
            "prompt": made.prompt, "all_prompts": [made.prompt] * len(seeds), "negative_prompt": made.negative,
            "all_negative_prompts": [made.negative] * len(seeds), "seed": self.seeds[0].first,
            "all_seeds": [seed.first for seed in seeds], "subseed": self.seeds[0].second,
            "all_subseeds": [seed.second for seed in seeds], "subseed_strength": self.seeds[0].strength,
            "width": made.width, "height": made.height, "sampler_name": made.sampler, "cfg_scale": made.cfg,
            "steps": made.steps,
            "batch_size": len(seeds), "restore_faces": False, "face_restoration_model": None,
            "sd_model_name": a1111_lists.stem(made.model), "sd_model_hash": "", "sd_vae_name": made.vae or None,
            "denoising_strength": _strength(made), "extra_generation_params": {},
            "index_of_first_image": 0, "infotexts": [self.infotext(seed) for seed in seeds], "styles": [],
            "clip_skip": made.clip_skip, "is_using_inpainting_conditioning": False, "version": "latentloom",
        }  # fmt: skip
        own = {"jobs": jobs, "not_used": sorted(set(self.unused)), "report": self.report.record()["lines"]}
        return {**facts, "latentloom": own}


class PictureSeed(NamedTuple):
    """The seed of a picture, and a second one with the share of its noise."""

    first: int
    second: int = -1
    strength: float = 0.0

    @property
    def variation(self) -> tuple[int, float] | None:
        """The second seed and its share; None if it has none."""
        return (self.second, self.strength) if self.strength else None


def _seeds(request: Request) -> list[PictureSeed]:
    """Return the seeds of each picture; -1 draws the first.

    With a second seed that one counts up, and the first stays. Raises BadValueError.
    """
    count = request.whole("batch_size", 1, 1, MAX_PICTURES) * request.whole("n_iter", 1, 1, MAX_PICTURES)
    if count > MAX_PICTURES:
        raise BadValueError("too many pictures", input="n_iter", expected=f"at most {MAX_PICTURES}", got=str(count))
    seed, (second, strength) = request.whole("seed", -1, -1, MAX_SEED), sdapi.variation_of(request)
    first = draw_seed() if seed == -1 else seed
    if not strength:
        return [PictureSeed((first + n) % (MAX_SEED + 1)) for n in range(count)]
    second = draw_seed() if second == -1 else second
    return [PictureSeed(first, (second + n) % (MAX_SEED + 1), strength) for n in range(count)]


def _strength(made: Parameters) -> float:
    """Return the denoising strength of the last pass; 0 if it starts from noise."""
    last = made.image or made.hires
    return last.denoise if last else 0


async def _controls(
    services: Services, call: Call, request: Request, installed: Installed, made: Parameters
) -> list[str]:
    """Add the ControlNets of a request; return the names of what has no effect. Raises BadValueError, AnswerError."""
    units, unused = sdapi_control.units_of(request)
    for unit in units:
        given = sdapi_control.picture_of(unit)
        picture, _ = await a1111_extras.store_picture(services, call, given, sdapi_control.INPUT)
        control, more = sdapi_control.control_of(unit, picture, installed.controlnets)
        made.controls.append(control)
        unused += more
    return unused


def _default(installed: Installed) -> str:
    """Return the first checkpoint that does not ship, or else the first that does."""
    own = (name for name in installed.checkpoints if name not in EMBEDDED)
    return next(own, EMBEDDED[0])


async def _model(services: Services, call: Call, installed: Installed, name: Any) -> tuple[Named | None, str]:
    """Return the saved workflow or the checkpoint of a name. Raises BadValueError."""
    if type(name) is not str:
        raise BadValueError("wrong type", input="sd_model_checkpoint", expected="a text", got=brief(name))
    if name in await a1111_lists.workflows(services, call):
        return await named_workflows.find(services, call.store, name), name
    return None, sdapi.file_of(name, installed.checkpoints, "sd_model_checkpoint")


def _vae(installed: Installed, name: Any) -> str:
    """Return the file of a VAE; empty for the model's own. Raises BadValueError."""
    if name in (None, "", "Automatic", "automatic", "None", "none"):
        return ""
    return sdapi.file_of(str(name), installed.vaes, "sd_vae")


def _clip_skip(options: Mapping[str, Any]) -> int:
    return Request({"CLIP_stop_at_last_layers": options["CLIP_stop_at_last_layers"]}).whole(
        "CLIP_stop_at_last_layers", 1, 1, 24
    )


async def _source(services: Services, call: Call, request: Request) -> Source:
    """Store the pictures of a request. Raises BadValueError, WorkflowError, AnswerError."""
    given = request.items("init_images")
    if len(given) != 1:
        raise BadValueError("one picture is needed", input="init_images", expected="1", got=str(len(given)))
    picture, _ = await a1111_extras.store_picture(services, call, given[0], "init_images")
    mask = request.text("mask")
    return sdapi.source_of(request, picture, await a1111_extras.store_mask(services, call, mask) if mask else "")
