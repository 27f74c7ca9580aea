"""Dockerfile and compose.yaml: what can be checked of them without Docker."""

import fnmatch
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from latentloom.engine.settings import Settings
from latentloom.web.app import route_table

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = re.sub(r"(?m)^#.*\n", "", TEXT).replace("\\\n", " ").splitlines()
STEPS = [tuple(line.split(maxsplit=1)) for line in LINES if line]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
KNOWN = {"ARG", "FROM", "RUN", "COPY", "USER", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}


def of(name):
    return [rest for word, rest in STEPS if word == name]


def arguments():
    return dict((*rest.split("=", 1), "")[:2] for rest in of("ARG"))


def variables(rest):
    return dict(pair.split("=", 1) for pair in shlex.split(rest))


def test_every_instruction_is_one_and_the_shell_can_read_each_run():
    assert {word for word, _ in STEPS} <= KNOWN
    for run in of("RUN"):
        subprocess.run(["sh", "-n", "-c", run], check=True)


def test_what_is_copied_is_there_and_reaches_the_build():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    kept = [line[1:] for line in ignored if line.startswith("!")]

    assert [name for name in kept if not (ROOT / name).exists()] == []
    assert "*" in ignored
    for source in (rest.split()[0] for rest in of("COPY") if not rest.startswith("--from")):
        assert source == "." or source in kept
    folders = re.search(r"FOLDERS = \((.*?)\)", (ROOT / "hatch_build.py").read_text(encoding="utf-8"))[1]
    assert set(re.findall(r'"(\w+)"', folders)) <= set(kept)
    assert not any(fnmatch.fnmatch(".env", name) or fnmatch.fnmatch(".git", name) for name in kept)


def pip_arguments(device, tmp_path, extra="", extras="heic"):
    """What pip is told for a device, by the step of the Dockerfile that installs PyTorch."""
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\necho "$@"\n')
    pip.chmod(0o755)
    step = next(run for run in of("RUN") if "torch $vision" in run).replace("/opt/latentloom/bin/pip", str(pip))
    environment = {**os.environ, "DEVICE": device, "EXTRAS": extras, "PIP_ARGS": extra}
    return subprocess.run(["sh", "-c", step], env=environment, capture_output=True, text=True, check=False)


def test_the_device_chooses_the_build_of_pytorch(tmp_path):
    assert "whl/cpu" in pip_arguments("cpu", tmp_path).stdout
    assert "--index-url" not in pip_arguments("cuda", tmp_path).stdout
    assert pip_arguments("cuda", tmp_path, "--pre").stdout.endswith("--pre torch\n")
    assert pip_arguments("cuda", tmp_path, extras="heic,upscalers").stdout.endswith("torch torchvision\n")
    refused = pip_arguments("tpu", tmp_path)
    assert (refused.returncode, refused.stderr) == (1, "DEVICE is cuda or cpu, not 'tpu'\n")


def test_the_image_runs_as_a_user_with_settings_that_are_there():
    environment = {name: text for rest in of("ENV") for name, text in variables(rest).items()}
    own = [name.removeprefix("LATENTLOOM_").lower() for name in environment if name.startswith("LATENTLOOM_")]

    assert set(own) - {"home"} <= Settings.model_fields.keys()
    assert of("USER") == ["latentloom"]
    assert STEPS.index(("USER", "latentloom")) < STEPS.index(("CMD", '["loom", "serve"]'))
    assert of("VOLUME") == [environment["LATENTLOOM_HOME"]] == ["/data"]
    assert of("EXPOSE") == [str(Settings.model_fields["port"].default)]


def test_the_health_check_asks_a_public_route():
    (check,) = of("HEALTHCHECK")
    path = re.search(r"127\.0\.0\.1:\d+(/\w+)", check)[1]

    assert next(route for route in route_table() if route.path == path).public


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_of_compose_fits_the_image(name):
    service = SERVICES[name]
    own = [key.removeprefix("LATENTLOOM_").lower() for key in service["environment"]]

    assert service["profiles"] == [name]
    assert service["build"]["args"] == {"DEVICE": name}
    assert set(service["build"]["args"]) <= set(arguments())
    assert set(own) <= Settings.model_fields.keys()
    assert service["environment"]["LATENTLOOM_TOKENS"].startswith("${LATENTLOOM_TOKENS:?")
    assert service["ports"] == [f"127.0.0.1:8420:{of('EXPOSE')[0]}"]
    assert {mount.split(":")[0] for mount in service["volumes"] if mount[0].isalpha()} == set(COMPOSE["volumes"])
    assert [mount.removesuffix(":ro").rpartition(":")[2] for mount in service["volumes"]] == ["/data", "/data/models"]


def test_only_the_service_for_cards_asks_for_one():
    assert "deploy" not in SERVICES["cpu"]
    devices = SERVICES["cuda"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
