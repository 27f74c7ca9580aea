"""The editor's own tests and types, and that those made from the API's description are of today."""

import subprocess
import sys
from pathlib import Path

import openapi_document

ROOT = Path(__file__).parents[2]
EDITOR = ROOT / "web" / "editor"


def npm(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "build_editor.py"), *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def test_the_editors_own_tests_pass():
    done = npm("test")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_of_the_api_are_of_today(tmp_path):
    document, made = tmp_path / "openapi.json", tmp_path / "schema.ts"
    document.write_text(openapi_document.text())

    done = npm("run", "api", "--", str(document), "--output", str(made))

    assert done.returncode == 0, done.stdout + done.stderr
    assert made.read_text() == (EDITOR / "src" / "api" / "schema.ts").read_text(), "run `make editor-api`"
