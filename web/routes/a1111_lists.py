"""Lists of AUTOMATIC1111's web API: what is installed, under that program's names."""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from latentloom.plugins.comfyui.parameters import SAMPLER_NAMES, SCHEDULE_NAMES
from latentloom.plugins.comfyui.sdapi import Installed, names_of
from latentloom.web import named_workflows
from latentloom.web.routes.json_bodies import answer
from latentloom.web.routing import Call, Handler
from latentloom.web.services import Services

PLAIN_UPSCALERS = ("None", "Lanczos", "Nearest")
LATENT_MODES = ("Latent",)


def table() -> tuple[tuple[str, str, Handler], ...]:
    """Return the routes of lists."""
    return (
        ("GET", "/samplers", list_samplers),
        ("GET", "/schedulers", list_schedules),
        ("GET", "/sd-models", list_models),
        ("GET", "/sd-vae", list_vaes),
        ("GET", "/loras", list_loras),
        ("GET", "/embeddings", list_embeddings),
        ("GET", "/upscalers", list_upscalers),
        ("GET", "/latent-upscale-modes", list_latent_modes),
        ("GET", "/hypernetworks", list_none),
        ("GET", "/face-restorers", list_none),
        ("GET", "/prompt-styles", list_none),
        ("GET", "/script-info", list_none),
        ("GET", "/scripts", list_scripts),
        ("GET", "/cmd-flags", show_flags),
        ("GET", "/memory", show_memory),
        ("POST", "/refresh-checkpoints", refresh),
        ("POST", "/refresh-vae", refresh),
        ("POST", "/refresh-loras", refresh),
        ("POST", "/refresh-embeddings", refresh),
        ("POST", "/unload-checkpoint", refresh),
        ("POST", "/reload-checkpoint", refresh),
    )


async def installed(services: Services, call: Call) -> Installed:
    """Return what is installed."""
    catalog, registry = services.intake.files(call.sees), services.intake.registry

    def read() -> Installed:
        folders = ("checkpoints", "loras", "upscale_models", "controlnet")
        checkpoints, loras, upscalers, controlnets = (catalog.names(f"models/{folder}") for folder in folders)
        methods = tuple(registry.extensions("sampler")), tuple(registry.extensions("schedule"))
        return Installed(checkpoints, catalog.own_names("models/vae"), loras, upscalers, *methods, controlnets)

    return await services.disk(read)


async def workflows(services: Services, call: Call) -> list[str]:
    """Return the names of the saved workflows that have an input `prompt`, which count as models."""
    found = await named_workflows.callable_names(services, call.store)
    return [name for name, saved in found.items() if saved]


def _methods(known: dict[str, str], methods: Iterable[str]) -> list[tuple[str, str]]:
    names = names_of(known)
    return sorted((names.get(method, method), method) for method in methods)


async def list_samplers(services: Services, _: Call) -> web.Response:
    """List the samplers."""
    found = _methods(SAMPLER_NAMES, services.intake.registry.extensions("sampler"))
    return answer([{"name": name, "aliases": [f"k_{method}", method], "options": {}} for name, method in found])


async def list_schedules(services: Services, _: Call) -> web.Response:
    """List the schedules."""
    found = [("Automatic", "automatic"), *_methods(SCHEDULE_NAMES, services.intake.registry.extensions("schedule"))]
    more = {"aliases": None, "default_rho": -1.0, "need_inner_model": False}
    return answer([{"name": method, "label": name, **more} for name, method in found])


def stem(name: str) -> str:
    """Return a file's name without its suffix."""
    return name.removesuffix(PurePosixPath(name).suffix) if name.endswith((".safetensors", ".sft", ".gguf")) else name


async def list_models(services: Services, call: Call) -> web.Response:
    """List the checkpoints and the saved workflows, which count as models too."""
    names = [*(await installed(services, call)).checkpoints, *await workflows(services, call)]
    more = {"hash": None, "sha256": None, "config": None}
    return answer([{"title": name, "model_name": stem(name), "filename": name, **more} for name in names])


async def list_vaes(services: Services, call: Call) -> web.Response:
    """List the VAEs."""
    return answer([{"model_name": name, "filename": name} for name in (await installed(services, call)).vaes])


async def list_loras(services: Services, call: Call) -> web.Response:
    """List the LoRAs."""
    names = (await installed(services, call)).loras
    return answer([{"name": stem(name), "alias": stem(name), "path": name, "metadata": {}} for name in names])


async def list_embeddings(services: Services, call: Call) -> web.Response:
    """List the embeddings."""
    names = await services.disk(services.intake.files(call.sees).names, "models/embeddings")
    nothing = dict.fromkeys(("step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"))
    return answer({"loaded": {stem(name): nothing for name in names}, "skipped": {}})


async def list_upscalers(services: Services, call: Call) -> web.Response:
    """List the upscalers."""
    names = (await installed(services, call)).upscalers
    return answer([_upscaler(name) for name in PLAIN_UPSCALERS] + [_upscaler(stem(name), name) for name in names])


def _upscaler(name: str, file: str | None = None) -> dict[str, Any]:
    return {"name": name, "model_name": file and name, "model_path": file, "model_url": None, "scale": 4.0}


async def list_latent_modes(_: Services, __: Call) -> web.Response:
    """List the ways to enlarge latents."""
    return answer([{"name": name} for name in LATENT_MODES])


async def list_none(_: Services, __: Call) -> web.Response:
    """List what does not exist here: nothing."""
    return answer([])


async def list_scripts(_: Services, __: Call) -> web.Response:
    """List scripts: none."""
    return answer({"txt2img": [], "img2img": []})


async def show_flags(_: Services, __: Call) -> web.Response:
    """Show flags of the command line: none."""
    return answer({})


async def show_memory(services: Services, _: Call) -> web.Response:
    """Show the resident memory; memory of devices is not measured in this process."""
    used: Sequence[int] = list(services.memory().values())
    return answer({"ram": {"used": sum(used)}, "cuda": {"error": "unavailable"}})


async def refresh(_: Services, __: Call) -> web.Response:
    """Answer; folders are read anew at each request, and models leave memory when others need it."""
    return answer(None)
