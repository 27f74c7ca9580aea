"""Names of files in documents: what they may reach, and what is offered instead."""

import hashlib
import os
import platform

import pytest

from latentloom.engine.errors import ChangedFileError, FileError, MissingFileError, PathError
from latentloom.engine.files.catalog import Catalog, safe_join
from latentloom.engine.files.hashes import Hashes
from latentloom.engine.files.owners import is_visible

SECRET = "secret.png"


@pytest.fixture
def folders(tmp_path):
    """An input folder and a model folder with some files, and a secret beside them."""
    for name in ("input/cat.png", "input/old/dog.JPG", "models/loras/ink.safetensors", SECRET):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.fixture
def catalog(folders):
    return Catalog(folders / "input", [folders / "models"], Hashes(folders / "hashes.db"))


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


ESCAPES = [
    f"../{SECRET}",
    f"old/../../{SECRET}",
    f"./../{SECRET}",
    f"..\\{SECRET}",
    f"old\\..\\..\\{SECRET}",
    "/etc/passwd",
    "//server/share/x.png",
    "\\\\server\\share\\x.png",
    "C:x.png",
    "c:/x.png",
    "",
]


@pytest.mark.parametrize("source", ["input", "models/loras"])
@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leaves_its_folder_is_refused(name, source, catalog):
    with pytest.raises(PathError) as caught:
        catalog.find(source, name)
    assert caught.value.problem.message == "the name points outside its folder"
    assert caught.value.problem.expected == "a name inside the folder, with '/' between its parts"


@pytest.mark.parametrize("name", ["cat.png\0.txt", "\0", "cat\n.png", "\x1b[2J.png", "\x9b.png", "\ud800.png"])
def test_a_name_with_control_characters_is_refused(name, catalog):
    with pytest.raises(PathError, match="the name contains characters that a file name must not contain"):
        catalog.find("input", name)


@pytest.mark.parametrize("name", ["a" * 256, "円" * 86, "a/" * 501, "old/" + "b" * 300 + "/c.png"])
def test_a_name_that_is_too_long_is_refused(name, catalog):
    with pytest.raises(PathError, match="the name is too long"):
        catalog.find("input", name)


def test_a_symlink_out_of_the_folder_is_refused(catalog, folders):
    (folders / "input" / "link.png").symlink_to(folders / SECRET)
    (folders / "input" / "far").symlink_to(folders)
    for name in ("link.png", f"far/{SECRET}"):
        with pytest.raises(PathError, match="the name points outside its folder"):
            catalog.find("input", name)


def test_a_symlink_within_the_folder_is_followed(catalog, folders):
    (folders / "input" / "link.png").symlink_to(folders / "input" / "cat.png")
    assert catalog.find("input", "link.png").path == folders / "input" / "cat.png"
    assert catalog.names("input") == ["cat.png", "link.png", "old/dog.JPG"]


def test_links_that_somebody_put_into_the_model_folder_are_followed(catalog, folders):
    (folders / "elsewhere/deep").mkdir(parents=True)
    (folders / "elsewhere/deep/far.safetensors").write_bytes(b"far")
    (folders / "models/loras/one.safetensors").symlink_to(folders / "elsewhere/deep/far.safetensors")
    (folders / "models/loras/all").symlink_to(folders / "elsewhere", target_is_directory=True)
    (folders / "models/loras/gone.safetensors").symlink_to(folders / "nowhere")
    names = ["all/deep/far.safetensors", "ink.safetensors", "one.safetensors"]
    assert catalog.names("models/loras") == names
    assert catalog.path_of(sha256_of(folders / "elsewhere/deep/far.safetensors")).read_bytes() == b"far"
    assert {catalog.find("models/loras", name).path.read_bytes() for name in (names[0], names[2])} == {b"far"}
    with pytest.raises(MissingFileError):
        catalog.find("models/loras", "gone.safetensors")


def test_a_name_does_not_leave_the_models_through_a_link_either(catalog, folders):
    (folders / "models/loras/all").symlink_to(folders / "input", target_is_directory=True)
    for name in (f"all/../../{SECRET}", f"all/../{SECRET}", "all/.."):
        with pytest.raises(PathError, match="the name points outside its folder"):
            catalog.find("models/loras", name)


