import io

import pytest
import typer

from latentloom.cli.sizes import size_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("12", 12),
        ("5B", 5),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("1.5M", 1_500_000),
        ("2GiB", 2**31),
        ("1 tb", 10**12),
    ],
)
def test_sizes(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "-1", "five", "5XB", "1e9", "nan", "9" * 40])
def test_no_sizes(text):
    with pytest.raises(typer.BadParameter):
        size_of(text)


@pytest.fixture
def filled(loom, workflow, tmp_path):
    nodes = {"paint": ("toy/Paint", {"width": 64, "height": 64})}
    path = workflow(nodes, outputs=[("image", "paint", "image")])
    assert loom("run", path)[0] == 0
    return path


def values(out):
    return next(line.split()[1] for line in out.splitlines() if line.startswith("values"))


def test_info_counts(loom, filled):
    assert values(loom("cache")[1]) == values(loom("cache", "info")[1]) == "1"


def test_pruning_removes_values(loom, filled, home):
    code, out, _ = loom("cache", "prune", "--to", "0")
    assert (code, out.split(" freed, ")[1]) == (0, "0 B left\n")
    assert values(loom("cache")[1]) == "0"
    assert list((home / "cache").rglob("*.safetensors")) == []


def test_pruning_keeps_what_fits(loom, filled):
    assert loom("cache", "prune", "--to", "1GB")[1].startswith("0 B freed")
    assert values(loom("cache")[1]) == "1"


def test_a_bad_size_is_2(loom, filled):
    code, _, err = loom("cache", "prune", "--to", "much")
    assert code == 2
    assert "'much' is not a size; write 500MB, 2GiB or a number of bytes" in err
    assert values(loom("cache")[1]) == "1"


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_clearing_asks_first(loom, filled, monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert loom("cache", "clear")[0] == 2
    assert values(loom("cache")[1]) == "1"


def test_clearing_after_a_yes(loom, filled, monkeypatch, home):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert loom("cache", "clear")[0] == 0
    assert values(loom("cache")[1]) == "0"


def test_clearing_without_asking(loom, filled, home):
    code, out, _ = loom("cache", "clear", "--yes")
    assert (code, out) == (0, f"the cache at {home / 'cache'} is empty\n")
    assert list((home / "cache").rglob("*.safetensors")) == []
