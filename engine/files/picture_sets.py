"""Sets of pictures with captions: folders and ZIP files, for training.

A caption is in NAME.txt next to the picture, or in `metadata.jsonl`: one object per line with "file_name" and "text",
as in the datasets of Hugging Face. The first has precedence.
"""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from latentloom.engine.errors import FileError, brief
from latentloom.engine.files.stamps import files_of

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".bmp", ".gif", ".tif", ".tiff")
METADATA = "metadata.jsonl"
MAX_MEMBER = 512 * 2**20  # bytes of a file in a ZIP
MAX_TEXT = 2**20  # bytes of a caption
_OURS = (".txt", ".jsonl")
Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class PictureSet:
    """The names of a set's pictures in order, their captions ("" if there is none), and the names of other files."""

    captions: Mapping[str, str]
    others: tuple[str, ...] = ()

    @property
    def uncaptioned(self) -> list[str]:
        """The pictures without a caption."""
        return [name for name, caption in self.captions.items() if not caption]


def is_set(path: Path) -> bool:
    """Whether a path may be a set: a folder or a ZIP file."""
    return path.is_dir() or (path.suffix.lower() == ".zip" and path.is_file())


def set_names(root: Path) -> list[str]:
    """Return the names of the folders with pictures and of the ZIP files below a folder."""
    there = files_of(root)
    folders = {path.parent for path in there if path.suffix.lower() in PICTURES} - {root}
    found = [*folders, *(path for path in there if path.suffix.lower() == ".zip")]
    names = (path.relative_to(root).as_posix() for path in found)
    return sorted(name for name in names if not name.startswith("by-hash/") or name.endswith(".zip"))


def read_set(path: Path) -> PictureSet:
    """Return the pictures and captions of a folder or ZIP file.

    Raises FileError if it cannot be read, contains no pictures, or has a caption that is not UTF-8 or UTF-16 text.
    """
    try:
        with _opened(path) as (names, read):
            return _set(path.name, names, read)
    except OSError as error:
        raise FileError(f"'{path.name}' cannot be read", got=error.strerror or str(error)) from None


@contextmanager
def pictures_in(path: Path) -> Iterator[Callable[[str], Path]]:
    """Yield a function from the name of a picture to a file that holds it until the next call."""
    if path.is_dir():
        yield lambda name: path / name
        return
    with tempfile.TemporaryDirectory() as folder, _opened(path) as (_, read):

        def extracted(name: str) -> Path:
            made = Path(folder) / f"picture{PurePosixPath(name).suffix.lower()}"
            made.write_bytes(read(name))
            return made

        yield extracted


def pack(folder: Path, zipped: Path) -> Path:
    """Write the pictures and captions of a folder into a ZIP file, and return its path.

    Equal folders give equal files. Raises OSError; no half file is left then.
    """
    zipped.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_STORED) as archive:
            for path in files_of(folder):
                if path.suffix.lower() in (*PICTURES, *_OURS):
                    archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())
    except BaseException:
        zipped.unlink(missing_ok=True)
        raise
    return zipped


def _set(title: str, names: list[str], read: Read) -> PictureSet:
    pictures = [name for name in names if name.lower().endswith(PICTURES)]
    if not pictures:
        raise FileError(f"there are no pictures in '{title}'", expected=", ".join(PICTURES[:4]), got=_count(names))
    listed = _listed(read) if METADATA in names else {}
    beside = {str(PurePosixPath(name).with_suffix("")): name for name in names if name.lower().endswith(".txt")}
    stems = {name: str(PurePosixPath(name).with_suffix("")) for name in pictures}
    captions = {
        name: _text(beside[stem], read(beside[stem])) if stem in beside else listed.get(name, "")
        for name, stem in stems.items()
    }
    used = {*pictures, METADATA, *(beside[stem] for stem in stems.values() if stem in beside)}
    return PictureSet(captions, tuple(name for name in names if name not in used))


def _listed(read: Read) -> dict[str, str]:
    """Return the captions in metadata.jsonl by the name of the picture."""
    found = {}
    for number, line in enumerate(_text(METADATA, read(METADATA), most=2**28).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            found[str(record["file_name"])] = " ".join(str(record["text"]).split())
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FileError(
                f"line {number} of {METADATA} cannot be read",
                expected='{"file_name": "a.png", "text": "a caption"}',
                got=f"{type(error).__name__}: {brief(line)}",
            ) from None
    return found


def _text(name: str, data: bytes, most: int = MAX_TEXT) -> str:
    """Decode a caption: UTF-8, or UTF-16 with a byte order mark."""
    if len(data) > most:
        raise FileError(f"'{name}' is too long for a caption", expected=f"at most {most} bytes", got=str(len(data)))
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
        if "\0" in text:
            raise ValueError("zero bytes")
    except ValueError:
        raise FileError(
            f"the caption in '{name}' is not UTF-8 text", expected="UTF-8", got=repr(data[:24]), hint="save it as UTF-8"
        ) from None
    return text if most > MAX_TEXT else " ".join(text.split())


def _count(names: list[str]) -> str:
    return f"{len(names)} other files" if names else "no files"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[list[str], Read]]:
    """Yield the names of the files in a folder or ZIP file, sorted, and a function that reads one."""
    if path.is_dir():
        yield [item.relative_to(path).as_posix() for item in files_of(path)], lambda name: (path / name).read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield sorted(_members(archive)), lambda name: _member(archive, name)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise FileError(f"'{path.name}' is not a ZIP file that can be read", got=str(error)) from None


def _members(archive: zipfile.ZipFile) -> list[str]:
    names = (info.filename for info in archive.infolist() if not info.is_dir())
    return [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)]


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > MAX_MEMBER:
        raise FileError(f"'{name}' in the ZIP file is too large", expected=f"at most {MAX_MEMBER} bytes", got=str(size))
    return archive.read(name)
