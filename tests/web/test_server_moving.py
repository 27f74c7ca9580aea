"""docs/moving.md: its commands back up a running server, restore it elsewhere and move it, with everything there."""

import io
import os
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image as Pil
from serving import Server, flow, use

PAGE = (Path(__file__).parents[2] / "docs" / "moving.md").read_text(encoding="utf-8")


def commands(heading):
    """The shell blocks of a section of the page."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def run(block, home, folder):
    environment = {**os.environ, "LATENTLOOM_HOME": str(home)}
    done = subprocess.run(["sh", "-euc", block], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done


def png():
    out = io.BytesIO()
    Pil.new("RGB", (4, 4), (1, 2, 3)).save(out, "PNG")
    return out.getvalue()


class Kept:
    """What a server had at the time of its backup."""

    def __init__(self, server):
        self.done = server.wait(server.order({"workflow": flow("", p=use("SavePicture", level=0.5))}))
        self.upload = server.request("POST", "files", png(), Content_Type="image/png")[1]["name"]
        document = {"workflow": flow("", p=use("SavePicture", level=0.25))}
        server.request("PUT", "workflows/mine", document, If_None_Match="*")
        server.request("PATCH", "queue", {"paused": True})
        self.waiting = server.order({**document, "idempotency_key": "once"})

    def check(self, server):
        (file,) = self.done["files"]
        assert server.get(f"jobs/{self.done['id']}") == self.done
        assert len(server.get(f"outputs/{file['sha256']}/content")) == file["bytes"]
        assert server.get(f"files/{self.upload}") == png()
        assert server.get("workflows/mine")["version"] == 1
        assert server.get("queue")["waiting"] == [self.waiting]
        assert server.order({"workflow": flow("", p=use("SavePicture", level=0.25)), "idempotency_key": "once"})


@pytest.mark.parametrize("heading", ["Back up", "Restore", "Move to another machine"])
def test_each_section_has_commands(heading):
    assert commands(heading)


def test_a_backup_of_a_running_server_is_restored_and_moved(tmp_path):
    old, new, moved = (tmp_path / name for name in ("old", "new", "moved"))
    server = Server(old)
    (old / "latentloom.toml").write_text("keep_days = 7.0\n")
    try:
        kept = Kept(server.until_ready())
        for block in commands("Back up"):
            run(block, old, tmp_path)
        later = server.order({"workflow": flow("", p=use("Picture"), s=use("SavePicture"))})
    finally:
        server.kill()

    (new / "data").mkdir(parents=True)  # remains of another queue, which must not get into the copy
    for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
        (new / "data" / name).write_bytes(b"remains")
    for block in commands("Restore"):
        run(block, new, tmp_path)
    server = Server(new)
    try:
        kept.check(server)
        assert server.request("GET", f"jobs/{later}")[0] == 404
        assert (new / "latentloom.toml").read_text() == "keep_days = 7.0\n"
    finally:
        assert server.stop() == 0

    pack, unpack = commands("Move to another machine")
    run(pack, new, tmp_path)
    run(unpack, moved, tmp_path)
    server = Server(moved)
    try:
        kept.check(server)
        server.request("PATCH", "queue", {"paused": False})
        assert server.wait(kept.waiting)["state"] == "done"
        assert not (moved / "cache").is_symlink()
    finally:
        server.kill()
