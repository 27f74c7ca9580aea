"""Finds what a plugin's code uses outside its packages: neighbouring modules and data of no other distribution.

Nothing is imported. The code is parsed for imports and for strings that name a neighbouring module or file, because
helpers may be imported by name and data opened by name. Only code outside site-packages is followed: code inside
belongs to a distribution, and the version of that distribution identifies it.
"""

import ast
import importlib.util
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from latentloom.engine.files.code_files import CodeFile, CodeFiles, content_digest
from latentloom.engine.files.stamps import Stamp
from latentloom.engine.keys import digest

MOST_BYTES = 8 * 2**20  # larger data files are identified by size and mtime
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*\Z")
_FILE = re.compile(r"[\w][\w. +@-]{0,200}\Z")


class Reading:
    """Reads the files of a code identity and records them."""

    def __init__(self) -> None:
        self._files: dict[str, CodeFile] = {}
        self._folders: list[str] = []

    def files(self) -> CodeFiles:
        """Return the files that were read."""
        return CodeFiles(self._files, tuple(self._folders))

    def content(self, path: Path) -> str:
        """Return the digest of a file's content; for a large data file, of its size and mtime."""
        stamp = Stamp.of(path.stat())
        if path.suffix != ".py" and stamp.size > MOST_BYTES:
            return digest("large", stamp.size, stamp.mtime_ns)
        found = content_digest(path)
        self._files[str(path)] = CodeFile(stamp, found)
        return found

    def below(self, folder: Path, suffix: str = "") -> Iterator[tuple[str, str]]:
        """Return (name, digest) of the files of a package with a suffix, without bytecode and hidden files."""
        self._folders.append(f"{folder}{os.sep}")
        return ((name, self.content(path)) for name, path in _files_below(folder) if path.name.endswith(suffix))


def _files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield all files of a package, without bytecode and hidden files."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if not hidden and path.suffix != ".pyc" and path.is_file():
            yield name.as_posix(), path


def own_files(names: Iterable[str], reading: Reading) -> Iterator[tuple[str, str, str]]:
    """Yield (module, path, digest) of the neighbouring files that top-level modules use, directly or indirectly."""
    known, waiting = set(names), [name for name in names if _outside(name)]
    while waiting:
        name = waiting.pop(0)
        for other, file in sorted(_beside(name)):
            if file is not None:
                yield name, other, reading.content(file)
            elif other not in known and _outside(other):
                known.add(other)
                waiting.append(other)
                for path, content in _files_of(other, reading):
                    yield other, path, content


def _files_of(name: str, reading: Reading) -> Iterator[tuple[str, str]]:
    folders, origin = _places(name)
    for folder in folders:
        yield from reading.below(folder)
    if not folders and origin is not None:
        yield "", reading.content(origin)


def _beside(name: str) -> set[tuple[str, Path | None]]:
    """Return what a module's code names: top-level modules (with None), and files in its folder or its parent."""
    folders, origin = _places(name)
    codes = [path for folder in folders for path in folder.rglob("*.py")] or ([origin] if origin else [])
    found: set[tuple[str, Path | None]] = set()
    for code in codes:
        modules, texts = _named(code)
        base = folders[0].parent if folders else code.parent
        found |= {(module, None) for module in modules}
        found |= {(text.partition(".")[0], None) for text in texts if _NAME.match(text) and _is_module(base, text)}
        found |= {(text, file) for text in texts if _FILE.match(text) and (file := _data(base, code, text))}
    return found


def _is_module(base: Path, text: str) -> bool:
    top = text.partition(".")[0]
    return (base / f"{top}.py").is_file() or (base / top / "__init__.py").is_file()


def _data(base: Path, code: Path, text: str) -> Path | None:
    """Return the data file that a string names, next to the code or next to its package; or None."""
    places = {base / text, code.parent / text}
    return next((path for path in sorted(places) if path.suffix != ".py" and path.is_file()), None)


def _named(code: Path) -> tuple[set[str], set[str]]:
    """Return the top-level modules that code imports, and its strings."""
    try:
        tree = ast.parse(code.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return set(), set()
    modules, texts = set[str](), set[str]()
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in item.names}
        elif isinstance(item, ast.ImportFrom) and item.module and not item.level:
            modules.add(item.module.partition(".")[0])
        elif isinstance(item, ast.Constant) and isinstance(item.value, str):
            texts.add(item.value)
    return modules, texts


def _places(name: str) -> tuple[list[Path], Path | None]:
    """Return the folders of a top-level package, and the file of a module."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return [], None
    if spec is None:
        return [], None
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    return folders, Path(spec.origin) if spec.has_location and spec.origin else None


def _outside(name: str) -> bool:
    """Whether a top-level module is not in the standard library, in site-packages or in Latentloom."""
    if name in sys.stdlib_module_names or name == "latentloom":
        return False
    folders, origin = _places(name)
    place = folders[0] if folders else origin
    return place is not None and not any(place.is_relative_to(folder) for folder in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    named = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(folder) for folder in sorted({*named, *site.getsitepackages(), site.getusersitepackages()}))
