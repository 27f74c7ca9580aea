"""The memo of hashes: when a file is read again, and when not."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.errors import MissingFileError
from latentloom.engine.files import hashes as subject
from latentloom.engine.files import stamps
from latentloom.engine.files.catalog import Catalog
from latentloom.engine.files.hashes import Hashes

LONG_AGO = (1_700_000_000, 1_700_000_000)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, text: str, times: tuple[float, float] = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, times)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    found: list[str] = []
    read: Any = subject._read  # type: ignore[attr-defined]
    monkeypatch.setattr(subject, "_read", lambda path, report: (found.append(path.name), read(path, report))[1])
    return found


def test_a_file_of_the_same_size_and_time_that_was_copied_over_it_is_read(tmp_path: Path) -> None:
    hashes, path = Hashes(tmp_path / "hashes.db"), write(tmp_path / "model", "one")
    assert hashes.sha256(path) == sha256("one")
    shutil.copy2(write(tmp_path / "other", "two"), path)
    assert hashes.sha256(path) == sha256("two")


def test_a_file_that_was_removed_and_made_again_is_read(tmp_path: Path) -> None:
    hashes, path = Hashes(tmp_path / "hashes.db"), write(tmp_path / "model", "one")
    assert hashes.sha256(path) == sha256("one")
    path.unlink()
    write(path, "two")
    assert hashes.sha256(path) == sha256("two")


def test_a_file_of_the_future_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    ahead = time.time() + 5 * 3600
    hashes, path = Hashes(tmp_path / "hashes.db"), write(tmp_path / "model", "one", (ahead, ahead))
    assert {hashes.sha256(path) for _ in range(3)} == {sha256("one")}
    assert reads == ["model"]


def test_a_stamp_that_stays_is_trusted_after_a_while(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where even ctime is ahead, as on a server of files with another clock, two looks with a pause between decide."""
    monkeypatch.setattr(stamps.Stamp, "settled", property(lambda stamp: False))
    hashes, path = Hashes(tmp_path / "hashes.db"), write(tmp_path / "model", "one")
    clock = [10**12]
    monkeypatch.setattr(subject.time, "monotonic_ns", lambda: clock[0])
    for _ in range(2):
        hashes.sha256(path)
    clock[0] += stamps.SETTLED_NS
    for _ in range(3):
        hashes.sha256(path)
    assert reads == ["model"] * 3


def test_hidden_files_and_folders_are_no_part_of_a_folder(tmp_path: Path, reads: list[str]) -> None:
    hashes, folder = Hashes(tmp_path / "hashes.db"), tmp_path / "model"
    write(folder / "unet" / "weights.safetensors", "w")
    write(folder / "model_index.json", "{}")
    before = hashes.sha256(folder)
    write(folder / ".git" / "FETCH_HEAD", "x")
    write(folder / ".cache" / "huggingface" / "weights.metadata", "x")
    write(folder / "unet" / ".gitattributes", "x")
    assert hashes.sha256(folder) == before
    assert sorted(reads) == ["model_index.json", "weights.safetensors"]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for n in range(5):
        write(tmp_path / "models" / "loras" / f"l{n}.safetensors", str(n))
    return Catalog(tmp_path / "input", [tmp_path / "models"], Hashes(tmp_path / "hashes.db"))


def test_a_check_of_a_hash_reads_no_file(catalog: Catalog, reads: list[str]) -> None:
    catalog.check("models/loras", f"gone.safetensors@sha256:{sha256('nowhere')}")
    assert reads == []


def test_a_check_tells_a_hash_that_no_hashed_file_has(catalog: Catalog) -> None:
    for n in range(5):
        catalog.identify("models/loras", f"l{n}.safetensors")
    with pytest.raises(MissingFileError) as caught:
        catalog.check("models/loras", f"gone.safetensors@sha256:{sha256('nowhere')}")
    assert caught.value.problem.got == "no such file"
    catalog.check("models/loras", f"gone.safetensors@sha256:{sha256('3')}")


def test_a_hash_is_looked_for_under_its_name_and_among_the_known_first(catalog: Catalog, reads: list[str]) -> None:
    assert catalog.find("models/loras", f"l3.safetensors@sha256:{sha256('3')}").name == "l3.safetensors"
    assert catalog.find("models/loras", f"gone@sha256:{sha256('3')}").name == "l3.safetensors"
    assert reads == ["l3.safetensors"]


def test_where_an_identified_file_is_needs_no_look_at_others(
    catalog: Catalog, reads: list[str], tmp_path: Path
) -> None:
    known = catalog.identify("models/loras", "l4.safetensors")
    assert catalog.path_of(known.sha256) == Path(known.path)
    assert reads == ["l4.safetensors"]
    Path(known.path).rename(tmp_path / "models/loras/renamed.safetensors")
    assert catalog.path_of(known.sha256).name == "renamed.safetensors"