def test_links_in_a_circle_end(catalog, folders):
    (folders / "models/loras/again").symlink_to(folders / "models/loras", target_is_directory=True)
    assert catalog.names("models/loras") == ["ink.safetensors"]


def test_a_circle_of_symlinks_is_refused(catalog, folders):
    (folders / "input" / "a.png").symlink_to(folders / "input" / "b.png")
    (folders / "input" / "b.png").symlink_to(folders / "input" / "a.png")
    with pytest.raises((PathError, MissingFileError)):
        catalog.find("input", "a.png")
    assert catalog.names("input") == ["cat.png", "old/dog.JPG"]


def test_a_folder_that_is_a_symlink_itself_works(folders):
    (folders / "moved").symlink_to(folders / "input")
    catalog = Catalog(folders / "moved", [], Hashes(folders / "hashes.db"))
    assert catalog.find("input", "cat.png").path.read_bytes() == b"input/cat.png"
    assert catalog.names("input") == ["cat.png", "old/dog.JPG"]


def test_a_folder_whose_name_begins_alike_is_outside(folders):
    (folders / "input-private").mkdir()
    (folders / "input" / "x").symlink_to(folders / "input-private")
    with pytest.raises(PathError):
        safe_join(folders / "input", "x/y.png")


@pytest.mark.parametrize("name", ["old", ".", "old/", "pipe.png"])
def test_what_is_no_file_is_missing(name, catalog, folders):
    os.mkfifo(folders / "input" / "pipe.png")
    with pytest.raises(MissingFileError, match="there is no picture"):
        catalog.find("input", name)


def test_a_missing_picture_is_told_with_the_nearest_name(catalog, folders):
    with pytest.raises(MissingFileError) as caught:
        catalog.find("input", "Cat.jpg")
    assert str(caught.value) == (
        f"there is no picture 'Cat.jpg' (expected a file in {folders / 'input'}). Did you mean 'cat.png'?"
    )


def test_a_missing_model_is_told_with_the_nearest_name_and_a_way_to_add_it(catalog, folders):
    with pytest.raises(MissingFileError) as caught:
        catalog.find("models/loras", "inks.safetensors")
    assert caught.value.problem.message == "there is no model 'inks.safetensors'"
    assert caught.value.problem.expected == f"a file in {folders / 'models' / 'loras'}"
    assert caught.value.problem.nearest == "ink.safetensors"
    assert caught.value.problem.hint == "`loom models` lists the files, `loom models add DIR` adds a folder"


def test_folders_that_are_not_there_hold_nothing(tmp_path):
    catalog = Catalog(tmp_path / "a", [tmp_path / "b"], Hashes(tmp_path / "hashes.db"))
    assert (catalog.names("input"), catalog.names("models/loras"), catalog.model_sources()) == ([], [], [])
    with pytest.raises(MissingFileError):
        catalog.find("input", "cat.png")


def test_only_names_that_can_be_used_are_listed(catalog, folders):
    (folders / "input" / "link.png").symlink_to(folders / SECRET)
    for name in (".hidden.png", ".trash/x.png", "new\nfolder/x.png", "notes.txt", "new\nline.png"):
        (folders / "input" / name).parent.mkdir(exist_ok=True)
        (folders / "input" / name).write_bytes(b"")
    (folders / "input" / os.fsdecode(b"latin-\xe9.png")).write_bytes(b"")
    assert catalog.names("input") == ["cat.png", "old/dog.JPG"]
    assert [catalog.find("input", name).name for name in catalog.names("input")] == catalog.names("input")


# Folders of other programs

FOREIGN = [
    ("Stable-diffusion", "checkpoints"),
    ("Lora", "loras"),
    ("LyCORIS", "loras"),
    ("VAE", "vae"),
    ("diffusion_models", "unet"),
    ("text_encoders", "clip"),
    ("ControlNet", "controlnet"),
    ("ESRGAN", "upscale_models"),
]


