"""Saved files: names that cannot escape, files that are never half there, and none overwritten."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.errors import FileError, PathError
from latentloom.engine.failpoints import POINTS
from latentloom.engine.files.partial import partial_path, sweep
from latentloom.engine.files.save import CountedName, Saver, fill

DATA = b"content" * 10_000
SAVE_POINTS = [point for point in POINTS if point.startswith("save.")]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def saved(out, template, data=DATA, **fields):
    return Saver(out).save(data, template, ".png", {"name": "picture", **fields})


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize(
    "template",
    ["../x", "a/../../x", "/etc/x", "//host/x", "C:x", "c:/x", "a\\..\\x", "\\\\host\\x", "./../x", "a/../{counter}"],
)
def test_a_name_that_leaves_the_folder_is_refused(template, out, tmp_path):
    with pytest.raises(PathError) as caught:
        saved(out, template)
    assert caught.value.problem.message == "the name points outside its folder"
    assert caught.value.problem.expected == "a name inside the folder, with '/' between its parts"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("template", ["a\0b", "a\nb", "\x1b[31mred", "a\x7f", "a\rb/c", "\udcff"])
def test_a_name_with_control_characters_is_refused(template, out):
    with pytest.raises(PathError, match="the name contains characters that a file name must not contain"):
        saved(out, template)
    assert not out.exists()


def test_a_symlink_out_of_the_folder_is_not_followed(out, tmp_path):
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PathError, match="the name points outside its folder"):
        saved(out, "link/x")
    assert names(tmp_path / "elsewhere") == []


def test_a_symlink_under_the_next_name_is_not_written_through(out, tmp_path):
    out.mkdir()
    (out / "x-00001.png").symlink_to(out / "target")
    assert saved(out, "x").name == "x-00002.png"
    assert not (out / "target").exists()


@pytest.mark.parametrize("text", ["../../etc/passwd", "a/b", "a\\b", "..", "C:\\x", "a\0b\n", "...", ""])
def test_the_text_of_a_field_makes_no_folder(text, out):
    path = saved(out, "{name}-{counter}", name=text)
    assert path.parent == out
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("text", ["a" * 5000, "円" * 5000, "\U00020000" * 5000])
def test_the_text_of_a_field_is_cut_to_what_a_file_name_holds(text, out):
    assert saved(out, "{name}-{counter}", name=text).read_bytes() == DATA


@pytest.mark.parametrize("template", ["a" * 300, "b/" + "a" * 300 + "/c"])
def test_a_name_that_is_too_long_is_refused(template, out):
    with pytest.raises(PathError, match="the name is too long"):
        saved(out, template)


def test_names_count_on_and_nothing_is_overwritten(out):
    made = [saved(out, "{name}-{counter}", data=bytes([n])) for n in range(3)]
    assert [path.name for path in made] == ["picture-00001.png", "picture-00002.png", "picture-00003.png"]
    assert [path.read_bytes() for path in made] == [b"\0", b"\1", b"\2"]


def test_a_name_without_a_counter_gets_one(out):
    assert [saved(out, "cat").name for _ in range(2)] == ["cat-00001.png", "cat-00002.png"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("template", ["x{counter", "x{counters}", "x{counter:12}", "{COUNTER}x"])
def test_what_only_looks_like_a_counter_is_none(template, out):
    made = [saved(out, template).name for _ in range(2)]
    assert made == [f"{template}-00001.png", f"{template}-00002.png"]


def test_counting_goes_on_after_the_largest_number(out):
    out.mkdir()
    (out / "picture-00041.png").write_bytes(b"mine")
    (out / "picture-000x.png").write_bytes(b"mine")
    (out / "other-00099.png").write_bytes(b"mine")
    assert saved(out, "{name}-{counter}").name == "picture-00042.png"


def test_a_counter_may_stand_anywhere_and_have_other_widths(out):
    assert [saved(out, "{counter:03}_{name}").name for _ in range(2)] == ["001_picture.png", "002_picture.png"]
    assert saved(out, "{counter:3}/{counter:2}").relative_to(out).as_posix() == "001/01.png"


def test_a_counter_in_a_folder_makes_new_folders(out):
    made = [saved(out, "run-{counter}/{name}").relative_to(out).as_posix() for _ in range(2)]
    assert made == ["run-00001/picture.png", "run-00002/picture.png"]


def test_signs_of_patterns_in_a_name_are_only_signs(out):
    assert [saved(out, "a+(b).*[c]").name for _ in range(2)] == ["a+(b).*[c]-00001.png", "a+(b).*[c]-00002.png"]


def test_a_field_that_nobody_gave_stays_as_it_is():
    assert fill("{name} {nothing} {}", {"name": "x"}) == "x {nothing} {}"


def test_many_threads_get_a_name_each(out):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: saved(out, "x", data=str(n).encode()), range(40)))
    assert len(set(made)) == 40
    assert sorted(int(path.read_bytes()) for path in made) == list(range(40))
    assert len(names(out)) == 40


def test_a_file_where_the_folder_should_be_is_told(out):
    out.write_bytes(b"")
    with pytest.raises(FileError) as caught:
        saved(out, "x")
    assert caught.value.problem.message == "the file could not be saved: File exists"
    assert caught.value.problem.got == str(out)
    assert caught.value.problem.hint == "free some space or choose another folder with --out"


def test_a_file_in_the_way_of_a_folder_is_told(out):
    out.mkdir()
    (out / "a").write_bytes(b"")
    with pytest.raises(FileError, match="the file could not be saved: Not a directory"):
        saved(out, "a/b/c")


@pytest.mark.parametrize("point", SAVE_POINTS[:2])
@pytest.mark.parametrize(("action", "code"), [("readonly", errno.EROFS), ("enospc", errno.ENOSPC)])
def test_a_folder_that_takes_nothing_is_told_and_left_clean(point, action, code, out, monkeypatch):
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", f"{point}:{action}")
    with pytest.raises(FileError, match=f"the file could not be saved: {os.strerror(code)}"):
        saved(out, "deep/x")
    assert names(out) == []


def killed_at(point, out, template):
    code = "from latentloom.engine.files.save import Saver; from pathlib import Path; import os\n"
    code += f"Saver(Path({str(out)!r})).save(b'content' * 10_000, {template!r}, '.png', {{}})"
    environment = {**os.environ, "LATENTLOOM_FAILPOINT": f"{point}:kill"}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode


@pytest.mark.parametrize("template", ["x", "2026/may/x"])
@pytest.mark.parametrize("point", SAVE_POINTS)
def test_a_killed_save_leaves_no_half_file_and_its_rest_is_swept(point, template, out):
    assert killed_at(point, out, template) == -9
    finals = [name for name in names(out) if not name.startswith(".partial-")]
    assert finals == ([f"{template}-00001.png"] if point == "save.renamed" else [])
    assert all((out / name).read_bytes() == DATA for name in finals)
    assert sweep([out]) == 1
    assert names(out) == finals


def test_a_killed_save_does_not_take_a_name(out):
    assert killed_at("save.written", out, "x") == -9
    assert saved(out, "x").name == "x-00001.png"


def test_what_a_living_process_writes_is_not_swept(out):
    out.mkdir()
    partial_path(out).write_bytes(b"half")
    assert sweep([out, out / "absent"]) == 0
    assert len(names(out)) == 1


def without_links(*_):
    raise OSError(errno.EPERM, "no hard links here")


def test_a_file_system_without_hard_links_gets_whole_files_too(out, monkeypatch):
    monkeypatch.setattr(os, "link", without_links)
    assert [saved(out, "x").name for _ in range(2)] == ["x-00001.png", "x-00002.png"]
    assert names(out) == ["x-00001.png", "x-00002.png"]


def test_without_hard_links_a_claimed_name_is_passed_over(out, monkeypatch):
    monkeypatch.setattr(os, "link", without_links)
    out.mkdir()
    (out / "x-00001.png.claim").touch()
    assert saved(out, "x").name == "x-00002.png"


# Counters at several places


@pytest.mark.timeout(60)
@pytest.mark.parametrize("template", ["{counter}" * 22, "{counter}" * 21 + "x", "{counter}" * 46 + "x"])
def test_many_counters_are_counted_at_once(template, out):
    made = [saved(out, template).name for _ in range(2)]

    assert made == [template.replace("{counter}", f"{n:05}") + ".png" for n in (1, 2)]


@pytest.mark.parametrize(
    ("template", "there", "wanted"),
    [
        ("{counter}{counter}x", "0000900009x", "0001000010x"),
        ("{counter}-{counter}", "00041-00041", "00042-00042"),
        ("{counter}-{counter}", "00041-00040", "00001-00001"),
        ("{counter:3}{counter:1}", "0129", "0011"),
        ("{counter:3}{counter:1}", "01212", "01313"),
        ("{counter:1}{counter:3}", "12012", "13013"),
        ("{counter:1}{counter:1}", "123123", "124124"),
        ("{counter:1}{counter:1}", "99", "1010"),
        ("{counter:0}_{counter:0}", "7_7", "8_8"),
        ("{counter}1", "000051", "000061"),
        ("1{counter}", "1123456", "1123457"),
        ("{counter:2}", "007", "01"),
    ],
)
def test_several_counters_go_on_together(template, there, wanted, out):
    out.mkdir()
    (out / f"{there}.png").write_bytes(b"mine")

    assert saved(out, template).name == f"{wanted}.png"


@given(
    texts=st.lists(st.text("0123456789x-", max_size=3), min_size=2, max_size=6),
    widths=st.lists(st.integers(1, 9), min_size=5, max_size=5),
    counter=st.integers(1, 10**12),
)
def test_a_name_tells_the_counter_that_it_was_made_with(texts, widths, counter):
    template = texts[0] + "".join(f"{{counter:{w}}}{text}" for w, text in zip(widths, texts[1:], strict=False))
    name = fill(template, {"counter": counter})

    assert CountedName(texts, widths[: len(texts) - 1]).counter_of(name) == counter


def listed(monkeypatch):
    """The folders that are read, in order."""
    found, was = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: (found.append(str(path)), was(path))[1])
    return found


def test_a_folder_is_read_once_for_many_pictures(out, monkeypatch):
    saved(out, "{name}-{counter}")
    (out / "picture-00900.png").touch()
    saver, found = Saver(out), listed(monkeypatch)
    paths = [saver.save(DATA, "{name}-{counter}", ".png", {"name": "picture"}) for _ in range(64)]
    assert [path.name for path in paths] == [f"picture-{n:05d}.png" for n in range(901, 965)]
    assert found == [str(out)]


def test_names_that_others_take_in_the_meantime_are_passed_over(out, monkeypatch):
    one, two = Saver(out), Saver(out)
    for saver in (one, two):
        saver.save(DATA, "{counter}", ".png", {})
    found = listed(monkeypatch)
    for n in range(3, 23):
        assert (one, two)[n % 2].save(DATA, "{counter}", ".png", {}).name == f"{n:05d}.png"
    assert found == []
    for n in range(23, 1000):
        (out / f"{n:05d}.png").touch()
    assert one.save(DATA, "{counter}", ".png", {}).name == "01000.png"
    assert found == [str(out)]


def test_a_name_that_was_removed_by_hand_is_not_given_again(out):
    saver = Saver(out)
    for _ in range(3):
        saver.save(DATA, "{counter}", ".png", {}).unlink()
    assert saver.save(DATA, "{counter}", ".png", {}).name == "00004.png"


def test_of_many_names_the_largest_counter_is_found_whatever_lies_beside_them():
    counted = CountedName(["a-", ".png"], [5])
    there = [f"a-{n:05d}.png" for n in (7, 12, 99_999)]
    assert counted.largest(there) == 99_999
    assert counted.largest([*there, "a-100000.png", "b-500000.png"]) == 100_000
    assert counted.largest([*there, "a-zzzzz.png", "a-later-and-longer.png", "a-.png"]) == 99_999
    assert counted.largest(["a-x.png"]) == counted.largest([]) == 0
