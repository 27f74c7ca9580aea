"""The catalog of files that workflows can name: pictures in the input folder and models in the model folders."""

import contextlib
import copy
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from latentloom.engine.errors import FileError, MissingFileError, PathError, brief, nearest
from latentloom.engine.files.hashes import Hashes, Progress
from latentloom.engine.files.model_files import InputFile, ModelFile, configuration_of
from latentloom.engine.files.opened import changed
from latentloom.engine.files.owners import is_visible, stored_name
from latentloom.engine.files.partial import partial_path, sweep, sync_file, sync_folder
from latentloom.engine.files.picture_sets import PICTURES, PictureSet, is_set, pack, read_set, set_names
from latentloom.engine.files.stamps import same_writing, stamp

SUFFIXES = (".safetensors", ".gguf")
MODEL_FOLDER = frozenset({"model_index.json", "config.json"})  # a folder with one of these is a model
MAX_NAME, MAX_PART = 1000, 255
INPUTS = ("input", "datasets")  # sources in the input folder: pictures, and sets of pictures
FOLDERS = {  # folder names of each source in ComfyUI and AUTOMATIC1111
    "checkpoints": ("checkpoints", "Stable-diffusion"),
    "loras": ("loras", "Lora", "LyCORIS"),
    "vae": ("vae", "VAE"),
    "unet": ("unet", "diffusion_models"),
    "clip": ("clip", "text_encoders"),
    "controlnet": ("controlnet", "t2i_adapter", "ControlNet"),
    "clip_vision": ("clip_vision",),
    "ipadapter": ("ipadapter",),
    "embeddings": ("embeddings",),
    "upscale_models": ("upscale_models", "ESRGAN", "RealESRGAN"),
}
WHOLE = {  # sources whose models are also found inside checkpoints
    "models/unet": "models/checkpoints",
    "models/clip": "models/checkpoints",
    "models/vae": "models/checkpoints",
}
PARTS = ("models/checkpoints", "models/unet", "models/clip", "models/vae")  # where parts of models are found by name
_TITLES = {"input": "picture", "datasets": "data set"}
_SOURCE_OF = {folder: source for source, folders in FOLDERS.items() for folder in folders}
_HASH = re.compile(r"(?P<name>.*)@sha256:(?P<hash>[0-9a-f]{64})\Z", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def safe_join(root: Path, name: str, *, links: bool = False) -> Path:
    """Return the path of a name in root, with symbolic links resolved. Raises PathError if it is outside root.

    With `links`, a symbolic link may lead outside root, as a user's link in a model folder does. The name itself must
    not.
    """
    parts = name.split("/")
    if _UNPRINTABLE.search(name):
        raise PathError("the name contains characters that a file name must not contain", got=brief(name))
    if len(name) > MAX_NAME or any(len(part.encode()) > MAX_PART for part in parts):
        raise PathError("the name is too long", expected=f"at most {MAX_PART} bytes between two '/'", got=brief(name))
    bad = not name or "\\" in name or ".." in parts or PureWindowsPath(name).drive or name.startswith("/")
    try:
        path = (root / name).resolve()
        if not bad and (links or path.is_relative_to(root.resolve())):
            return path
    except (OSError, RuntimeError):  # a cycle of symbolic links
        pass
    raise PathError(
        "the name points outside its folder",
        got=brief(name),
        expected="a name inside the folder, with '/' between its parts",
    )


def word(text: str) -> str:
    """Return a regular expression that matches a text as a whole word."""
    return rf"(?<!\w){re.escape(text)}(?!\w)"


class Found(NamedTuple):
    """A file with the name that documents use."""

    name: str
    path: Path


class Catalog:
    """Finds and identifies files by name or hash."""

    def __init__(
        self,
        input: Path,
        models: Iterable[Path],
        hashes: Hashes,
        packaged: Iterable[tuple[str, Path]] = (),
        stored: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`packaged` contains (source, folder) pairs of models inside packages.

        `stored` is called with the name of each file that is stored under its hash, also if it is there already.
        """
        self._input = input
        self._models = tuple(models)
        self._hashes = hashes
        self._packaged = tuple(packaged)
        self._stored = stored
        self._places: dict[str, Path] = {}  # sha256 -> path where it was found last
        self._owner: str | None = None

    def of(self, owner: str | None) -> "Catalog":
        """Return the catalog without the pictures that others have uploaded; None: with all."""
        made = copy.copy(self)
        made._owner = owner
        return made

    def names(self, source: str) -> list[str]:
        """Return the names in a source, "input", "datasets" or "models/<folder>": its own files, then checkpoints."""
        own = self.own_names(source)
        more = self.own_names(WHOLE[source]) if source in WHOLE else []
        return list(dict.fromkeys([*own, *more]))

    def own_names(self, source: str) -> list[str]:
        """Return the names of the files in a source's own folders."""
        if source == "datasets":
            mine = {name for name in set_names(self._input) if is_visible(name, self._owner)}
            return sorted(mine.union(*(set_names(root) for root in self._own_roots(source)[1:])))
        own, suffixes = source == "input", PICTURES if source == "input" else SUFFIXES
        found = {name for root in self._own_roots(source) for name in _listed(root, suffixes, links=not own)}
        return sorted(name for name in found if not own or is_visible(name, self._owner))

    def mentioned(self, source: str, text: str) -> list[str]:
        """Return the names in a source whose stem (last part without suffix) occurs in a text as a word."""
        stems, folded = {name: PurePosixPath(name).stem for name in self.names(source)}, text.casefold()
        likely = {name: stem for name, stem in stems.items() if stem.casefold() in folded}  # cheaper than a regex
        return [name for name, stem in likely.items() if re.search(word(stem), text, re.IGNORECASE)]

    def check(self, source: str, name: str, *, alike: bool = True) -> None:
        """Raise the error of `find`, as far as it is known without hashing a file.

        A name with a hash passes if any file is not hashed yet.
        """
        match = _HASH.match(name)
        if not match or (source in INPUTS and self._owner is not None):  # a worker finds files of all owners by hash
            self.find(source, name, alike=alike)
            return
        files = self._found(source, self.names(source))
        known = self._hashes.known([found.path for found in files])
        if len(known) == len(files) and match["hash"] not in known.values():
            raise self._not_that(source, match["name"], match["hash"], files)

    def find(self, source: str, name: str, *, alike: bool = True, report: Progress | None = None) -> Found:
        """Return the file that a name in a document refers to. Raises PathError or MissingFileError.

        With `alike`, the error contains the most similar name, which requires a scan of all files. `report` gets the
        progress of hashing, if the name contains a hash.
        """
        match = _HASH.match(name)
        if match:
            return self._find_hash(source, match["name"], match["hash"], report)
        for root in self._roots(source):
            path = safe_join(root, name, links=source not in INPUTS)
            if source in INPUTS and not is_visible(path.relative_to(root.resolve()).as_posix(), self._owner):
                continue
            folder = any((path / name).is_file() for name in MODEL_FOLDER)
            if is_set(path) if source == "datasets" else path.is_file() or folder:
                return Found(name, path)
        raise self._missing(source, name, alike=alike)

    def identify(self, source: str, name: str, report: Progress | None = None) -> InputFile | ModelFile:
        """Return the file with its sha256. `report` gets the progress of its first hashing."""
        found = self.find(source, name, report=report)
        beside = configuration_of(found.path)
        try:
            before = stamp(found.path)
            sha256 = self._hashes.sha256(found.path, report)
            more = self._hashes.sha256(beside) if source not in INPUTS and beside.is_file() else ""
        except OSError as error:
            raise FileError(f"'{brief(name)[1:-1]}' cannot be read", got=error.strerror or str(error)) from None
        self._places[sha256] = found.path
        if source in INPUTS:
            return InputFile(found.name, str(found.path), sha256, before)
        return ModelFile(found.name, str(found.path), sha256, before, more)

    def compare(self, files: Iterable[InputFile | ModelFile]) -> None:
        """Raise ChangedFileError if an identified file has changed."""
        for file in files:
            if not self._unchanged(file):
                raise changed(file.name)

    def _unchanged(self, file: InputFile | ModelFile) -> bool:
        """Compare stamps. If only permissions or links have changed, compare the content."""
        path = Path(file.path)
        try:
            now = stamp(path)
        except OSError:
            return False
        return now == file.stamp or (same_writing(now, file.stamp) and self._has(path, file.sha256))

    def known_hash(self, found: Found) -> str | None:
        """Return the memoised sha256 of a file, or None. Reads no large file."""
        return self._hashes.memoised(found.path)

    def path_of(self, sha256: str) -> Path:
        """Return the current path of a model with this content. Raises MissingFileError."""
        place = self._places.get(sha256)
        if place is not None and self._has(place, sha256):
            return place
        paths = [found.path for source in self.model_sources() for found in self.files(source)]
        for path in self._likely(paths, sha256):
            if self._has(path, sha256):
                self._places[sha256] = path
                return path
        raise MissingFileError(f"no model file has the sha256 {sha256}")

    def _has(self, path: Path, sha256: str, report: Progress | None = None) -> bool:
        try:
            return self._hashes.sha256(path, report) == sha256
        except OSError:  # removed or locked meanwhile
            return False

    def _likely(self, paths: Iterable[Path], sha256: str) -> list[Path]:
        """Return the paths that may have this content: first those known to have it, then those not hashed yet."""
        paths = list(paths)
        known = self._hashes.known(paths)
        there = [path for path in paths if known.get(path) == sha256]
        return there + [path for path in paths if path not in known]

    def store(self, path: Path) -> str:
        """Copy a file, or a folder of pictures as a ZIP file, into the input folder under its hash.

        Returns the name for documents. Raises a LoomError.
        """
        if path.is_dir():
            return self._store_folder(path)
        if not path.is_file():
            raise MissingFileError(f"there is no file {path}")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FileError(f"'{path.name}' cannot be read", got=error.strerror or str(error)) from error
        return self.store_bytes(data, path.suffix.lower())

    def _store_folder(self, folder: Path) -> str:
        read_set(folder)  # raises before anything is written
        try:
            made = pack(folder, partial_path(self._input))
            return self.store_file(made, self._hashes.sha256(made), ".zip")
        except OSError as error:
            raise self._takes_none(error) from error

    def captions(self, name: str) -> PictureSet:
        """Return the names and captions of a set in the input folder. Raises a LoomError."""
        return read_set(self.find("datasets", name).path)

    def store_file(self, path: Path, sha256: str, suffix: str) -> str:
        """Move a file with this hash into the input folder. Returns the name for documents. Raises FileError."""
        name = stored_name(self._owner, sha256, suffix)
        try:
            self._place(name, sha256, lambda partial: shutil.move(path, partial))
        except OSError as error:
            raise self._takes_none(error) from error
        return name

    def store_bytes(self, data: bytes, suffix: str) -> str:
        """Write data to the input folder under its hash. Returns the name for documents. Raises FileError."""
        sha256 = hashlib.sha256(data).hexdigest()
        name = stored_name(self._owner, sha256, suffix)
        try:
            self._place(name, sha256, lambda partial: partial.write_bytes(data))
        except OSError as error:
            raise self._takes_none(error) from error
        return name

    def _place(self, name: str, sha256: str, write: Callable[[Path], object]) -> None:
        """Store a file under its hash, synced to disk. An existing file with other content is replaced."""
        self._stored(name)
        place = self._input / name
        if place.exists() and hashlib.sha256(place.read_bytes()).hexdigest() == sha256:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep([self._input])
        partial = partial_path(self._input)
        try:
            write(partial)
            sync_file(partial)
            partial.replace(place)
            for folder in Path(name).parents:
                sync_folder(self._input / folder)
        finally:
            partial.unlink(missing_ok=True)

    def _takes_none(self, error: OSError) -> FileError:
        return FileError(
            f"the input folder cannot be written to: {error.strerror or error}", got=str(error.filename or self._input)
        )

    def _roots(self, source: str) -> list[Path]:
        """Return the folders in which a name is looked up. A part of a model may lie in the folder of another part."""
        others = [other for other in PARTS if other != source] if source in WHOLE else []
        return [root for one in (source, *others) for root in self._own_roots(one)]

    def _own_roots(self, source: str) -> list[Path]:
        if source in INPUTS:
            return [self._input, *(folder for of, folder in self._packaged if of == source)]
        name = source.removeprefix("models/")
        folders = FOLDERS.get(name, (name,))
        own = [base / folder for root in self._models for base in _bases(root) for folder in folders]
        there = [path for path in own if path.is_dir()] or [root / name for root in self._models]
        return there + [folder for of, folder in self._packaged if of == source]

    def model_sources(self) -> list[str]:
        """Return all model sources that have a folder: "models/checkpoints", ..."""
        bases = [base for root in self._models if root.is_dir() for base in _bases(root)]
        folders = {_SOURCE_OF.get(name, name) for base in bases for name in _model_folders(base)}
        return sorted({f"models/{folder}" for folder in folders} | {source for source, _ in self._packaged})

    def files(self, source: str) -> list[Found]:
        """Return all files in a source's own folders. Files that were removed meanwhile are left out."""
        return self._found(source, self.own_names(source))

    def _found(self, source: str, names: Iterable[str]) -> list[Found]:
        found = []
        for name in names:
            with contextlib.suppress(PathError, MissingFileError):
                found.append(self.find(source, name))
        return found

    def _find_hash(self, source: str, name: str, sha256: str, report: Progress | None) -> Found:
        files = sorted(self._found(source, self.names(source)), key=lambda found: found.name != name)
        by_path = {found.path: found for found in reversed(files)}
        for path in self._likely(dict.fromkeys(found.path for found in files), sha256):
            if self._has(path, sha256, report):
                return by_path[path]
        raise self._not_that(source, name, sha256, files)

    def _not_that(self, source: str, name: str, sha256: str, files: Iterable[Found]) -> MissingFileError:
        return MissingFileError(
            f"no file below {source} has the sha256 of '{name}'",
            expected=f"sha256 {sha256}",
            got="a file of that name with different content" if any(f.name == name for f in files) else "no such file",
            hint="the hash takes precedence; remove '@sha256:...' to use any file of that name",
        )

    def _missing(self, source: str, name: str, *, alike: bool) -> MissingFileError:
        folders = ", ".join(str(root) for root in self._roots(source))
        return MissingFileError(
            f"there is no {_TITLES.get(source, 'model')} '{brief(name)[1:-1]}'",
            expected=f"a {'folder or ZIP file' if source == 'datasets' else 'file'} in {folders}",
            nearest=nearest(name, self.names(source)) if alike else None,
            hint=None if source in INPUTS else "`loom models` lists the files, `loom models add DIR` adds a folder",
        )


def _bases(root: Path) -> list[Path]:
    """Return the folders that contain a root's model folders: the root, and its `models` in an installation of
    ComfyUI or AUTOMATIC1111.
    """
    return [root / "models", root] if (root / "models").is_dir() else [root]


def _model_folders(base: Path) -> list[str]:
    """Return the model folders in a base. In an installation with many other folders, only known names count."""
    try:
        names = [item.name for item in base.iterdir() if item.is_dir()]
    except OSError:  # an unreadable folder must not hide others
        return []
    return [name for name in names if name in _SOURCE_OF] if "models" in names else names


def _listed(root: Path, suffixes: tuple[str, ...], *, links: bool) -> list[str]:
    """Return the names in root: files with one of the suffixes, and diffusers folders.

    With `links`, symbolic links to folders are followed, each folder once.
    """
    found, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=links):
        here = Path(folder)
        if (place := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(place)
        if not MODEL_FOLDER.isdisjoint(files):
            found.append(here.relative_to(root).as_posix())
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".") and not _UNPRINTABLE.search(name)]
        found += [
            (here / name).relative_to(root).as_posix() for name in files if _usable(root, here / name, suffixes, links)
        ]
    return [name for name in found if name != "."]


def _usable(root: Path, path: Path, suffixes: tuple[str, ...], links: bool) -> bool:
    """Whether a document can name a file: not hidden, not a broken link, and, without `links`, not a link that leads
    outside root.
    """
    if path.suffix.lower() not in suffixes or path.name.startswith(".") or _UNPRINTABLE.search(path.name):
        return False
    return not path.is_symlink() or (path.is_file() and (links or path.resolve().is_relative_to(root.resolve())))
