"""`loom models`: list models, add model folders, and download models with a verified sha256."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from latentloom.api.model_card import model_card
from latentloom.api.model_facts import model_facts
from latentloom.cli.bytes_bar import bytes_bar
from latentloom.cli.fetch import fetch
from latentloom.cli.session import opened
from latentloom.cli.settings_edit import with_model_folder
from latentloom.cli.table import print_lines, print_table, size_text
from latentloom.engine.engine import Engine
from latentloom.engine.errors import LoomError, MissingFileError, PathError, brief
from latentloom.engine.files.catalog import SUFFIXES, safe_join
from latentloom.engine.files.hashes import Hashes
from latentloom.engine.models.host_memory import no_collection
from latentloom.engine.settings import load_settings

UNKNOWN = "unknown: the file does not say"
_HEX = re.compile(r"[0-9a-f]{64}\Z")


class BadHashError(LoomError):
    """A text is not a sha256."""

    code = "bad_sha256"


def list_models(*, compute: bool) -> int:
    """Print all models with size and, if known, sha256."""
    with opened() as session, no_collection():  # headers create many small, short-lived objects
        catalog, settings = session.engine.catalog, session.settings
        hashes = Hashes(settings.data / "hashes.db")
        rows = [
            (source.removeprefix("models/"), name, *_facts(session.engine, hashes, path, compute))
            for source in catalog.model_sources()
            for name, path in catalog.files(source)
        ]
    if rows:
        print_table(("folder", "name", "kind", "weights", "parts", "size", "sha256"), rows)
    else:
        folders = ", ".join(str(folder) for folder in settings.models)
        print_lines([f"no models in {folders}", "`loom models add DIR` adds a folder, `loom models get URL` downloads"])
    return 0


def _facts(engine: Engine, hashes: Hashes, path: Path, compute: bool) -> tuple[str, ...]:
    """Return kind, weights, parts, size and sha256 of a file. An unreadable file must not end the list."""
    try:
        return (*_kind(engine, path), size_text(_size(path)), _sha256(hashes, path, compute))
    except OSError as error:
        return f"cannot be read: {error.strerror or error}", "", "", "", ""


def _kind(engine: Engine, path: Path) -> tuple[str, str, str]:
    """Return a short description of a file or its error, the storage of its weights, and the parts it contains."""
    try:
        found = model_facts(engine, path)
    except LoomError as error:
        return error.problem.message, "", ""
    return found["about"], found["weights"], ", ".join(found["parts"])


def show_model(name: str) -> int:
    """Print what a model is, and the settings that suit it. Raises MissingFileError for an unknown name."""
    with opened() as session:
        catalog = session.engine.catalog
        sources = [source for source in catalog.model_sources() if name in catalog.own_names(source)]
        if not sources:
            raise MissingFileError(
                f"there is no model '{name}'",
                expected="a name that `loom models` lists",
                hint="`loom models add DIR` adds a folder of models",
            )
        hashes = Hashes(session.settings.data / "hashes.db")
        for source in sources:
            path = catalog.find(source, name).path
            first, *rows, last = _shown(session.engine, source, path)
            told = [first, *rows, *_card(hashes, path), last]
            print_table((name, ""), [(title, text) for title, text in told if text])
    return 0


def _card(hashes: Hashes, path: Path) -> list[tuple[str, str]]:
    """Return who made a model, and under which licence, as far as its file says."""
    card = model_card(path)
    return [
        ("title", card.title),
        ("author", card.author or UNKNOWN),
        ("licence", card.licence or f"{UNKNOWN}; look where you got it"),
        ("trigger words", card.trigger_words),
        ("sha256", _sha256(hashes, path, False) or "not computed yet: `loom models list --hash` does it"),
    ]


def _shown(engine: Engine, source: str, path: Path) -> list[tuple[str, str]]:
    """Return what is shown of a model. Raises FileError if it cannot be read."""
    found = model_facts(engine, path)
    settings = (
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in found["defaults"].items()
    )
    return [
        ("folder", source.removeprefix("models/")),
        ("kind", found["about"]),
        ("weights", found["weights"]),
        ("parts", ", ".join(found["parts"])),
        ("size", size_text(_size(path))),
        ("defaults", ", ".join(settings)),
    ]


def _size(path: Path) -> int:
    return sum(item.stat().st_size for item in path.rglob("*")) if path.is_dir() else path.stat().st_size


def _sha256(hashes: Hashes, path: Path, compute: bool) -> str:
    if hashes.knows(path):
        return hashes.sha256(path)
    if not compute:
        return ""
    with bytes_bar(f"hashing {path.name}") as report:
        return hashes.sha256(path, report)


def add_folder(folder: Path) -> int:
    """Add a folder to the settings file. Raises MissingFileError if it is not a folder."""
    if not folder.is_dir():
        raise MissingFileError(f"there is no folder '{folder}'", got="a file" if folder.exists() else None)
    path, added = with_model_folder(folder.resolve())
    print_lines([f"{folder.resolve()} {'is now' if added else 'was already'} a model folder in {path}"])
    return 0


def get_model(url: str, sha256: str, folder: str, name: str | None) -> int:
    """Download a model to the first model folder. Raises LoomError. A failed download leaves no file."""
    wanted = sha256.lower().removeprefix("sha256:")
    if not _HEX.match(wanted):
        raise BadHashError("not a sha256", expected="64 hexadecimal digits", got=brief(sha256))
    settings = load_settings()
    path = _place(settings.models[0], folder, name or unquote(PurePosixPath(urlsplit(url).path).name))
    with bytes_bar(path.name) as report:
        fresh = fetch(url, path, wanted, report)
    print_lines([f"{path}  {size_text(path.stat().st_size)}{'' if fresh else '  (was already there)'}"])
    return 0


def _place(root: Path, folder: str, name: str) -> Path:
    if not name.lower().endswith(SUFFIXES):
        raise PathError(
            "only model files are downloaded",
            expected=f"a name that ends in {' or '.join(SUFFIXES)}",
            got=brief(name),
            hint="--name gives the file another name",
        )
    return safe_join(root, f"{folder}/{name}")
