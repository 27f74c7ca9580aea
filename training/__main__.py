"""Trains the embedded model from scratch.

python -m latentloom.training --out runs/shapes --minutes 107
torchrun --nproc-per-node 2 -m latentloom.training --out runs/shapes --minutes 107    (two processes, faster)
"""

import argparse
import sys
from pathlib import Path

import torch

from latentloom.training.export import export_model, load_model
from latentloom.training.figures import write_figures
from latentloom.training.loop import Writer
from latentloom.training.run import PHASES, Run
from latentloom.training.score import score, table
from latentloom.training.settings import Settings
from latentloom.training.team import join_team

AFTER = ("export", "score", "figures")
GUIDANCE = (0.0, 1.0, 2.0, 5.0, 10.0)


def read_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m latentloom.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, samples and the model")
    parser.add_argument("--minutes", type=float, default=Settings().minutes, help="time limit for all phases together")
    parser.add_argument("--resume", action="store_true", help="resume from the checkpoints in the folder")
    parser.add_argument(
        "--phases", nargs="+", choices=PHASES + AFTER, default=PHASES + AFTER, help="phases to run; default: all"
    )
    parser.add_argument("--base", type=Path, help="a model folder to start from, instead of from scratch")
    parser.add_argument("--to", type=Path, help="folder for the model; default: <out>/model")
    parser.add_argument("--figures", type=Path, help="folder for the figures; default: <out>/figures")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--captions", type=int, default=200, help="captions of each kind in the score")
    return parser.parse_args()


def main() -> int:
    """Run the requested phases in order."""
    arguments = read_arguments()
    writer = Writer(sys.stdout)
    if any(arguments.out.glob("*.pt")) and not arguments.resume:
        writer.line(f"{arguments.out} already contains a run: use --resume to continue it, or another --out")
        return 2
    torch.set_num_threads(arguments.threads)
    with join_team() as team:
        run = Run(Settings(minutes=arguments.minutes), arguments.out, writer, team, arguments.base)
        run.train([phase for phase in PHASES if phase in arguments.phases])
    if run.team.leads:
        torch.set_num_threads(arguments.threads * run.team.size)
        _finish(run, arguments)
    return 0


def _finish(run: Run, arguments: argparse.Namespace) -> None:
    folder = arguments.to or arguments.out / "model"
    if "export" in arguments.phases:
        export_model(run.model(), folder)
    if "score" in arguments.phases:
        model = load_model(folder)
        run.writer.line(table({cfg: score(model, cfg, arguments.captions) for cfg in GUIDANCE}))
    if "figures" in arguments.phases:
        write_figures(load_model(folder), arguments.figures or arguments.out / "figures")


if __name__ == "__main__":
    sys.exit(main())
