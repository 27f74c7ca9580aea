"""What a node changes for the whole process is put back, and the node is named; what a program sets belongs to keys."""

import locale
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pil
from PIL import ImageFile
from toys import flow, use

from latentloom.api import Session
from latentloom.engine import Image, node
from latentloom.engine.events import Event, NodeWarning
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.engine.types.values import VALUE_TYPES


def _enter_autocast() -> None:
    torch.autocast("cpu", torch.bfloat16).__enter__()


def _set_sdpa() -> None:
    torch.nn.functional.scaled_dot_product_attention = lambda q, k, v, **_: v


CHANGES: dict[str, tuple[Callable[[], Any], str]] = {
    "dtype": (lambda: torch.set_default_dtype(torch.float64), "the default dtype (torch.float32 became torch.float64)"),
    "device": (lambda: torch.set_default_device("meta"), "the default device"),
    "entered device": (lambda: torch.device("meta").__enter__(), "the default device"),
    "autocast": (_enter_autocast, "autocast"),
    "precision": (lambda: torch.set_float32_matmul_precision("medium"), "the precision of matrix products"),
    "products": (
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        "the precision of matrix products",
    ),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True, warn_only=True), "deterministic algorithms"),
    "benchmark": (lambda: setattr(torch.backends.cudnn, "benchmark", True), "torch.backends.cudnn.benchmark"),
    "denormal": (lambda: torch.set_flush_denormal(True), "denormal numbers (True became False)"),
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "the number of threads"),
    "attention": (_set_sdpa, "torch.nn.functional (scaled_dot_product_attention)"),
    "sdp": (lambda: torch.backends.cuda.enable_flash_sdp(False), "torch.backends.cuda.enable_flash_sdp"),
    "numpy": (lambda: np.seterr(all="raise"), "what numpy does at numeric errors"),
    "truncated": (lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True), "PIL.ImageFile.LOAD_TRUNCATED_IMAGES"),
    "bombs": (lambda: setattr(Pil, "MAX_IMAGE_PIXELS", None), "PIL.Image.MAX_IMAGE_PIXELS"),
    "folder": (lambda: os.chdir("/"), "the working folder"),
    "added": (lambda: os.environ.update(LOOM_ADDED="1"), "environment variables (LOOM_ADDED)"),
    "changed": (lambda: os.environ.update(PATH="/nowhere"), "environment variables (PATH)"),
    "removed": (lambda: os.environ.pop("PATH"), "environment variables (PATH)"),
    "locale": (lambda: locale.setlocale(locale.LC_ALL, "C"), "the locale"),
    "recursion": (lambda: sys.setrecursionlimit(50_000), "the recursion limit"),
    "sockets": (lambda: socket.setdefaulttimeout(5), "the time limit of sockets (None became 5.0)"),
    "warnings": (lambda: warnings.simplefilter("error"), "warnings that raise"),
    "signals": (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN), "signal handlers"),
}


@node("Change")
def change(what: str) -> int:
    """Change something for all that comes after."""
    CHANGES[what][0]()
    return 1


@node("ChangeAsync")
async def change_async(what: str) -> int:
    """The same, without holding others up."""
    CHANGES[what][0]()
    return 1


@node("ChangeAndFail")
def change_and_fail(what: str) -> int:
    """The same, and then fail."""
    CHANGES[what][0]()
    raise ValueError("no such luck")


@node("Within")
def within() -> int:
    """Change something for as long as it is needed."""
    was = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.set_default_dtype(was)
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"), np.errstate(all="raise"):
        return 1


@node("Gradients")
async def gradients() -> bool:
    """Whether gradients are recorded."""
    return torch.is_grad_enabled()


@node("Dtype")
def dtype(level: float = 0.5) -> Image:
    """A picture that depends on the default dtype."""
    return Image(np.full((1, 4, 4, 3), level if torch.get_default_dtype() == torch.float32 else 1.0, np.float32))


@node("Disturbed")
def disturbed(level: float = 0.5) -> Image:
    """A picture while whose making another thread sets the default dtype."""
    thread = threading.Thread(target=torch.set_default_dtype, args=(torch.float64,))
    thread.start()
    thread.join()
    return dtype(level)


NODES = tuple(thing for thing in list(globals().values()) if hasattr(thing, "__loom_node__"))


def registry(*, builtin: bool = False) -> Registry:
    made = Registration(Distribution("changers", "1.0", "toys", "code", builtin))
    made.node(*NODES)
    for cls in VALUE_TYPES:
        made.type(cls)
    return Registry([made])


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)}), registry()) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert torch.get_default_dtype() == torch.float32


