"""A random transformer of a billion numbers in bf16, fp8 and GGUF Q8_0: peak resident memory and seconds per step.

python benchmarks/packed_bench.py [--folder DIR] [--rounds 2] [--steps 3] [--size 256]

Each run is a process of its own; the forms take turns in each round. Resident memory counts the pages of mapped files.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from latentloom.api import Session
from latentloom.engine import FileIdentity, Model
from latentloom.engine.models.device import PlainDevice
from latentloom.engine.models.environment import probe
from latentloom.engine.models.host_memory import resident_bytes
from latentloom.engine.models.store import Budgets, ModelStore
from latentloom.engine.settings import load_settings

WIDTH, HEAD, LAYERS, CAPTION = 1536, 128, 31, 2560  # its inner width is 4096, whole blocks of Q8_0
RENAMED = (  # of diffusers' names to the authors'
    ("all_final_layer.2-1.", "final_layer."),
    ("all_x_embedder.2-1.", "x_embedder."),
    (".attention.to_out.0.", ".attention.out."),
    (".attention.norm_k.", ".attention.k_norm."),
    (".attention.norm_q.", ".attention.q_norm."),
)
FORMS = ("bf16", "fp8", "Q8_0")
TABLE = 2**20  # random numbers; a whole number of blocks
BLOCK = 32  # numbers of a block of Q8_0


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Z-Image of that size, as its authors have them."""
    from diffusers import ZImageTransformer2DModel

    with torch.device("meta"):
        module = ZImageTransformer2DModel(
            in_channels=16,
            dim=WIDTH,
            n_layers=LAYERS,
            n_refiner_layers=2,
            n_heads=WIDTH // HEAD,
            n_kv_heads=WIDTH // HEAD,
            cap_feat_dim=CAPTION,
            axes_dims=[32, 48, 48],
        )
    found = {}
    for name, tensor in module.state_dict().items():
        for ours, theirs in RENAMED:
            name = name.replace(ours, theirs)
        if ".attention.to_q." in name:
            found[name.replace("to_q", "qkv")] = (3 * tensor.shape[0], tensor.shape[1])
        elif ".attention.to_k." not in name and ".attention.to_v." not in name:
            found[name] = tuple(tensor.shape)
    return found


def weights() -> Iterator[tuple[str, Tensor]]:
    """Weights in bf16, each of a scale that keeps activations finite: copies of one table of random numbers."""
    table = torch.randn(TABLE, generator=torch.Generator().manual_seed(0))
    for name, shape in shapes().items():
        norm = "norm" in name and len(shape) == 1
        numbers = table * 0.02 + 1 if norm else table * (shape[-1] ** -0.5)
        yield name, _tiled(numbers.bfloat16(), shape)


