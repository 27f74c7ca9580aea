"""Build hook: an editable install finds `latentloom.*` through links in .dev/."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("engine", "nodes", "plugins", "api", "web", "cli", "training", "workflows")


class LinkHook(BuildHookInterface):
    """Fills .dev/latentloom with one link per source folder before an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        if self.target_name != "wheel" or version != "editable":
            return
        namespace = Path(self.root) / ".dev" / "latentloom"
        namespace.mkdir(parents=True, exist_ok=True)
        for folder in FOLDERS:
            link = namespace / folder
            if not link.is_symlink():
                link.symlink_to(Path("..") / ".." / folder, target_is_directory=True)
