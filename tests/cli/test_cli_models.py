import hashlib
import http.server
import json
import os
import pickle
import re
import signal
import threading

import pytest
import torch
from safetensors.torch import save_file
from serving import PATIENCE, until

from latentloom.cli.fetch import AddressError, check_address
from latentloom.cli.settings_edit import with_list
from latentloom.engine.errors import SettingsError
from latentloom.training.random_checkpoint import write_checkpoint

DATA = b"weights" * 1000
SHA = hashlib.sha256(DATA).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a file, one that ends early, one that never ends, and a redirect away from this machine."""

    leave: threading.Event

    def do_GET(self):
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://models.example/model.safetensors")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not self.path.startswith(("/model", "/short", "/stuck")):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA if self.path.startswith("/model") else DATA[:100])
        if self.path.startswith("/stuck"):
            self.leave.wait(60)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def services():
    leave = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Leaving", (Handler,), {"leave": leave}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    leave.set()
    server.shutdown()
    server.server_close()
    thread.join()


def files(home):
    return sorted(path.name for path in (home / "models").rglob("*") if path.is_file())


# get


@pytest.mark.parametrize(
    "url",
    [
        "http://models.example/m.safetensors",
        "ftp://models.example/m.safetensors",
        "file:///etc/passwd",
        "http://127.0.0.1.models.example/m.safetensors",
        "http://user@models.example#127.0.0.1",
        "https://",
        "https://[broken",
        "m.safetensors",
    ],
)
def test_only_https_or_this_machine(url):
    with pytest.raises(AddressError):
        check_address(url)


@pytest.mark.parametrize(
    "url", ["https://models.example/m", "http://127.0.0.1:8000/m", "http://[::1]/m", "http://localhost/m"]
)
def test_addresses_that_are_fetched(url):
    check_address(url)


@pytest.mark.parametrize(
    ("address", "sha", "problem"),
    [
        ("/model.safetensors", "0" * 64, "the file is not the requested one"),
        ("/short.safetensors", SHA, "the connection ended early"),
        ("/gone.safetensors", SHA, "the download failed: HTTP 404 Not Found"),
    ],
)
def test_a_download_that_goes_wrong_leaves_nothing(loom, home, services, address, sha, problem):
    code, out, err = loom("models", "get", services + address, "--sha256", sha)
    assert (code, out) == (3, "")
    assert err.startswith(f"download_failed: {problem}")
    assert files(home) == []


def test_ctrl_c_leaves_nothing_of_a_download(loom_process, home, services):
    process = loom_process("models", "get", f"{services}/stuck.safetensors", "--sha256", SHA)
    until(lambda: files(home))
    assert [name[:9] for name in files(home)] == [".partial-"]
    process.send_signal(signal.SIGINT)
    assert (process.wait(timeout=PATIENCE), files(home)) == (130, [])


def test_a_server_that_is_not_there(loom, home, services):
    code, _, err = loom("models", "get", "http://127.0.0.1:1/m.safetensors", "--sha256", SHA)
    assert (code, err.splitlines()[0]) == (
        3,
        "download_failed: the download failed: [Errno 111] Connection refused (got http://127.0.0.1:1/m.safetensors)",
    )
    assert files(home) == []


def test_a_redirect_may_not_lead_to_plain_http(loom, home, services):
    code, _, err = loom("models", "get", f"{services}/away.safetensors", "--sha256", SHA)
    assert (code, err.partition(":")[0], files(home)) == (2, "bad_address", [])


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--sha256", "abc"], "bad_sha256"),
        (["--sha256", SHA, "--name", "model.ckpt"], "path_refused"),
        (["--sha256", SHA, "--name", "../../model.safetensors"], "path_refused"),
        (["--sha256", SHA, "--folder", "../.."], "path_refused"),
    ],
)
def test_a_bad_request_downloads_nothing(loom, home, services, flags, code):
    result = loom("models", "get", f"{services}/model.safetensors", *flags)
    assert (result[0], result[2].partition(":")[0], files(home)) == (2, code, [])


def test_a_right_download_is_kept_and_listed(loom, home, services):
    code, out, _ = loom("models", "get", f"{services}/model.safetensors?download=1", "--sha256", SHA.upper())
    path = home / "models" / "checkpoints" / "model.safetensors"
    assert (code, out, path.read_bytes() == DATA) == (0, f"{path}  6.8 KiB\n", True)
    assert files(home) == ["model.safetensors"]


def test_a_download_can_have_another_place_and_name(loom, home, services):
    loom("models", "get", f"{services}/model", "--sha256", SHA, "--folder", "loras", "--name", "x.safetensors")
    assert (home / "models" / "loras" / "x.safetensors").read_bytes() == DATA


def test_what_is_there_already_is_not_fetched_again(loom, home):
    path = home / "models" / "checkpoints" / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    code, out, _ = loom("models", "get", "http://127.0.0.1:1/model.safetensors", "--sha256", SHA)
    assert (code, out) == (0, f"{path}  6.8 KiB  (was already there)\n")


def test_a_file_with_that_name_and_other_content_stays(loom, home, services):
    path = home / "models" / "checkpoints" / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    code, _, err = loom("models", "get", f"{services}/model.safetensors", "--sha256", SHA)
    assert (code, err.partition(":")[0], path.read_bytes()) == (2, "bad_file", b"mine")


# list


def test_models_are_listed_with_what_is_known(loom, home):
    path = home / "models" / "vae" / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"weight": torch.zeros(100)}, path)
    os.utime(path, (0, 0))  # the hashes of files that are seconds old are not kept
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    size = str(path.stat().st_size)
    assert row(loom("models")[1]) == ["vae", "model.safetensors", "unknown", size, "B"]
    assert row(loom("models", "list", "--hash")[1]) == ["vae", "model.safetensors", "unknown", size, "B", sha]
    assert row(loom("models")[1])[-1] == sha


def test_a_link_out_of_the_models_is_listed_and_one_to_nowhere_hides_nothing_else(loom, home, tmp_path):
    (home / "models" / "vae").mkdir(parents=True)
    (tmp_path / "far.safetensors").write_bytes(DATA)
    (home / "models" / "vae" / "link.safetensors").symlink_to(tmp_path / "far.safetensors")
    (home / "models" / "vae" / "gone.safetensors").symlink_to(tmp_path / "gone.safetensors")
    (home / "models" / "vae" / "model.safetensors").write_bytes(DATA)
    code, out, _ = loom("models", "list", "--hash")
    names = [line.split()[1] for line in out.splitlines() if line.startswith("vae ")]
    assert (code, names) == (0, ["link.safetensors", "model.safetensors"])


def row(out):
    return next(line.split() for line in out.splitlines() if line.startswith("vae "))


# add


@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_only_a_folder_is_added(loom, home, tmp_path, kind):
    if kind == "file":
        (tmp_path / "place").write_text("x")
    code, _, err = loom("models", "add", tmp_path / "place")
    assert (code, err.partition(":")[0], (home / "latentloom.toml").exists()) == (2, "missing_file", False)


def test_a_folder_is_added_and_the_default_stays(loom, home, tmp_path):
    (tmp_path / "more" / "checkpoints").mkdir(parents=True)
    (tmp_path / "more" / "checkpoints" / "a.safetensors").write_bytes(b"a")
    code, out, _ = loom("models", "add", tmp_path / "more")
    toml = home / "latentloom.toml"
    assert (code, out) == (0, f"{tmp_path / 'more'} is now a model folder in {toml}\n")
    assert toml.read_text() == f'models = ["{home / "models"}", "{tmp_path / "more"}"]\n'
    assert "a.safetensors" in loom("models")[1]


def test_adding_twice_changes_nothing(loom, home, tmp_path):
    (tmp_path / "more").mkdir()
    loom("models", "add", tmp_path / "more")
    before = (home / "latentloom.toml").read_text()
    code, out, _ = loom("models", "add", tmp_path / "more")
    assert (code, "was already" in out, (home / "latentloom.toml").read_text()) == (0, True, before)


def test_a_broken_settings_file_is_not_touched(loom, home, tmp_path):
    home.mkdir()
    (home / "latentloom.toml").write_text("models = [")
    code, _, err = loom("models", "add", tmp_path)
    assert (code, err.partition(":")[0]) == (2, "bad_setting")
    assert (home / "latentloom.toml").read_text() == "models = ["


def test_a_variable_that_wins_is_named(loom, home, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTLOOM_MODELS", str(tmp_path))
    code, _, err = loom("models", "add", tmp_path)
    assert (code, err.splitlines()[0]) == (
        2,
        "bad_setting: LATENTLOOM_MODELS is set and overrides the settings file",
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'models = ["a"]\n'),
        ("# mine\ndtype = 'fp32'\n", "# mine\ndtype = 'fp32'\nmodels = [\"a\"]\n"),
        ("dtype = 'fp32'", "dtype = 'fp32'\nmodels = [\"a\"]\n"),
        ("models = ['x']  # why\nsalt = 'models = []'\n", "models = [\"a\"]  # why\nsalt = 'models = []'\n"),
        ("models = [\n  'x]', # a ]\n  'y',\n]\n", 'models = ["a"]\n'),
        ("salt = '''\nmodels = []'''\nmodels = ['x']\n", "salt = '''\nmodels = []'''\nmodels = [\"a\"]\n"),
        ("[table]\nx = 1\n", 'models = ["a"]\n[table]\nx = 1\n'),
    ],
)
def test_one_key_is_set_and_the_rest_stays(before, after):
    assert with_list(before, "models", ["a"]) == after


def test_what_cannot_be_edited_safely_is_refused():
    with pytest.raises(SettingsError, match=r"set models = \[\"a\"\] in it yourself"):
        with_list('"mo\\u0064els" = ["x"]', "models", ["a"])


def test_the_list_says_what_a_file_holds_and_what_is_wrong_with_it(loom, home):
    folder = home / "models" / "checkpoints"
    folder.mkdir(parents=True)
    write_checkpoint(folder / "tiny.safetensors", "sd1_tiny")
    whole = (folder / "tiny.safetensors").read_bytes()
    (folder / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "old.safetensors").write_bytes(pickle.dumps({}, protocol=2))
    _, out, _ = loom("models", "list")
    assert "SD 1.x checkpoint" in out
    assert re.search(r"tiny\.safetensors +SD 1\.x checkpoint +fp16 +model, clip, vae ", out)
    assert "'half.safetensors' ends early" in out
    assert "'old.safetensors' is a pickle" in out


@pytest.mark.parametrize("header", ['{"a":{"dtype":"F32","shape":[1],"data_offsets":"xy"}}', "[" * 100_000])
def test_a_broken_file_is_a_line_of_the_list(loom, home, header):
    folder = home / "models" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "broken.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
    write_checkpoint(folder / "good.safetensors", "sd1_tiny")

    code, out, err = loom("models")

    assert (code, err) == (0, "")
    assert "'broken.safetensors' is not a safetensors file" in out
    assert "good.safetensors" in out


def test_a_model_is_shown_with_what_suits_it(loom):
    code, out, _ = loom("models", "show", "shapes")
    assert (code, [line.split(maxsplit=1) for line in out.splitlines()[1:4]]) == (
        0,
        [["folder", "checkpoints"], ["kind", "SD 1.x checkpoint (folder)"], ["parts", "model, clip, vae"]],
    )
    assert out.splitlines()[-1].split() == ["defaults", "width", "128,", "height", "128"]


def test_a_model_tells_its_licence_and_what_it_does_not_say(loom):
    _, out, _ = loom("models", "show", "shapes")
    assert "author    unknown: the file does not say\n" in out
    assert "licence   apache-2.0\n" in out


def test_the_header_of_a_lora_tells_author_licence_and_trigger_words(loom, home):
    path = home / "models" / "loras" / "mine.safetensors"
    path.parent.mkdir(parents=True)
    said = {
        "modelspec.author": "A\nB",
        "ss_tag_frequency": json.dumps({"1_x": {"sks ": 2, "red": 5}, "2_y": {"sks": 4}}),
    }
    save_file({"a": torch.zeros(1)}, path, metadata=said)
    _, out, _ = loom("models", "show", "mine.safetensors")
    found = dict(line.split("  ", 1) for line in out.splitlines()[1:])
    assert found["author"].strip() == "A B"
    assert found["licence"].strip() == "unknown: the file does not say; look where you got it"
    assert found["trigger words"].strip() == "sks, red"


def test_an_unknown_model_is_not_shown(loom):
    code, out, err = loom("models", "show", "nope")
    assert (code, out, err.partition(" (")[0]) == (2, "", "missing_file: there is no model 'nope'")
