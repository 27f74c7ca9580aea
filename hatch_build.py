"""Build hook: the web editor goes into web/dist; an editable install finds `latentloom.*` through links in .dev/."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build_editor

FOLDERS = ("engine", "nodes", "plugins", "api", "web", "cli", "training", "workflows")


class EditorAndLinks(BuildHookInterface):
    """Builds the editor for a wheel, and fills .dev/latentloom with one link per folder for an editable install."""

    def dependencies(self) -> list[str]:
        return build_editor.requirements()

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        if self.target_name != "wheel":
            return
        build_editor.build()
        if version == "editable":
            self._link()

    def _link(self) -> None:
        namespace = Path(self.root) / ".dev" / "latentloom"
        namespace.mkdir(parents=True, exist_ok=True)
        for folder in FOLDERS:
            link = namespace / folder
            if not link.is_symlink():
                link.symlink_to(Path("..") / ".." / folder, target_is_directory=True)
