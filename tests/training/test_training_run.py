import io
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentloom.training.export import export_model, load_model
from latentloom.training.loop import Phase, Writer
from latentloom.training.run import Run
from latentloom.training.sample import sample
from latentloom.training.settings import Settings, TextSettings, UnetSettings, VaeSettings
from latentloom.training.vae import unevenness

TINY = Settings(
    minutes=1.5 / 60,
    shares=(0.25, 0.25, 0.25, 0.25),
    vae=VaeSettings(channels=(8, 8, 8, 8), batch=2, whole_batch=1),
    text=TextSettings(width=16, layers=1, heads=2, batch=4),
    unet=UnetSettings(channels=(8, 16), heads=2, batch=4, pictures=8),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    finished = Run(TINY, tmp_path_factory.mktemp("run"), Writer(io.StringIO()))
    finished.train()
    return finished


def test_a_run_leaves_checkpoints_and_sheets(run: Run) -> None:
    names = {file.name for file in run.out.iterdir()}
    sheets = {"vae.png", "samples.png", "decoder.png"}
    assert names == sheets | {"tokenizer", "vae.pt", "text.pt", "unet.pt", "decoder.pt", "latents"}


def test_a_run_goes_on_from_its_checkpoint(run: Run) -> None:
    before = run.progress("text")
    log = io.StringIO()
    Run(replace(TINY, minutes=2 * TINY.minutes), run.out, Writer(log)).train_text()
    after = run.progress("text")
    assert log.getvalue().startswith(f"text: resumed at step {before['step']}\n")
    assert after["step"] > before["step"]
    assert after["seen"] == after["step"] * TINY.text.batch


def test_an_exported_model_loads_and_draws_the_same(run: Run, tmp_path: Path) -> None:
    export_model(run.model(), tmp_path / "model")
    first, again = (sample(load_model(tmp_path / "model"), ["a red circle"], 7, cfg=3.0, steps=2)[0] for _ in range(2))
    assert first.shape == (128, 128, 3)
    assert (first == again).all()


def test_a_run_may_start_from_a_model_and_keep_its_text_encoder(run: Run, tmp_path: Path) -> None:
    export_model(run.model(), tmp_path / "model")
    again = Run(TINY, tmp_path / "again", Writer(io.StringIO()), base=tmp_path / "model")
    again.train(["vae", "unet"])
    model, base = again.model(), load_model(tmp_path / "model")
    assert all(torch.equal(a, b) for a, b in zip(model.encoder.parameters(), base.encoder.parameters(), strict=True))
    assert not torch.equal(model.unet.conv_in.weight, base.unet.conv_in.weight)


def test_uneven_latents_are_those_whose_channels_say_the_same_or_differ_in_size() -> None:
    even = torch.randn(4, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    same = even[:, :1].expand(-1, 4, -1, -1)
    assert unevenness(even) < 1e-3
    assert unevenness(same) == pytest.approx(12 / 16, abs=0.03)
    assert unevenness(even * 2) == pytest.approx(4 * 9 / 16, abs=0.1)


def test_a_phase_cut_short_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def train(folder: Path, cut: int) -> torch.Tensor:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 1)

        def take(step: int) -> tuple[torch.Tensor, int]:
            if step == cut:
                raise KeyboardInterrupt
            return layer(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).square().mean(), 4

        optimizer = torch.optim.AdamW(layer.parameters(), 0.1)
        ticks = itertools.count()
        phase = Phase(
            "line", folder, 6, optimizer, {"layer": layer}, Writer(io.StringIO()), 1, clock=lambda: float(next(ticks))
        )
        phase.run(take)
        return layer.weight

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", cut=3)
    assert torch.equal(train(tmp_path / "cut", cut=-1), train(tmp_path / "whole", cut=-1))


TEAM = """
import torch
from latentloom.training.team import join_team
with join_team() as team:
    weight = torch.zeros(2, requires_grad=True)
    (weight * (team.rank + 1)).sum().backward()
    spent = team.agree([weight], 10.0 + team.rank)
    assert (weight.grad.tolist(), spent) == ([1.5, 1.5], 10.0), (weight.grad, spent)
    team.wait()
"""


def test_two_processes_agree_on_gradients_and_on_the_leader_s_time(tmp_path: Path) -> None:
    script = tmp_path / "team.py"
    script.write_text(TEAM)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(torchrun, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_refuses_to_mix_runs(tmp_path: Path) -> None:
    (tmp_path / "vae.pt").touch()
    command = [sys.executable, "-m", "latentloom.training", "--out", str(tmp_path)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2
    assert refused.stdout == f"{tmp_path} already contains a run: use --resume to continue it, or another --out\n"
