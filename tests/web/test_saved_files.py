"""Saved files that people remove, replace and change by hand."""

import hashlib
import os
import time

import pytest
from serving import use

from latentloom.engine.jobs.outputs import Output
from latentloom.web.saved_files import SavedFiles


def picture(server, level: float) -> dict:
    """A picture of its own that a job has saved."""
    return server.wait(server.submit(s=use("SavePicture", level=level)))["files"][0]


def content(server, file) -> tuple[int, str]:
    status, data, _ = server.request("GET", f"outputs/{file['sha256']}/content")
    return status, hashlib.sha256(data).hexdigest() if status == 200 else data["message"]


GONE = "the file was removed or changed after it was saved"


def test_a_name_that_is_used_again_after_a_removal_by_hand_is_the_new_file_alone(own_server):
    server = own_server().until_ready()
    first = picture(server, 0.1)
    (server.home / "output" / first["path"]).unlink()
    server.stop()  # its workers know which names they have given
    server.start()
    second = picture(server.until_ready(), 0.9)
    assert first["path"] == second["path"]

    assert server.request("GET", f"outputs/{first['sha256']}/content")[0] == 404
    assert server.request("DELETE", f"outputs/{first['sha256']}")[0] == 404
    assert content(server, second) == (200, second["sha256"])
    assert [file["sha256"] for file in server.get("outputs")["outputs"]] == [second["sha256"]]


def test_a_file_that_was_replaced_by_hand_is_neither_shown_nor_removed(server):
    file = picture(server, 0.21)
    path = server.home / "output" / file["path"]
    mine = bytes(reversed(path.read_bytes()))  # of the same size
    path.write_bytes(mine)

    assert content(server, file) == (404, GONE)
    assert server.request("GET", f"outputs/{file['sha256']}/thumbnail")[1]["message"] == GONE
    assert server.request("GET", f"outputs/{file['sha256']}/making")[1]["message"] == GONE
    assert server.request("DELETE", f"outputs/{file['sha256']}")[0] == 200
    assert path.read_bytes() == mine
    assert server.request("GET", f"outputs/{file['sha256']}")[0] == 404


def test_of_two_files_with_one_content_the_one_that_is_left_is_shown(server):
    older, newer = picture(server, 0.31), picture(server, 0.31)
    assert (older["sha256"], older["path"] != newer["path"]) == (newer["sha256"], True)
    (server.home / "output" / newer["path"]).unlink()

    assert content(server, older) == (200, older["sha256"])


def test_a_removed_file_stays_in_the_trash(server):
    file = picture(server, 0.41)
    data = (server.home / "output" / file["path"]).read_bytes()

    assert server.request("DELETE", f"outputs/{file['sha256']}")[0] == 200

    thrown = [path for path in (server.home / "output" / ".trash").iterdir() if path.name.endswith(file["path"])]
    assert [path.read_bytes() for path in thrown] == [data]
    assert not (server.home / "output" / file["path"]).exists()


def test_what_is_kept_by_bytes_removes_no_file_that_took_the_name(own_server):
    server = own_server().until_ready()
    first = picture(server, 0.1)
    path = server.home / "output" / first["path"]
    path.write_bytes(b"somebody else's")
    server.stop()
    server._environment["LATENTLOOM_KEEP_OUTPUT_BYTES"] = "0"
    server.start()

    while server.get("outputs")["outputs"]:
        time.sleep(0.05)
    assert path.read_bytes() == b"somebody else's"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


def saved(folder, name: str, data: bytes) -> Output:
    (folder / name).write_bytes(data)
    plain = dict.fromkeys(Output._fields)
    sha256 = hashlib.sha256(data).hexdigest()
    return Output(**{**plain, "path": name, "bytes": len(data), "sha256": sha256})


def test_the_trash_is_emptied_of_what_is_old_and_of_nothing_else(folder):
    files = SavedFiles(folder, folder / "thumbnails")
    begin = int(time.time())
    files.remove([saved(folder, "a.png", b"a")])
    (folder / ".trash" / "a person's own").write_text("kept")

    assert files.trash.empty(begin) == 0
    assert files.trash.empty(time.time() + 1) == 1
    assert [path.name for path in (folder / ".trash").iterdir()] == ["a person's own"]


def test_a_change_in_place_is_seen_behind_a_remembered_hash(folder, monkeypatch):
    monkeypatch.setattr("latentloom.web.saved_files.SETTLED_NS", -(10**12))  # remember at once
    files = SavedFiles(folder, folder / "thumbnails")
    output = saved(folder, "a.png", b"one")
    assert files.intact([output]) == folder / "a.png"

    facts = (folder / "a.png").stat()
    while (folder / "a.png").stat().st_ctime_ns == facts.st_ctime_ns:  # a file system's clock goes in steps
        (folder / "a.png").write_bytes(b"two")
        os.utime(folder / "a.png", ns=(facts.st_atime_ns, facts.st_mtime_ns))

    assert files.intact([output]) is None
