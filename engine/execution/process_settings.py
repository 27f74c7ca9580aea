"""Process-wide settings: how to read and restore each one, and its usual value."""

import _signal  # type: ignore[import-not-found]  # signal.getsignal takes a hundred times as long
import locale
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import attrgetter
from typing import Any

MODULES = ("sys", "numpy", "PIL.ImageFile", "torch")
"""The modules whose settings are watched."""
ENVIRONMENT = "environment variables"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Setting:
    """One process-wide setting. `numeric`: results depend on it, and `usual` is its default value."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]
    numeric: bool = False
    usual: Any = None
    own: bool = False
    """Whether each thread has its own value."""

    def now(self) -> Any:
        """Return the current value; a dict is copied, so that later changes do not affect it."""
        value = self.get()
        return dict(value) if type(value) is dict else value


def settings_of(name: str, module: Any) -> Sequence[Setting]:
    """Return the settings of one of `MODULES`."""
    makers = {"sys": _python, "numpy": _numpy, "PIL.ImageFile": _pillow, "torch": _torch}
    return makers[name](module)


def difference(was: Any, now: Any) -> str:
    """Describe the change of a setting for a message."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        names = sorted(_text(name) for name in {*was, *now} if was.get(name) != now.get(name))
        return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])])
    return f"{was} became {now}"


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _python(_: Any) -> list[Setting]:
    return [
        Setting("the working folder", _folder, os.chdir),
        Setting(ENVIRONMENT, _environment, _set_environment),
        Setting("the locale", partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
        Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Setting("the time limit of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
        Setting("warnings that raise", _Errors(), _set_errors),
        Setting("signal handlers", _handlers, _set_handlers, own=True),
    ]


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - called after each node of a plugin, and Path takes ten times as long
    except OSError:  # the folder was removed
        return None


def _environment() -> dict[Any, Any]:
    """Return the undecoded environment: decoding it would take longer than many nodes take to run."""
    found: Any = os.environ
    return found._data  # type: ignore[no-any-return]


def _set_environment(kept: Mapping[Any, Any]) -> None:
    environment: Any = os.environ
    now = environment._data
    for name in [name for name in now if name not in kept]:
        del environment[environment.decodekey(name)]
    for name in [name for name in kept if now.get(name) != kept[name]]:
        environment[environment.decodekey(name)] = environment.decodevalue(kept[name])


class _Errors:
    """The filters of warnings that raise. Most calls find the list of all filters unchanged."""

    def __init__(self) -> None:
        self._seen: tuple[list[Any], list[Any]] = [], []  # all filters, and those that raise

    def __call__(self) -> list[Any]:
        filters, found = self._seen
        if warnings.filters != filters:
            filters = list(warnings.filters)
            found = [item for item in filters if item[0] == "error"]
            self._seen = filters, found
        return found


def _set_errors(kept: Sequence[Any]) -> None:
    warnings.filters[:] = [*kept, *(item for item in warnings.filters if item[0] != "error")]  # type: ignore[index]


def _handlers() -> tuple[Any, ...]:
    """Return the signal handlers; () in any other thread than the main one, which alone can set them."""
    if threading.get_ident() != threading.main_thread().ident:
        return ()
    return tuple(map(_signal.getsignal, SIGNALS))


def _set_handlers(kept: Sequence[Any]) -> None:
    for number, handler in zip(SIGNALS, kept, strict=True):
        signal.signal(number, handler)


def _numpy(numpy: Any) -> list[Setting]:
    return [Setting("what numpy does at numeric errors", numpy.geterr, lambda kept: numpy.seterr(**kept), own=True)]


def _pillow(files: Any) -> list[Setting]:
    return [
        _attribute(files, "LOAD_TRUNCATED_IMAGES", "PIL.ImageFile.", numeric=True, usual=False),
        _attribute(sys.modules["PIL.Image"], "MAX_IMAGE_PIXELS", "PIL.Image."),
    ]


def _torch(torch: Any) -> list[Setting]:
    functions = vars(torch.nn.functional)
    return [
        Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype, True, torch.float32),
        Setting("the default device", partial(_modes, torch), partial(_set_modes, torch), True, (), own=True),
        Setting("autocast", partial(_autocast, torch), partial(_set_autocast, torch), True, _UNCAST, own=True),
        Setting("gradients", torch.is_grad_enabled, torch.set_grad_enabled, own=True),
        Setting(
            "the precision of matrix products",
            partial(_precision, torch),
            torch.set_float32_matmul_precision,
            True,
            "highest",
        ),
        Setting("the precision of each backend", partial(_precisions, torch), partial(_set_precisions, torch)),
        Setting(
            "deterministic algorithms",
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda kept: torch.use_deterministic_algorithms(kept[0], warn_only=kept[1]),
            True,
            (False, False),
        ),
        Setting("denormal numbers", _denormal, lambda kept: torch.set_flush_denormal(not kept), True, True, own=True),
        Setting("the number of threads", torch.get_num_threads, torch.set_num_threads, own=True),
        _attribute(torch, "backends.cudnn.benchmark", "torch.", numeric=True, usual=False),
        _attribute(torch, "backends.cudnn.deterministic", "torch.", numeric=True, usual=False),
        *(_attribute(torch, f"backends.{name}", "torch.") for name in _BACKENDS),
        *(
            Setting(
                f"torch.backends.cuda.enable_{name}_sdp",
                getattr(torch.backends.cuda, f"{name}_sdp_enabled"),
                getattr(torch.backends.cuda, f"enable_{name}_sdp"),
            )
            for name in ("flash", "mem_efficient", "math", "cudnn")
        ),
        Setting("torch.nn.functional", lambda: functions, partial(_set_items, functions)),
    ]


def _set_items(items: dict[str, Any], kept: Mapping[str, Any]) -> None:
    for name in items.keys() - kept.keys():
        del items[name]
    items.update(kept)


_BACKENDS = (
    "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_bf16_reduced_precision_reduction",
    "cudnn.enabled",
    "mkldnn.enabled",
)
_PRECISIONS = ("", "cuda.matmul.", "cudnn.conv.", "cudnn.rnn.", "mkldnn.matmul.", "mkldnn.conv.", "mkldnn.rnn.")


def _precision(torch: Any) -> str:
    """Return the float32 precision of matrix products, as set through torch's older API."""
    try:
        return str(torch.get_float32_matmul_precision())
    except RuntimeError:  # torch raises if both APIs were used to set it
        return "mixed"


def _precisions(torch: Any) -> dict[str, str]:
    """Return the float32 precision of each backend, as set through torch's newer API."""
    return {f"{name}fp32_precision": attrgetter(f"{name}fp32_precision")(torch.backends) for name in _PRECISIONS}


def _set_precisions(torch: Any, kept: Mapping[str, str]) -> None:
    for path, value in kept.items():
        *owners, name = path.split(".")
        setattr(reduce(getattr, owners, torch.backends), name, value)


def _attribute(module: Any, path: str, prefix: str, *, numeric: bool = False, usual: Any = None) -> Setting:
    *owners, name = path.split(".")
    owner = reduce(getattr, owners, module)
    return Setting(prefix + path, lambda: getattr(owner, name), lambda kept: setattr(owner, name, kept), numeric, usual)


def _modes(torch: Any) -> tuple[Any, ...]:
    """Return the stack of active torch function modes, such as the default device."""
    return tuple(torch.overrides._get_current_function_mode_stack()) if torch._C._len_torch_function_stack() else ()


def _set_modes(torch: Any, kept: Sequence[Any]) -> None:
    torch.set_default_device(None)
    for _ in _modes(torch):
        torch.overrides._pop_mode()
    for mode in kept:
        torch.set_default_device(mode.device) if hasattr(mode, "device") else torch.overrides._push_mode(mode)


_UNCAST = tuple((device, False) for device in DEVICES)


def _autocast(torch: Any) -> tuple[tuple[str, bool], ...]:
    return tuple((device, torch.is_autocast_enabled(device)) for device in DEVICES)


def _set_autocast(torch: Any, kept: Sequence[tuple[str, bool]]) -> None:
    for device, enabled in kept:
        torch.set_autocast_enabled(device, enabled)


def _denormal() -> bool:
    """Whether the CPU computes with denormal numbers instead of flushing them to zero."""
    return sys.float_info.min / 2 != 0.0
