"""Settings: flags, then LATENTLOOM_* variables, then a TOML file, then defaults."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from platformdirs import PlatformDirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentloom.engine.errors import SettingsError, brief, nearest

PREFIX = "LATENTLOOM_"
GIB = 2**30


class Settings(BaseModel):
    """The settings: folders, limits and the server. Folders that are not set lie in `home`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(description="Folder of plugin snapshots, file hashes and the server's queue.")
    models: tuple[Path, ...] = Field(description="Folders with model files (checkpoints/, vae/, loras/, ...).")
    input: Path = Field(description="Folder of the pictures that workflows can read.")
    output: Path = Field(description="Folder where pictures are saved.")
    cache: Path = Field(description="Folder of the cache.")
    cache_bytes: int = Field(
        10 * GIB,
        ge=0,
        description="Limit of the cache on disk, results and values together; 0 disables the disk cache.",
    )
    memory_cache_bytes: int = Field(2 * GIB, ge=0, description="Limit of the cache in memory.")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Device that models run on.")
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = Field("auto", description="Data type that models compute in.")
    vram_budget: int | None = Field(
        None, gt=0, description="Bytes that models may use on an accelerator; default: 85 % of its memory."
    )
    ram_budget: int | None = Field(None, gt=0, description="Bytes that models may use in RAM; default: half of it.")
    salt: str | None = Field(None, description="Any text; changing it invalidates all cached results.")
    plugins: tuple[str, ...] | None = Field(None, description="Load only these plugins; default: all installed ones.")
    plugin_seconds: float = Field(
        30.0, gt=0, le=3600, description="A plugin whose import takes longer, when it is inspected, fails."
    )
    isolated_seconds: float = Field(600.0, gt=0, description="After this a call of an isolated plugin's node is ended.")
    isolated_bytes: int | None = Field(
        None, gt=0, description="Memory that the process of an isolated plugin may allocate; default: no limit."
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address that the server listens on.")
    port: int = Field(8420, ge=0, le=65535, description="Port of the server; 0 selects a free one.")
    allow_hosts: tuple[str, ...] = Field(
        (), description="Host names, in addition to localhost, by which clients may reach the server."
    )
    tokens: tuple[str, ...] = Field(
        (), repr=False, description="Access tokens: `name:role:secret`, `name:secret`, or one secret."
    )
    user_priority: int = Field(
        0, ge=-100, le=100, description="Highest priority that a token of the role `user` may give to a job."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What the server logs; `debug` adds a line for each request."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the server's log lines.")
    public_metrics: bool = Field(False, description="Whether `/metrics` needs no token.")
    public_url: str | None = Field(None, description="Public address if a proxy is in front: https://draw.example.org.")
    webhook_secret: str | None = Field(
        None, repr=False, description="Secret that signs webhooks: `whsec_` and 24..64 bytes in base64."
    )
    webhook_hosts: tuple[str, ...] = Field((), description="Hosts to which the server may send webhooks.")
    webhook_proxy: str | None = Field(
        None, repr=False, description="Proxy for webhooks: `http://host:port`, optionally with `user:password@`."
    )
    webhook_ca: Path | None = Field(
        None, description="PEM file with certificate authorities for webhook hosts, in addition to the system's."
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses or networks of proxies whose X-Forwarded-For header is trusted."
    )
    comfy: bool = Field(False, description="Also serve ComfyUI clients.")
    comfy_packs: Path | None = Field(None, description="The folder with packs of ComfyUI's node classes; default none.")
    comfy_pack_seconds: float = Field(600.0, gt=0, description="After this a call of a pack's class is ended.")
    openai: bool = Field(False, description="Also serve clients of the OpenAI images API.")
    a1111: bool = Field(False, description="Also serve clients of the AUTOMATIC1111 web API.")
    connections: int = Field(1000, ge=64, description="Maximum number of open connections.")
    connections_per_address: int = Field(
        100,
        ge=1,
        description="Maximum number of connections from one address; localhost and trusted proxies are exempt.",
    )
    cpu_workers: int = Field(1, ge=1, le=64, description="Number of workers for jobs that need no device.")
    warm_up: bool = Field(True, description="Whether idle workers import the libraries for models in advance.")
    queue_limit: int = Field(10_000, ge=1, description="Maximum number of waiting jobs.")
    owner_limit: int = Field(5_000, ge=1, description="Maximum number of waiting jobs of one token.")
    upload_bytes: int = Field(64 * 2**20, ge=1, description="Maximum size of an uploaded picture.")
    request_bytes: int = Field(8 * 2**20, ge=1024, description="Maximum size of a JSON request body.")
    request_nodes: int = Field(5_000, ge=1, description="Maximum number of nodes in a workflow sent over HTTP.")
    start_seconds: float = Field(
        300.0, gt=0, description="Time after which a worker that has not started is restarted."
    )
    cancel_seconds: float = Field(
        10.0, gt=0, description="Time after which a worker that ignores a cancellation is stopped."
    )
    keep_days: float = Field(30.0, gt=0, description="How long finished jobs are kept.")
    keep_jobs: int = Field(10_000, ge=1, description="How many finished jobs are kept.")
    keep_upload_days: float | None = Field(
        None, gt=0, description="How long uploaded pictures are kept that no stored job, workflow or draft names."
    )
    keep_output_bytes: int | None = Field(
        None, ge=0, description="Limit of the saved files; beyond it the server removes the oldest."
    )

    def plugin_folder(self, plugin: str) -> Path:
        """Return the folder for a plugin's own files. It is created if it does not exist."""
        folder = self.data / "plugin-data" / quote(plugin, safe="")
        folder.mkdir(parents=True, exist_ok=True)
        return folder


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