@pytest.mark.parametrize("inside", ["", "models"])
@pytest.mark.parametrize(("folder", "source"), FOREIGN)
def test_the_folder_names_of_other_programs_are_understood(folder, source, inside, tmp_path):
    place = tmp_path / "app" / inside / folder
    place.mkdir(parents=True)
    (place / "m.safetensors").write_bytes(b"m")
    catalog = Catalog(tmp_path / "input", [tmp_path / "app"], Hashes(tmp_path / "hashes.db"))
    assert catalog.find(f"models/{source}", "m.safetensors").path == place / "m.safetensors"
    assert catalog.model_sources() == [f"models/{source}"]
    assert catalog.path_of(hashlib.sha256(b"m").hexdigest()) == place / "m.safetensors"


def test_a_whole_installation_counts_by_known_names_only(tmp_path):
    for name in ("custom_nodes/x", "embeddings/e", "models/loras/l", "models/my_own/m"):
        path = tmp_path / "app" / f"{name}.safetensors"
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    catalog = Catalog(tmp_path / "input", [tmp_path / "app"], Hashes(tmp_path / "hashes.db"))
    assert catalog.model_sources() == ["models/embeddings", "models/loras", "models/my_own"]


# Hashes


def test_the_hash_decides_whatever_the_name_is(catalog, folders):
    sha256 = sha256_of(folders / "models/loras/ink.safetensors")
    assert catalog.find("models/loras", f"gone.safetensors@sha256:{sha256}").name == "ink.safetensors"


def test_a_file_of_the_name_with_other_content_is_no_match(catalog):
    with pytest.raises(MissingFileError) as caught:
        catalog.find("models/loras", f"ink.safetensors@sha256:{'0' * 64}")
    assert caught.value.problem.expected == f"sha256 {'0' * 64}"
    assert caught.value.problem.got == "a file of that name with different content"
    assert caught.value.problem.hint == ("the hash takes precedence; remove '@sha256:...' to use any file of that name")


@pytest.mark.parametrize("tail", ["@sha256:abc", "@sha256:" + "G" * 64, "@sha256:" + "0" * 65, "@md5:" + "0" * 64])
def test_what_is_no_hash_belongs_to_the_name(tail, catalog):
    with pytest.raises(MissingFileError, match="there is no model 'ink"):
        catalog.find("models/loras", f"ink.safetensors{tail}")


def test_a_link_to_nowhere_does_not_spoil_the_search_by_hash(catalog, folders):
    (folders / "models/loras/bad.safetensors").symlink_to(folders / "nowhere")
    sha256 = sha256_of(folders / "models/loras/ink.safetensors")
    assert catalog.find("models/loras", f"x@sha256:{sha256}").name == "ink.safetensors"
    assert catalog.path_of(sha256) == folders / "models/loras/ink.safetensors"
    with pytest.raises(MissingFileError):
        catalog.path_of(sha256_of(folders / SECRET))


def test_a_file_that_changed_gets_another_identity(catalog, folders):
    first = catalog.identify("input", "cat.png").sha256
    (folders / "input/cat.png").write_bytes(b"another cat")
    second = catalog.identify("input", "cat.png").sha256
    assert [first, second] == [hashlib.sha256(data).hexdigest() for data in (b"input/cat.png", b"another cat")]


def test_a_damaged_memo_of_hashes_is_started_anew(catalog, folders):
    (folders / "hashes.db").write_bytes(b"not a database" * 100)
    assert catalog.identify("input", "cat.png").sha256 == sha256_of(folders / "input/cat.png")
    assert catalog.identify("input", "cat.png").sha256 == sha256_of(folders / "input/cat.png")


def test_a_file_that_vanished_is_missing(catalog, folders):
    catalog.identify("input", "cat.png")
    (folders / "input/cat.png").unlink()
    with pytest.raises(MissingFileError):
        catalog.identify("input", "cat.png")


# The store