def _tiled(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeat numbers until they fill a shape."""
    count = torch.Size(shape).numel()
    return part.repeat(-(-count // len(part)))[:count].view(shape)


def write(path: Path, form: str) -> None:
    """Write the file of a form: matrices packed, everything else in bf16."""
    if form == "Q8_0":
        _write_gguf(path)
        return
    made = {}
    for name, tensor in weights():
        made[name] = tensor
        if form == "fp8" and tensor.ndim == 2 and name.endswith(".weight"):
            part = tensor.flatten()[:TABLE].float()
            scale = part.abs().max() / 448
            made[name] = _tiled((part / scale).to(torch.float8_e4m3fn).view(torch.uint8), tuple(tensor.shape)).view(
                torch.float8_e4m3fn
            )
            made[name.replace(".weight", ".scale_weight")] = scale
    save_file(made, path)


def _write_gguf(path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "lumina2")
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in weights():
        if tensor.ndim == 2 and tensor.shape[1] % BLOCK == 0:
            part = tensor.flatten()[:TABLE].float().numpy().reshape(-1, BLOCK)
            blocks = torch.from_numpy(gguf.quants.quantize(part, kind)).flatten()
            rows, columns = tensor.shape
            packed = _tiled(blocks, (rows, columns // BLOCK * (BLOCK + 2))).numpy()
            writer.add_tensor(name, packed, raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def peak_bytes() -> int:
    """The most bytes that this process had resident; getrusage would count the process that started it too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measure(path: Path, steps: int, size: int) -> None:
    """Load one file and step; print bytes before loading, at the peak, and seconds per step."""
    from latentloom.nodes.families.z_image import ZImage

    settings = load_settings({"dtype": "bf16"}, {"LATENTLOOM_HOME": str(path.parent)})
    environment = probe(settings)
    with Session(settings) as session:
        kind, info = session.engine.recognise(path) or ("", {})
        store = ModelStore(session.engine.registry, lambda: environment, lambda _: path, Budgets(), PlainDevice)
        handle = Model(kind, [FileIdentity(path.name, "0" * 64)], {**info["unet"], "component": "unet"})
        import diffusers  # noqa: F401  # what every run imports counts before

        before = resident_bytes()
        x = torch.randn(1, 16, size // 8, size // 8, dtype=torch.bfloat16)
        prompt = torch.randn(1, 32, CAPTION, dtype=torch.bfloat16)
        told = {"prompt": prompt, "prompt_mask": torch.ones(1, 32)}
        seconds, work = [], []
        with store.load([handle]) as (module,), torch.no_grad():
            for _ in range(steps):
                begin, used = time.perf_counter(), time.process_time()
                found = ZImage().answer(module, x, torch.tensor([0.5]), told)
                seconds.append(time.perf_counter() - begin)
                work.append(time.process_time() - used)
        assert found.isfinite().all()
    print(before, peak_bytes(), statistics.median(seconds[1:]), statistics.median(work[1:]), flush=True)


def run(path: Path, given: argparse.Namespace) -> list[float]:
    """Measure one file in a process of its own; see `measure`."""
    command = [sys.executable, __file__, "--measure", path, "--steps", given.steps, "--size", given.size]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def line(form: str, measured: list[float], ratios: list[float]) -> str:
    """Return a form's figures as text: bytes before and at the peak, seconds of a step, and the ratios to bf16."""
    before, peak, step, work = measured
    return (
        f"{form:5} before {before / 2**30:.2f} GiB, peak {peak / 2**30:.2f} GiB ({ratios[1]:.3f}), "
        f"step {step:.2f} s ({ratios[2]:.3f}), of the processor {work:.2f} s ({ratios[3]:.3f})"
    )


def run_round(paths: Mapping[str, Path], given: argparse.Namespace) -> dict[str, tuple[list[float], list[float]]]:
    """Measure each form once; return the figures, and their ratios to bf16. Each is printed as it comes."""
    found = dict[str, tuple[list[float], list[float]]]()
    for form, path in paths.items():
        measured = run(path, given)
        base = found[FORMS[0]][0] if found else measured
        found[form] = (measured, [a / b for a, b in zip(measured, base, strict=True)])
        print(line(form, *found[form]), flush=True)
    return found


def main() -> None:
    """Write the files and compare the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.steps, given.size)
        return
    numbers = sum(torch.Size(shape).numel() for shape in shapes().values())
    print(f"{numbers / 1e9:.2f} billion numbers, {given.size}x{given.size} pixels", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        paths = {form: folder / f"{form}.{'gguf' if form == 'Q8_0' else 'safetensors'}" for form in FORMS}
        for form, path in paths.items():
            if not path.exists():
                write(path, form)
            print(f"{form:5} {path.stat().st_size / 2**30:.2f} GiB on disk", flush=True)
        rounds = [run_round(paths, given) for _ in range(given.rounds)]
    print("medians", flush=True)
    for form in FORMS:
        columns = [zip(*(one[form][part] for one in rounds), strict=True) for part in (0, 1)]
        print(line(form, *([statistics.median(column) for column in part] for part in columns)))


if __name__ == "__main__":
    main()
