"""Methods for pictures: those that workflows use, and those that jobs saved."""

import asyncio
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from latentloom.api.client.requests import Requests, path_of
from latentloom.api.wire import Empty, FileList, Imported, Making, OutputFile, OutputPage, StoredFile
from latentloom.api.wire_outputs import OutputList
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.files.pictures import picture_suffix

_MEDIA = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
}
_OTHER = "application/octet-stream"
_HEAD_BYTES = 16  # that identify a picture format


class FileMethods(Requests):
    """The routes for pictures."""

    # Pictures that workflows use

    async def upload(self, picture: Path | bytes) -> StoredFile:
        """Store a picture on the server. Its `name` is the value of a picture input. Raises ServerError."""
        media = _media(await asyncio.to_thread(_head, picture)) or "image/png"
        return StoredFile.model_validate(await self._connection.send("files", picture, media))

    async def files(self) -> list[str]:
        """Return the names of the pictures that workflows can use. Raises ServerError."""
        return (await self._ask(FileList, "GET", "files")).files

    async def file(self, name: str) -> bytes:
        """Return a picture that workflows can use. Raises ServerError."""
        return await self._connection.content(path_of("files", *name.split("/")))

    async def remove_file(self, name: str) -> None:
        """Remove a picture that workflows can use; it stays in the server's `.trash` for a day. Raises ServerError."""
        await self._ask(Empty, "DELETE", path_of("files", *name.split("/")))

    async def read_workflow(self, file: Path | bytes) -> Imported:
        """Return the workflow in a document, a saved picture or another program's file. Raises ServerError."""
        return Imported.model_validate(await self._connection.send("import", file, _OTHER))

    # Pictures that jobs saved

    async def search(
        self,
        q: str | None = None,
        *,
        model: str | None = None,
        seed: str | int | None = None,
        tag: str | None = None,
        workflow: str | None = None,
        job: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> OutputPage:
        """Return a page of saved files that match all conditions, newest first. Raises ServerError.

        `q`: words in the prompts. `model`: part of a model's name. `workflow`: its name. `job`: an id. `before` is the
        `next` of the previous page.
        """
        query = {"q": q, "model": model, "seed": seed, "tag": tag, "workflow": workflow, "job": job}
        return await self._ask(OutputPage, "GET", path_of("outputs", **query, before=before, limit=limit))

    async def output(self, sha256: str) -> OutputFile:
        """Return what is known of a saved file. Raises ServerError."""
        return await self._ask(OutputFile, "GET", path_of("outputs", sha256))

    async def content(self, sha256: str) -> bytes:
        """Return the content of a saved file. Raises ServerError."""
        return await self._connection.content(path_of("outputs", sha256, "content"))

    async def thumbnail(self, sha256: str) -> bytes:
        """Return a thumbnail of a saved picture, as WebP. Raises ServerError."""
        return await self._connection.content(path_of("outputs", sha256, "thumbnail"))

    async def making(self, sha256: str) -> Making:
        """Return the workflow and the record stored in a saved picture. Raises ServerError."""
        return await self._ask(Making, "GET", path_of("outputs", sha256, "making"))

    async def remove_output(self, sha256: str) -> None:
        """Remove a saved file; it stays in the server's `.trash` for a day. Raises ServerError."""
        await self._ask(Empty, "DELETE", path_of("outputs", sha256))

    async def tag_outputs(
        self, sha256: Collection[str], *, add: Collection[str] = (), remove: Collection[str] = ()
    ) -> list[OutputFile]:
        """Add tags to at most 500 saved files and take tags off; return the files, newest first. Raises ServerError."""
        body = {"sha256": list(sha256), "add": list(add), "remove": list(remove)}
        return (await self._ask(OutputList, "POST", "outputs/tags", body)).outputs

    async def remove_outputs(self, sha256: Collection[str]) -> list[OutputFile]:
        """Remove saved files, at most 500; they stay in the server's `.trash` for a day. Raises ServerError."""
        return (await self._ask(OutputList, "POST", "outputs/remove", {"sha256": list(sha256)})).outputs

    async def fetch(self, file: OutputFile, path: Path) -> None:
        """Download a file, which appears at `path` when it is complete. Raises ServerError, DamagedError."""
        await self._connection.fetch(path_of("outputs", file.sha256, "content"), path, file.sha256)

    async def save(self, file: OutputFile, folder: Path) -> Path:
        """Download a file to a folder under its own name, and return its path.

        An existing file with the same content is not fetched again; another one is not replaced. Raises ServerError,
        DamagedError.
        """
        path = safe_join(folder, file.path)
        if path.exists() and await asyncio.to_thread(_sha256, path) != file.sha256:
            path = path.with_stem(f"{path.stem}-{file.sha256[:8]}")
        if not path.exists():
            await self.fetch(file, path)
        return path


def _head(file: Path | bytes) -> bytes:
    if isinstance(file, bytes):
        return file[:_HEAD_BYTES]
    with file.open("rb") as opened:
        return opened.read(_HEAD_BYTES)


def _media(head: bytes) -> Any:
    return _MEDIA.get(picture_suffix(head) or "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
