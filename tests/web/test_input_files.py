"""Removal and retention of the pictures that workflows use."""

import io
import os
import time

import pytest
from PIL import Image
from serving import flow, until

from latentloom.api import Client
from latentloom.api.client import ServerError
from latentloom.web.batch_feeder import AHEAD
from latentloom.web.http_errors import NotFound
from latentloom.web.input_files import STORED_SECONDS, InputFiles


def png(level=1):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (level, 0, 0)).save(out, "PNG")
    return out.getvalue()


def loading(name, *more):
    load = {"type": "LoadImage", "version": 1, "inputs": {"image": name}}
    return flow("load.image", load=load, **dict(more))


def test_a_picture_that_a_job_needs_is_not_removed(server):
    with Client(server.address) as client:
        name = client.upload(png()).name
        client.pause()
        job = client.submit(loading(name))
        with pytest.raises(ServerError) as caught:
            client.remove_file(name)
        client.cancel(job.id)
        client.pause(False)
        client.remove_file(name)
        with pytest.raises(ServerError) as gone:
            client.remove_file(name)

    assert (caught.value.status, caught.value.problems[0].code, caught.value.problems[0].got) == (409, "in_use", job.id)
    assert gone.value.status == 404
    assert [path.read_bytes() for path in (server.home / "input" / ".trash").iterdir()] == [png()]


def test_a_picture_that_a_waiting_run_of_a_batch_needs_is_not_removed(server):
    with Client(server.address) as client:
        first, last = (client.upload(png(level)).name for level in (21, 22))
        document = {**loading(first), "inputs": [{"name": "image", "to": [{"node": "load", "input": "image"}]}]}
        client.pause()
        batch = client.batch(document, rows=[{"image": first}] * (AHEAD + 1) + [{"image": last}])
        with pytest.raises(ServerError) as caught:
            client.remove_file(last)
        client.cancel_batch(batch.id)
        client.pause(False)
        client.remove_file(last)

    assert (caught.value.status, caught.value.problems[0].code, caught.value.problems[0].got) == (
        409, "in_use", batch.id,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["..%2Fqueue.db", "%2Fetc%2Fpasswd"])
def test_nothing_outside_the_folder_is_removed(server, name):
    status, answer, _ = server.request("DELETE", f"files/{name}")
    assert (status, answer["code"]) == (400, "path_refused")


def test_old_uploads_are_removed_unless_a_document_names_them(own_server):
    server = own_server(LATENTLOOM_KEEP_UPLOAD_DAYS="1").until_ready()
    folder = server.home / "input"
    with Client(server.address) as client:
        free, used, drafted, saved, new = (client.upload(png(level)).name for level in range(1, 6))
        client.submit(loading(used), wait=60)
        client.save_draft("d", loading(drafted))
        client.save_workflow("w", loading(saved))
        (folder / "mine.png").write_bytes(png(9))
    server.stop()
    for name in (free, used, drafted, saved, "mine.png"):
        os.utime(folder / name, (0, 0))
    server.start()
    server.until_ready()

    with Client(server.address) as client:
        until(lambda: free not in client.files())
        assert sorted(client.files()) == sorted([used, drafted, saved, new, "mine.png"])


def test_a_picture_that_was_stored_again_waits_for_its_job(tmp_path):
    now = time.time()
    files = InputFiles(tmp_path, 10.0, clock=lambda: now)
    path = tmp_path / "by-hash" / "ab" / "abc.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(png())
    os.utime(path, (0, 0))

    assert files.old() == ["by-hash/ab/abc.png"]
    files.stored("by-hash/ab/abc.png")
    assert files.remove_unnamed(files.old(), ()) == 0
    now += STORED_SECONDS + 1
    assert files.remove_unnamed(files.old(), ()) == 1
    with pytest.raises(NotFound):
        files.remove("by-hash/ab/abc.png")


def test_without_a_limit_uploads_are_kept(tmp_path):
    path = tmp_path / "by-hash" / "ab" / "abc.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(png())
    os.utime(path, (0, 0))

    assert InputFiles(tmp_path, None).old() == []
