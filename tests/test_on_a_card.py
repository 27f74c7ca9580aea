"""What must hold on an accelerator as on a processor. Skipped, and counted, where there is none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from latentloom.api import Session
from latentloom.engine import FileIdentity, Model
from latentloom.engine.errors import NodeError
from latentloom.engine.models.device import open_device
from latentloom.engine.models.environment import probe
from latentloom.engine.models.store import Budgets, ModelStore
from latentloom.engine.settings import load_settings
from latentloom.training.detector import Detector
from latentloom.training.random_checkpoint import write_checkpoint
from latentloom.training.scenes import Scene, Thing, caption

pytestmark = pytest.mark.gpu
RED_CIRCLE = Scene((Thing("circle", "red", "large"),), "in the center", "white")


def session(home: Path, **settings: Any) -> Session:
    return Session(load_settings(settings, {"LATENTLOOM_HOME": str(home)}))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Path]]:
    """A session, and a small relative of SD 1.5."""
    home = tmp_path_factory.mktemp("home")
    path = home / "models/checkpoints/tiny.safetensors"
    path.parent.mkdir(parents=True)
    write_checkpoint(path, "sd1_tiny")
    with session(home, dtype="fp32") as made:
        yield made, path


def unet(made: Session, path: Path, budget: int | None = None) -> tuple[ModelStore, Model]:
    """A store on the card with a budget, and the handle of the checkpoint's UNet."""
    environment = probe(made.settings)
    store = ModelStore(made.engine.registry, lambda: environment, lambda name: path, Budgets(vram=budget), open_device)
    kind, info = made.engine.recognise(path) or ("", {})
    return store, Model(kind, [FileIdentity(path.name, "0" * 64)], {**info["unet"], "component": "unet"})


def forward(store: ModelStore, handle: Model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x, context = (torch.randn(shape, generator=generator) for shape in ((2, 4, 8, 8), (2, 77, 64)))
    with store.load([handle]) as (module,), torch.no_grad():
        found: torch.Tensor = module(
            x.to(module.device), torch.tensor(500), encoder_hidden_states=context.to(module.device), return_dict=False
        )[0]
        return found.cpu()


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
def test_the_embedded_model_makes_what_was_asked_for(tmp_path: Path, dtype: str) -> None:
    with session(tmp_path, dtype=dtype) as made:
        assert made.engine.environment.device != "cpu"
        pictures = made.run("txt2img", prompt=caption(RED_CIRCLE), seed=10, batch=4)["image"].numpy()
    assert sum(Detector().judge(pixels, RED_CIRCLE).right for pixels in pictures) >= 3


@pytest.mark.parametrize("share", [0.95, 0.9])
def test_a_model_that_is_fetched_computes_the_same_bits(tiny: tuple[Session, Path], share: float) -> None:
    whole, handle = unet(*tiny)
    need = whole.plan([handle]).resident_bytes
    part, _ = unet(*tiny, budget=int(need * share))
    assert part.plan([handle]).streamed_bytes > 0
    assert torch.equal(forward(part, handle), forward(whole, handle))


def test_the_ledger_counts_what_the_card_holds(tiny: tuple[Session, Path]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("only CUDA tells what it holds")
    store, handle = unet(*tiny)
    before = torch.cuda.memory_allocated()
    with store.load([handle]):
        held = torch.cuda.memory_allocated() - before
    layers = sum(len(layer.slots) for layer in store.plan([handle]).resident)
    assert store.pool.held_bytes <= held <= store.pool.held_bytes + 512 * layers  # the allocator's grain
    store.evict_all()
    assert torch.cuda.memory_allocated() <= before


def test_a_card_that_is_full_is_told_so_and_works_again(tiny: tuple[Session, Path]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("only CUDA can be told to have less memory")
    made, _ = tiny
    inputs = {"prompt": "a red circle", "width": 1024, "height": 1024, "batch": 4, "steps": 1}
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2**28 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(NodeError) as caught:
            made.run("txt2img", **inputs)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert caught.value.code == "out_of_memory"
    assert made.run("txt2img", prompt="a red circle", steps=1)["image"].shape[0] == 1
