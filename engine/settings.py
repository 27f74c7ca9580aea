"""Settings: flags, then LATENTLOOM_* variables, then a TOML file, then defaults."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import PlatformDirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentloom.engine.errors import SettingsError, brief, nearest

PREFIX = "LATENTLOOM_"
GIB = 2**30


class Settings(BaseModel):
    """Where things are and how much they may take. Every folder moves with `home` unless it is set itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(description="Snapshots, hashes and, for the server, its queue.")
    models: tuple[Path, ...] = Field(description="Folders with model files (checkpoints/, vae/, loras/, ...).")
    input: Path = Field(description="Pictures that workflows may read.")
    output: Path = Field(description="Where pictures are saved.")
    cache: Path = Field(description="Results of nodes.")
    cache_bytes: int = Field(
        10 * GIB,
        ge=0,
        description="The cache's share of the disk, results and values together; 0 turns the disk tier off.",
    )
    memory_cache_bytes: int = Field(2 * GIB, ge=0, description="Results and values that stay in memory.")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Where models run.")
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = Field("auto", description="The type that models compute in.")
    vram_budget: int | None = Field(
        None, gt=0, description="Bytes that models may take on an accelerator; default 85 % of its memory."
    )
    ram_budget: int | None = Field(
        None, gt=0, description="Bytes that models may take in the machine's memory; default half of it."
    )
    salt: str | None = Field(None, description="A text that, once changed, disowns every cached result.")
    plugins: tuple[str, ...] | None = Field(None, description="Load only these plugins; default all installed.")
    host: str = Field("127.0.0.1", min_length=1, description="The address that the server listens on.")
    port: int = Field(8420, ge=0, le=65535, description="The server's port; 0 takes a free one.")
    allow_hosts: tuple[str, ...] = Field((), description="Names beside localhost that clients may call the server by.")
    tokens: tuple[str, ...] = Field((), repr=False, description="Who may use the server: `name:secret`, or one secret.")
    public_url: str | None = Field(
        None, description="The address that people use, where it is a proxy's: https://draw.example.org."
    )
    webhook_secret: str | None = Field(
        None, repr=False, description="What webhooks are signed with: `whsec_` and 24..64 bytes in base64."
    )
    webhook_hosts: tuple[str, ...] = Field((), description="Hosts that the server may tell of finished jobs.")
    webhook_proxy: str | None = Field(
        None, repr=False, description="The proxy for webhooks: `http://host:port`, or with `user:password@`."
    )
    webhook_ca: Path | None = Field(
        None, description="A PEM file with the certificate authorities of webhooks' hosts, beside the system's."
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses or networks whose X-Forwarded-For is believed: proxies in front of the server."
    )
    comfy: bool = Field(False, description="Whether the server answers ComfyUI's clients too.")
    comfy_packs: Path | None = Field(None, description="The folder with packs of ComfyUI's node classes; default none.")
    comfy_pack_seconds: float = Field(600.0, gt=0, description="After this a call of a pack's class is ended.")
    openai: bool = Field(False, description="Whether the server answers clients of OpenAI's images API too.")
    a1111: bool = Field(False, description="Whether the server answers clients of AUTOMATIC1111's web API too.")
    connections: int = Field(1000, ge=64, description="Connections that the server keeps open at once.")
    connections_per_address: int = Field(
        100, ge=1, description="Connections of one address; this machine and trusted proxies have no such limit."
    )
    cpu_workers: int = Field(1, ge=1, le=64, description="Workers for jobs that need no device.")
    warm_up: bool = Field(True, description="Whether idle workers import ahead what models need.")
    queue_limit: int = Field(10_000, ge=1, description="Jobs that may wait.")
    owner_limit: int = Field(5_000, ge=1, description="Jobs of one token that may wait.")
    upload_bytes: int = Field(64 * 2**20, ge=1, description="The largest picture that may be uploaded.")
    request_bytes: int = Field(8 * 2**20, ge=1024, description="The largest JSON body that the server reads.")
    request_nodes: int = Field(5_000, ge=1, description="The most nodes in a workflow that comes over HTTP.")
    start_seconds: float = Field(
        300.0, gt=0, description="After this a worker that has not come up is ended and begun again."
    )
    cancel_seconds: float = Field(10.0, gt=0, description="After this a worker that ignores a cancel is ended.")
    keep_days: float = Field(30.0, gt=0, description="How long finished jobs are remembered.")
    keep_jobs: int = Field(10_000, ge=1, description="How many finished jobs are remembered.")
    keep_output_bytes: int | None = Field(None, ge=0, description="Beyond this the server removes the oldest files.")


def load_settings(flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the effective settings. Raises SettingsError, which names the setting and what is wrong with it."""
    environment = os.environ if environment is None else environment
    given = _from_file(environment) | _from_environment(environment)
    given |= {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**(_folders(environment) | given))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise SettingsError(
            f"the setting '{name}' cannot be used: {first['msg']}",
            got=None if _secret(name) else brief(given.get(name)),
            nearest=nearest(name, Settings.model_fields) if first["type"] == "extra_forbidden" else None,
        ) from None


def _secret(name: str) -> bool:
    """Whether a setting's value is secret. An unknown setting may be a token with a misspelt name."""
    field = Settings.model_fields.get(name)
    return field is None or not field.repr


def _folders(environment: Mapping[str, str]) -> dict[str, Any]:
    home = environment.get(f"{PREFIX}HOME")
    if home:
        root = Path(home).expanduser()
        places = {name: root / name for name in ("data", "input", "output", "cache")}
        return {**places, "models": (root / "models",)}
    dirs = PlatformDirs("latentloom", appauthor=False)
    data = Path(dirs.user_data_dir)
    return {
        "data": data,
        "models": (data / "models",),
        "input": data / "input",
        "output": Path(dirs.user_pictures_dir) / "latentloom",
        "cache": Path(dirs.user_cache_dir),
    }


def settings_file(environment: Mapping[str, str] | None = None) -> Path:
    """Return the path of the TOML settings file, which may not exist."""
    environment = os.environ if environment is None else environment
    if environment.get(f"{PREFIX}HOME"):
        return Path(environment[f"{PREFIX}HOME"]).expanduser() / "latentloom.toml"
    return Path(PlatformDirs("latentloom", appauthor=False).user_config_dir) / "latentloom.toml"


def _from_file(environment: Mapping[str, str]) -> dict[str, Any]:
    path = settings_file(environment)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in Settings.model_fields:
        text = environment.get(PREFIX + name.upper())
        if text is not None:
            many = name in ("models", "plugins", "allow_hosts", "tokens", "webhook_hosts", "trusted_proxies")
            found[name] = tuple(filter(None, text.split(os.pathsep if name == "models" else ","))) if many else text
    return found
