"""Downloads over https. A file gets its final name only after its sha256 is verified."""

import hashlib
import http.client
import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from latentloom.cli.errors import Failure
from latentloom.engine.errors import FileError, LoomError, brief
from latentloom.engine.files.partial import partial_path, sweep

CHUNK = 2**20
TIMEOUT = 60.0  # seconds without data
Report = Callable[[int, int], None]


class AddressError(LoomError):
    """Downloads from this address are not allowed."""

    code = "bad_address"


class DownloadError(Failure):
    """A download failed, or its content is not the wanted file."""

    code = "download_failed"


def fetch(url: str, path: Path, sha256: str, report: Report) -> bool:
    """Download url to path if the content has this sha256. Returns False if the file already exists.

    Raises AddressError, FileError if the name is taken by other content, or DownloadError. No partial file remains.
    """
    check_address(url)
    if path.exists():
        return _already(path, sha256)
    partial = _partial(path)
    try:
        with partial.open("xb") as file:
            found = _copy(url, file, report)
            file.flush()
            os.fsync(file.fileno())
        if found != sha256:
            raise DownloadError("the file is not the requested one", expected=f"sha256 {sha256}", got=f"sha256 {found}")
        if path.exists():
            return _already(path, sha256)
        partial.replace(path)
    except (HTTPError, URLError, http.client.HTTPException, OSError) as error:
        raise DownloadError(f"the download failed: {_reason(error)}", got=url) from error
    finally:
        partial.unlink(missing_ok=True)
    return True


def check_address(url: str) -> None:
    """Raise AddressError unless the address is https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise AddressError("not an address", got=brief(url)) from None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _loopback(host))):
        raise AddressError("models are downloaded over https only", expected="https://...", got=brief(url))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _already(path: Path, sha256: str) -> bool:
    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return False
    raise FileError(f"'{path}' exists with different content", hint="choose another name with --name, or move it away")


def _partial(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep([path.parent])
    except OSError as error:
        raise FileError(f"the folder cannot be written to: {error.strerror}", got=str(path.parent)) from None
    return partial_path(path.parent)


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects only to allowed addresses."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str) -> OpenerDirector:
    local = [ProxyHandler({})] if urlsplit(url).scheme == "http" else []  # no proxy for this machine
    return build_opener(_SafeRedirects, *local)


def _copy(url: str, file: IO[bytes], report: Report) -> str:
    """Stream the content to a file and return its sha256. Raises DownloadError if the connection ends early."""
    state, done = hashlib.sha256(), 0
    request = Request(url, headers={"User-Agent": "latentloom", "Accept-Encoding": "identity"})
    with _opener(url).open(request, timeout=TIMEOUT) as response:
        total = int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            state.update(chunk)
            done += len(chunk)
            report(done, total)
    if done < total:
        raise DownloadError("the connection ended early", expected=f"{total} bytes", got=f"{done} bytes")
    return state.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(error.reason) if isinstance(error, URLError) else str(error)
