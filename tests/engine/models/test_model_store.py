"""Models in the host's memory: what is shared, what is copied, what is forgotten, and how much memory that takes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stacks
import torch
from devices import FakeDevice

from latentloom.engine import FileIdentity, Model, Patch
from latentloom.engine.errors import ChangedFileError, PluginError
from latentloom.engine.models.device import Device, PlainDevice
from latentloom.engine.models.environment import Environment
from latentloom.engine.models.store import KEPT, Budgets, ModelStore
from latentloom.engine.models.working_memory import Need
from latentloom.engine.types.context import Borrower
from latentloom.engine.types.registry import Distribution, Registration, Registry

WIDTH, DEPTH = 256, 4
DEFAULT = Budgets()
X = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    stacks.LOADED.clear()
    yield
    stacks.LOADED.clear()


def store(folder: Path, device: Device | None = None, budgets: Budgets = DEFAULT, dtype: Any = "fp32") -> ModelStore:
    made = Registration(Distribution("stacks", "1.0", "builtin", "code"))
    made.model_kind("stack", stacks.StackKind)
    made.patch("scale", stacks.scale)
    made.patch("scale_together", stacks.scale_together, together=True)
    made.patch("vandal", stacks.vandal)
    environment = Environment("cpu", "cpu", dtype, ())
    opened = device or PlainDevice("cpu")
    return ModelStore(Registry([made]), lambda: environment, lambda name: folder / name, budgets, lambda name: opened)


def handle(folder: Path, name: str = "a.stack", *patches: Patch, dtype: torch.dtype = torch.float16) -> Model:
    if not (folder / name).exists():
        stacks.write_stack(folder / name, WIDTH, DEPTH, dtype)
    return Model("stack", [FileIdentity(name, name)], {}, patches)


def scaled(by: float) -> Patch:
    return Patch("scale", {"by": by})


def compute(made: ModelStore, *handles: Model) -> list[torch.Tensor]:
    with made.load(handles) as modules, torch.no_grad():
        return [module(X.to(module[0].weight.dtype)) for module in modules]


def test_a_model_is_loaded_once(tmp_path: Path) -> None:
    made = store(tmp_path)
    first, again = compute(made, handle(tmp_path)), compute(made, handle(tmp_path))
    assert torch.equal(first[0], again[0])
    assert stacks.LOADED == ["a.stack"]


def test_a_patch_changes_its_own_model_and_leaves_the_other_bit_for_bit(tmp_path: Path) -> None:
    made = store(tmp_path)
    (plain,) = compute(made, handle(tmp_path))
    (patched,) = compute(made, handle(tmp_path, "a.stack", scaled(2)))
    (removed,) = compute(made, handle(tmp_path))
    assert torch.equal(plain, removed) and not torch.equal(plain, patched)
    assert stacks.LOADED == ["a.stack"]


def test_another_strength_copies_only_the_layer_that_it_changes(tmp_path: Path) -> None:
    device = FakeDevice()
    made = store(tmp_path, device)
    compute(made, handle(tmp_path))
    before = device.copied_bytes
    compute(made, handle(tmp_path, "a.stack", scaled(2)))
    compute(made, handle(tmp_path, "a.stack", scaled(3)))
    assert device.copied_bytes - before == 2 * WIDTH * WIDTH * 4


def test_patches_apply_in_their_order_to_one_model(tmp_path: Path) -> None:
    made = store(tmp_path, dtype="fp32")
    (one,) = compute(made, handle(tmp_path, "a.stack", scaled(2), scaled(4)))
    (other,) = compute(made, handle(tmp_path, "a.stack", scaled(8)))
    assert torch.equal(one, other)


def test_a_kind_that_wants_it_gets_its_patches_that_follow_each_other_at_once(tmp_path: Path) -> None:
    made = store(tmp_path)
    two, three = (Patch("scale_together", {"by": by}) for by in (2, 3))
    (together,) = compute(made, handle(tmp_path, "a.stack", two, three))
    (apart,) = compute(made, handle(tmp_path, "a.stack", two, scaled(1), three))
    (five,) = compute(made, handle(tmp_path, "a.stack", scaled(5)))
    (six,) = compute(made, handle(tmp_path, "a.stack", scaled(6)))
    assert torch.equal(together, five)
    assert torch.equal(apart, six)


def test_a_patch_that_writes_into_shared_weights_is_named(tmp_path: Path) -> None:
    made = store(tmp_path)
    (plain,) = compute(made, handle(tmp_path))
    with pytest.raises(PluginError) as caught:
        compute(made, handle(tmp_path, "a.stack", Patch("vandal")))
    assert str(caught.value) == (
        "the patch 'vandal' wrote into the model's weights\n  hint: make a new tensor: other models share the old one"
    )
    assert torch.equal(compute(store(tmp_path), handle(tmp_path))[0], plain)


def test_models_that_nobody_used_for_long_are_forgotten(tmp_path: Path) -> None:
    device = FakeDevice()
    made = store(tmp_path, device)
    for n in range(KEPT + 1):
        compute(made, handle(tmp_path, "a.stack", scaled(n + 1)))
    before = device.copied_bytes
    compute(made, handle(tmp_path, "a.stack", scaled(KEPT + 1)))
    assert device.copied_bytes == before
    compute(made, handle(tmp_path, "a.stack", scaled(1)))
    assert device.copied_bytes > before


def test_weights_that_patches_made_keep_within_the_budget_of_the_host(tmp_path: Path) -> None:
    device, layer = FakeDevice(), WIDTH * WIDTH * 2
    made = store(tmp_path, device, Budgets(ram=2 * layer))
    for by in (2, 3, 4):
        compute(made, handle(tmp_path, "a.stack", scaled(by)))
    before = device.copied_bytes
    compute(made, handle(tmp_path, "a.stack", scaled(3)), handle(tmp_path, "a.stack", scaled(4)))
    assert device.copied_bytes == before
    compute(made, handle(tmp_path, "a.stack", scaled(2)))
    assert device.copied_bytes > before


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.51])
def test_any_budget_gives_the_same_bits(tmp_path: Path, dtype: str, share: float) -> None:
    size = DEPTH * (WIDTH * WIDTH + WIDTH) * {"fp32": 4, "bf16": 2}[dtype]
    (whole,) = compute(store(tmp_path, dtype=dtype), handle(tmp_path))
    budgets = Budgets(ram=int(size * share), vram=int(size * share))
    for device in (PlainDevice("cpu"), FakeDevice()):
        (found,) = compute(store(tmp_path, device, budgets, dtype), handle(tmp_path))
        assert torch.equal(found, whole)


def test_after_a_shortage_more_is_left_to_such_work_alone(tmp_path: Path) -> None:
    made = store(tmp_path, FakeDevice(), Budgets(vram=1_200_000))
    made.make_room(Borrower("large"))
    assert made.plan([handle(tmp_path)]).streamed == ()
    with made.load([handle(tmp_path)], borrower=Borrower("large")) as (module,):
        assert made.pool.held_bytes <= 900_000
        assert torch.equal(module(X), compute(store(tmp_path), handle(tmp_path))[0])


def test_a_guess_becomes_smaller_each_time_that_all_goes_well(tmp_path: Path) -> None:
    made = store(tmp_path, budgets=Budgets(ram=2_400_000))
    for _ in range(3):
        made.make_room(Borrower("large"))
    seen = []
    while (need := made.working.of("large")) is not None:
        seen.append(need.nbytes)
        with made.load([handle(tmp_path)], borrower=Borrower("large")):
            pass
    assert seen == [2_400_000 >> n for n in range(7)]


def test_what_a_computation_took_is_left_to_the_next_of_its_kind(tmp_path: Path) -> None:
    """Measured, where the device counts: weights make room before memory runs out."""
    device = FakeDevice(limit=2_000_000)
    made = store(tmp_path, device, Budgets(vram=2_000_000))
    compute(made, handle(tmp_path, "b.stack"))

    def work() -> None:
        with made.load([handle(tmp_path)], borrower=Borrower("large")):
            device.empty((700_000,), torch.uint8)

    with pytest.raises(torch.OutOfMemoryError), made.load([handle(tmp_path)], borrower=Borrower("large")):
        first = device.empty((600_000,), torch.uint8)
        device.empty((600_000,), torch.uint8)
    del first
    made.make_room(Borrower("large"))
    work()
    assert made.working.of("large") == Need(735_000, measured=True)
    compute(made, handle(tmp_path, "b.stack"))
    work()


def test_a_loan_inside_a_loan_is_no_working_memory(tmp_path: Path) -> None:
    device, borrower = FakeDevice(limit=2**30), Borrower("large")
    made = store(tmp_path, device, Budgets(vram=2**29))
    outer, inner = (made.load([handle(tmp_path, name)], borrower=borrower) for name in ("a.stack", "b.stack"))
    with outer, inner:
        device.empty((1000,), torch.uint8)
    assert made.working.of("large") == Need(1050, measured=True)


def test_without_a_budget_a_share_of_what_is_free_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = DEPTH * (WIDTH * WIDTH + WIDTH) * 4
    monkeypatch.setattr("latentloom.engine.models.store.default_budget", lambda name: 10 * size)
    device = FakeDevice(limit=10 * size, others=9 * size - 1)
    made = store(tmp_path, device)
    with made.load([handle(tmp_path)]):
        assert made.pool.held_bytes <= 0.85 * size


def test_on_a_processor_patched_weights_and_copies_share_one_budget(tmp_path: Path) -> None:
    layer = WIDTH * WIDTH
    budget = 16 * layer  # copies in fp32 take 4 * layer for each of the 4 layers
    made = store(tmp_path, PlainDevice("cpu"), Budgets(ram=budget))
    for by in range(2, 12):
        (found,) = compute(made, handle(tmp_path, "a.stack", scaled(by)))
        assert made.pool.elsewhere + made.pool.held_bytes <= budget
        assert torch.equal(found, compute(store(tmp_path), handle(tmp_path, "a.stack", scaled(by)))[0])
    assert made.pool.elsewhere > 0


MEMORY = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/engine"]
import torch
torch.set_num_threads(1)
import stacks
from latentloom.engine import FileIdentity, Model
from latentloom.engine.models.device import PlainDevice
from latentloom.engine.models.environment import Environment
from latentloom.engine.models.store import Budgets, ModelStore
from latentloom.engine.types.registry import Distribution, Registration, Registry

def anonymous():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

folder, share, stored = Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
width, depth = 2048, 16
stacks.write_stack(folder / "a.stack", width, depth, getattr(torch, stored))
made = Registration(Distribution("stacks", "1.0", "builtin", "code"))
made.model_kind("stack", stacks.StackKind)
weights = depth * (width * width + width) * 2
store = ModelStore(Registry([made]), lambda: Environment("cpu", "cpu", "bf16", ()), lambda name: folder / name,
                   Budgets(ram=int(weights * share)), PlainDevice)
x = torch.ones(1, width, dtype=torch.bfloat16)
torch.nn.Linear(8, 8, dtype=torch.bfloat16)(torch.ones(1, 8, dtype=torch.bfloat16))
begin, peak = anonymous(), 0
with store.load([Model("stack", [FileIdentity("a.stack", "a.stack")], {})]) as (module,), torch.no_grad():
    def look(*_):
        global peak
        peak = max(peak, anonymous())
    for layer in module:
        layer.register_forward_hook(look)
    module(x)
print((peak - begin) / weights)
"""