def test_a_given_file_is_stored_under_its_hash(catalog, folders):
    sha256 = sha256_of(folders / SECRET)
    name = catalog.store(folders / SECRET)
    assert name == f"by-hash/{sha256[:2]}/{sha256}.png"
    assert catalog.find("input", name).path.read_bytes() == SECRET.encode()
    assert catalog.store(folders / SECRET) == name
    assert len(catalog.names("input")) == 3


def test_what_a_killed_process_left_half_stored_is_swept(catalog, folders):
    left = folders / "input" / f".partial-{platform.node()}-{2**22 + 1}-0"  # no process has that number
    left.write_bytes(b"half")
    catalog.store(folders / SECRET)
    assert not left.exists()


def test_a_file_that_is_not_there_is_not_stored(catalog, folders):
    with pytest.raises(MissingFileError, match=f"there is no file {folders / 'none.png'}"):
        catalog.store(folders / "none.png")


def test_a_store_that_cannot_be_written_to_is_told(folders):
    catalog = Catalog(folders / SECRET, [], Hashes(folders / "hashes.db"))
    with pytest.raises(FileError, match="the input folder cannot be written to: Not a directory"):
        catalog.store(folders / "input/cat.png")


def test_rights_that_change_within_a_model_folder_change_no_model(tmp_path):
    folder = tmp_path / "models" / "checkpoints" / "m"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    weights = folder / "unet" / "w.safetensors"
    weights.write_text("weights")
    catalog = Catalog(tmp_path / "input", [tmp_path / "models"], Hashes(tmp_path / "hashes.db"))
    found = catalog.identify("models/checkpoints", "m")
    weights.chmod(0o600)
    catalog.compare([found])

    times = weights.stat()
    weights.write_text("another")
    with pytest.raises(ChangedFileError, match="'m' was overwritten"):
        catalog.compare([found])
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ChangedFileError, match="'m' was overwritten"):
        catalog.compare([found])


@pytest.mark.parametrize("way", ["bytes", "file", "path"])
def test_a_stored_file_and_its_name_are_on_the_disk_before_it_is_named(catalog, folders, monkeypatch, way):
    """Jobs that name it outlive a failure of the power; so must it."""
    synced, sync = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.add(os.fstat(handle).st_ino), sync(handle)))
    given = folders / "given.png"
    given.write_bytes(b"a picture")

    if way == "bytes":
        name = catalog.store_bytes(b"a picture", ".png")
    elif way == "file":
        name = catalog.store_file(given, sha256_of(given), ".png")
    else:
        name = catalog.store(given)

    place = folders / "input" / name
    assert {path.stat().st_ino for path in (place, place.parent, place.parent.parent, folders / "input")} <= synced


# Owners


@pytest.mark.parametrize(
    ("name", "seers"),
    [
        ("logo.png", [None, "ann", "bob"]),
        ("by-hash/ab/abc.png", [None]),
        ("by-owner/ann/by-hash/ab/abc.png", [None, "ann"]),
        ("by-owner/ann/holiday.png", [None, "ann"]),
        ("By-Owner/bob/x.png", [None, "bob"]),
        ("by-owner/anna/x.png", [None]),
        ("by-owner/ann", [None]),
        ("by-owner.png", [None, "ann", "bob"]),
    ],
)
def test_uploads_are_seen_by_their_owner_and_all_else_by_everybody(name, seers):
    assert [owner for owner in (None, "ann", "bob") if is_visible(name, owner)] == seers


def test_an_upload_of_somebody_else_is_a_missing_file(folders, catalog):
    ann, bob = catalog.of("ann"), catalog.of("bob")
    name = ann.store_bytes(b"x", ".png")
    sha256 = hashlib.sha256(b"x").hexdigest()
    (folders / "input" / "link.png").symlink_to(folders / "input" / name)

    assert name == f"by-owner/ann/by-hash/{sha256[:2]}/{sha256}.png"
    assert ann.find("input", name) == catalog.find("input", name)
    for given in (name, "link.png", f"any@sha256:{sha256}"):
        with pytest.raises(MissingFileError):
            bob.check("input", given)
    assert name in ann.names("input")
    assert name not in bob.names("input")
