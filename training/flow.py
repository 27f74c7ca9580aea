"""Trains the flow-matching sibling of the embedded model: same captions, latents, VAE and text encoder.

python -m latentloom.training.flow --out runs/flow --minutes 75
torchrun --nproc-per-node 2 -m latentloom.training.flow --out runs/flow    (two processes, faster)
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from latentloom.training.denoiser import Average, DenoiserSteps
from latentloom.training.export import export_model, load_flow, load_model
from latentloom.training.latents import cache_latents
from latentloom.training.loop import Part, Phase, Writer
from latentloom.training.optimizers import muon
from latentloom.training.sample import Model
from latentloom.training.score import score, table
from latentloom.training.settings import FlowSettings
from latentloom.training.team import Team, join_team
from latentloom.training.transformer import FlowModel, Velocity, create_transformer

SHAPES = Path(__file__).parents[1] / "nodes" / "embedded" / "checkpoints" / "shapes"
GUIDANCE = (0.0, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class FlowRun:
    """A training run in its own folder: latents/, flow.pt and model/."""

    settings: FlowSettings
    base: Model
    out: Path
    writer: Writer
    team: Team = field(default_factory=Team)

    def train(self, minutes: float) -> None:
        """Train until the minutes are spent, starting from the checkpoint in the folder if there is one."""
        settings = self.settings
        if not self.team.leads:
            self.team.wait()
        data = cache_latents(self.base.vae, self.out / "latents", settings.seed, settings.pictures, self.writer)
        if self.team.leads:
            self.team.wait()
        torch.manual_seed(settings.seed)
        net = create_transformer(settings, self.base.encoder.config.hidden_size)
        average = Average(net, settings.average)
        optimizer = muon(net, net.transformer_blocks, settings.rate, settings.matrix_rate)
        parts: dict[str, Part] = {"net": net, "average": average}
        phase = Phase(
            "flow", self.out, minutes * 60, optimizer, parts, self.writer, 240.0, self.team, warm=settings.warm
        )
        encoder, captions = self.base.encoder, self.base.captions
        objective = Velocity(settings.location)
        phase.run(DenoiserSteps(net, encoder, captions, data, average, objective, settings, settings.seed))

    def model(self) -> FlowModel:
        """Return the averaged model of the checkpoint, at any time during training."""
        state = torch.load(self.out / "flow.pt", weights_only=True)
        net = create_transformer(self.settings, self.base.encoder.config.hidden_size)
        net.load_state_dict(state["average"]["weights"])
        return FlowModel(net.eval(), self.base.vae, self.base.encoder, self.base.captions)


def main() -> int:
    """Train the transformer, write the model as a folder in diffusers' layout, and score it."""
    parser = argparse.ArgumentParser(prog="python -m latentloom.training.flow", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, required=True, help="folder for latents, checkpoint and model")
    parser.add_argument("--minutes", type=float, default=75.0, help="0 only writes and scores the model")
    parser.add_argument("--base", type=Path, default=SHAPES, help="the model whose VAE and text encoder it uses")
    parser.add_argument("--captions", type=int, default=200, help="of each kind in the score")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with join_team() as team:
        run = FlowRun(FlowSettings(), load_model(arguments.base), arguments.out, Writer(sys.stdout), team)
        if arguments.minutes:
            run.train(arguments.minutes)
    if run.team.leads:
        export_model(run.model(), arguments.out / "model")
        model = load_flow(arguments.out / "model")
        run.writer.line(table({cfg: score(model, cfg, arguments.captions) for cfg in GUIDANCE}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