@pytest.mark.parametrize(
    ("share", "stored", "most"), [(1.0, "float16", 1.15), (0.25, "float16", 0.4), (0.1, "bfloat16", 0.1)]
)
def test_weights_take_no_more_memory_than_the_budget(tmp_path: Path, share: float, stored: str, most: float) -> None:
    """Peak anonymous memory as a share of the weights in bf16; those of the right type are pages of their file."""
    arguments = [str(Path(stacks.__file__).parent), str(tmp_path), str(share), stored]
    done = subprocess.run([sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True)
    assert float(done.stdout) <= most


# Files that change under loaded models


def overwrite(path: Path, seed: int = 7) -> None:
    """Write other weights of the same size into a file, as `cp` does."""
    other = stacks.write_stack(path.with_suffix(".other"), WIDTH, DEPTH).read_bytes()
    header = 8 + int.from_bytes(other[:8], "little")
    path.write_bytes(other[:header] + bytes([seed]) * (len(other) - header))


@pytest.mark.parametrize("patches", [(), (scaled(2.0),)])
def test_a_file_that_is_written_over_while_its_model_is_lent_is_an_error(tmp_path: Path, patches: Any) -> None:
    made, model = store(tmp_path), handle(tmp_path, "a.stack", *patches)
    with pytest.raises(ChangedFileError, match=r"'a\.stack' was overwritten") as caught, made.load([model]):
        overwrite(tmp_path / "a.stack")
    assert caught.value.problem.code == "changed_file"
    assert "replace models by rename" in str(caught.value.problem.hint)


def test_a_model_whose_file_was_written_over_between_two_loans_is_read_again(tmp_path: Path) -> None:
    made, model = store(tmp_path), handle(tmp_path)
    before = compute(made, model)
    overwrite(tmp_path / "a.stack", 0)
    assert not torch.equal(compute(made, model)[0], before[0])
    assert stacks.LOADED == ["a.stack"] * 2


def test_a_patch_whose_file_is_written_over_while_it_is_used_is_an_error(tmp_path: Path) -> None:
    made = store(tmp_path)
    (tmp_path / "lora").write_bytes(b"one")
    model = handle(tmp_path, "a.stack", Patch("scale", {"by": 2.0}, (FileIdentity("lora", "lora"),)))
    with pytest.raises(ChangedFileError, match="'lora' was overwritten"), made.load([model]):
        (tmp_path / "lora").write_bytes(b"other")


def test_a_file_that_is_replaced_by_rename_disturbs_no_one(tmp_path: Path) -> None:
    made, model = store(tmp_path), handle(tmp_path)
    before = compute(made, model)
    with made.load([model]) as (module,):
        (tmp_path / "b.stack").write_bytes(b"another model")
        (tmp_path / "b.stack").replace(tmp_path / "a.stack")
        during = module(X.to(module[0].weight.dtype))
    assert torch.equal(during, before[0])
    assert torch.equal(compute(made, model)[0], before[0])


def test_rights_and_further_names_of_a_file_disturb_no_one(tmp_path: Path) -> None:
    made, model = store(tmp_path), handle(tmp_path)
    with made.load([model]):
        (tmp_path / "a.stack").chmod(0o600)
        os.link(tmp_path / "a.stack", tmp_path / "backup.stack")
    assert stacks.LOADED == ["a.stack"]
