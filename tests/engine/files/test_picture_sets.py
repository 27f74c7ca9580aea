"""Sets of pictures: what is not a caption, not a picture or not a ZIP file is told by name."""

import json
import zipfile
from pathlib import Path

import pytest
import toys
from PIL import Image as Pil

from latentloom.engine.errors import FileError, WorkflowError
from latentloom.engine.files.picture_sets import pack, pictures_in, read_set


def folder_of(root: Path, *names: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Pil.new("RGB", (8, 6), "red").save(root / name)
    return root


def test_captions_come_from_texts_and_from_metadata(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", "a.png", "b.jpg", "deep/c.png", "d.png")
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbfa  red\r\nthing\n")
    (folder / "deep" / "c.txt").write_bytes("eine rote Fläche".encode("utf-16"))
    lines = [{"file_name": "a.png", "text": "not this"}, {"file_name": "b.jpg", "text": " blue "}]
    (folder / "metadata.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    (folder / "notes.md").write_text("x")
    found = read_set(folder)
    assert found.captions == {"a.png": "a red thing", "b.jpg": "blue", "d.png": "", "deep/c.png": "eine rote Fläche"}
    assert (found.uncaptioned, found.others) == (["d.png"], ("notes.md",))


def test_a_zip_file_is_a_set_too_and_equal_folders_give_equal_ones(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", "a.png")
    (folder / "a.txt").write_text("red")
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    pack(folder, first)
    (folder / "notes.md").write_text("left out")
    (folder / "a.png").touch()
    pack(folder, second)
    assert first.read_bytes() == second.read_bytes()
    assert read_set(first) == read_set(second)
    assert read_set(first).captions == {"a.png": "red"}
    with pictures_in(first) as path_of:
        assert path_of("a.png").read_bytes() == (folder / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("grün".encode("latin-1"), "the caption in 'a.txt' is not UTF-8 text"),
        ("红色".encode("gb18030"), "the caption in 'a.txt' is not UTF-8 text"),
        (b"r\0e\0d\0", "the caption in 'a.txt' is not UTF-8 text"),
        (b"x" * 2**21, "'a.txt' is too long for a caption"),
    ],
)
def test_a_caption_in_an_odd_encoding_is_told(tmp_path: Path, data: bytes, message: str) -> None:
    folder = folder_of(tmp_path / "set", "a.png")
    (folder / "a.txt").write_bytes(data)
    with pytest.raises(FileError) as caught:
        read_set(folder)
    assert caught.value.problem.message == message


@pytest.mark.parametrize("line", ["{", "[]", '{"file_name": "a.png"}', "7"])
def test_a_line_of_the_metadata_that_cannot_be_read_is_told(tmp_path: Path, line: str) -> None:
    folder = folder_of(tmp_path / "set", "a.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "red"}\n' + line)
    with pytest.raises(FileError, match=r"line 2 of metadata.jsonl cannot be read"):
        read_set(folder)


def test_a_set_without_pictures_and_a_file_that_is_no_zip(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileError, match="there are no pictures in 'empty'"):
        read_set(empty)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(FileError, match=r"'bad.zip' is not a ZIP file that can be read"):
        read_set(tmp_path / "bad.zip")


def test_names_in_a_zip_lead_nowhere_else(tmp_path: Path) -> None:
    picture = folder_of(tmp_path / "set", "a.png") / "a.png"
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.write(picture, "../../evil.png")
    before = sorted(tmp_path.rglob("*"))
    with pictures_in(tmp_path / "evil.zip") as path_of:
        assert path_of("../../evil.png").read_bytes() == picture.read_bytes()
    assert sorted(tmp_path.rglob("*")) == before


def document(name: str, **more: str) -> dict[str, object]:
    node = {"type": "LoadDataset", "version": 1, "inputs": {"folder": name, **more}}
    return {
        "format": "latentloom/1",
        "nodes": {"d": node},
        "outputs": [{"name": "d", "from": {"node": "d", "output": "dataset"}}],
    }


def test_a_missing_caption_is_a_problem_before_anything_runs(tmp_path: Path) -> None:
    from latentloom.api import Session
    from latentloom.engine.settings import load_settings

    with Session(load_settings({"device": "cpu"}, {"LATENTLOOM_HOME": str(tmp_path)})) as session:
        folder = folder_of(session.engine.settings.input / "mine", *(f"{n}.png" for n in range(5)))
        (folder / "0.txt").write_text("a heart")
        assert session.engine.catalog.names("datasets") == ["hearts.zip", "mine"]
        with pytest.raises(WorkflowError) as caught:
            session.prepare(document("mine"))
        (problem,) = caught.value.problems
        assert problem.record() == {
            "code": "missing_captions",
            "message": "4 pictures have no caption",
            "node": "d",
            "input": "folder",
            "expected": "NAME.txt next to each picture, or metadata.jsonl",
            "got": "1.png, 2.png, 3.png, ...",
            "hint": "set 'caption', the caption of pictures that have none",
        }
        assert session.prepare(document("mine", caption="a heart"))
        with pytest.raises(WorkflowError, match="there is no data set 'min'"):
            session.prepare(document("min"))
        (folder / "1.txt").write_bytes("ü".encode("latin-1"))
        with pytest.raises(WorkflowError, match=r"the caption in '1.txt' is not UTF-8 text"):
            session.prepare(document("mine", caption="a heart"))


def test_a_folder_from_elsewhere_is_copied_into_the_input_folder(tmp_path: Path) -> None:
    with toys.session(tmp_path / "home") as session:
        folder = folder_of(tmp_path / "elsewhere", "a.png")
        name = session.engine.catalog.store(folder)
        assert name == session.engine.catalog.store(folder) and name.endswith(".zip")
        assert list(session.engine.catalog.captions(name).captions) == ["a.png"]
        assert session.engine.catalog.names("datasets") == [name]
        (tmp_path / "nothing").mkdir()
        with pytest.raises(FileError, match="there are no pictures in 'nothing'"):
            session.engine.catalog.store(tmp_path / "nothing")