def state() -> dict[str, Any]:
    """All that the changes touch."""
    backends = torch.backends
    return {
        "torch": (
            torch.get_default_dtype(),
            torch.empty(0).device,
            torch.is_autocast_enabled("cpu"),
            torch.get_float32_matmul_precision(),
            backends.mkldnn.matmul.fp32_precision in ("none", "ieee"),
            torch.are_deterministic_algorithms_enabled(),
            backends.cudnn.benchmark,
            torch.get_num_threads(),
            torch.nn.functional.scaled_dot_product_attention,
            backends.cuda.flash_sdp_enabled(),
            torch.is_grad_enabled(),
        ),
        "denormal": sys.float_info.min / 2 != 0,
        "numpy": np.geterr(),
        "pillow": (ImageFile.LOAD_TRUNCATED_IMAGES, Pil.MAX_IMAGE_PIXELS),
        "python": (os.getcwd(), dict(os.environ), locale.setlocale(locale.LC_ALL), sys.getrecursionlimit()),
        "more": (socket.getdefaulttimeout(), signal.getsignal(signal.SIGINT)),
        "errors": [item for item in warnings.filters if item[0] == "error"],
    }


def warned(session: Session, document: dict[str, Any]) -> list[str]:
    """The codes and messages of a run's warnings, whatever its end."""
    heard: list[Event] = []
    session.run_job(session.prepare(document), listen=heard.append)
    return [f"{event.node} {event.code}: {event.message}" for event in heard if isinstance(event, NodeWarning)]


@pytest.mark.parametrize("type", ["Change", "ChangeAsync", "ChangeAndFail"])
@pytest.mark.parametrize("what", CHANGES)
def test_what_a_node_changes_is_put_back_and_told(session: Session, what: str, type: str) -> None:
    if (what, type) in (("signals", "ChangeAsync"), ("locale", "ChangeAsync")) and what == "signals":
        return  # only the main thread can
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    if what == "signals":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
    before = state()
    (text,) = warned(session, flow("c", c=use(type, what=what)))
    assert text.startswith(f"c state_changed: toys/{type} changed {CHANGES[what][1]}")
    assert text.endswith(" for the whole process; it was restored")
    assert state() == before


def test_what_a_node_puts_back_itself_is_its_own_business(session: Session) -> None:
    assert warned(session, flow("w", w=use("Within"))) == []


def test_an_async_node_records_no_gradients(session: Session) -> None:
    assert session.run(flow("g", g=use("Gradients")))["o0"] is False


def test_later_pictures_do_not_depend_on_it(session: Session, tmp_path: Path) -> None:
    """The change that was found in the wild: a job of its own, then a picture of other nodes."""
    truth = np.full((1, 4, 4, 3), 0.5, np.float32)
    session.run(flow("c", c=use("Change", what="dtype")))
    for cache in (True, False):
        assert (session.run(flow("d.image", d=use("Dtype")), cache=cache)["o0"].numpy() == truth).all()


def test_what_the_program_set_itself_stays_and_belongs_to_the_keys(session: Session) -> None:
    document = flow("d.image", d=use("Dtype"))
    usual = float(session.run(document)["o0"].numpy().max())
    torch.set_default_dtype(torch.float64)
    try:
        other = [float(session.run(document, cache=cache)["o0"].numpy().max()) for cache in (True, False, True)]
        assert torch.get_default_dtype() == torch.float64
        (explained,) = session.explain(document)
        assert explained.status == "hit"
    finally:
        torch.set_default_dtype(torch.float32)
    assert (usual, other) == (0.5, [1.0, 1.0, 1.0])
    assert float(session.run(document)["o0"].numpy().max()) == 0.5


def test_a_built_in_node_that_was_disturbed_is_not_kept(tmp_path: Path) -> None:
    document = {"format": "latentloom/1", "name": "test", "nodes": {"d": {"type": "Disturbed"}}}
    document["outputs"] = [{"name": "o0", "from": {"node": "d", "output": "image"}}]
    with Session(load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)}), registry(builtin=True)) as session:
        for _ in range(2):
            (text,) = warned(session, document)
            assert text == (
                "d state_changed: something changed the default dtype (torch.float32 became torch.float64) while "
                "Disturbed ran; it was restored, and the result is not kept"
            )


def test_several_runs_at_once_put_back_what_was_there_before_all(session: Session) -> None:
    threads = [
        threading.Thread(target=session.run, args=(flow("c", c=use("Change", what=what)),))
        for what in ("dtype", "folder", "precision", "added") * 3
    ]
    before = state()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state() == before
