"""What `loom doctor` says of libraries that cannot be imported: real packages that break as real ones do."""

import sys
from importlib import metadata

import pytest

from latentloom.cli.import_check import fault_of, import_faults

TORCHVISION = """
import torch

@torch.library.register_fake("torchvision::nms")
def meta_nms(dets, scores, iou_threshold):
    return dets
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A function that installs a package in a folder that new processes look into first."""
    folder = tmp_path / "site"
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def install(name: str, code: str, requires: str | None = None, **modules: str) -> None:
        package = folder / name
        package.mkdir(parents=True)
        for module, text in {"__init__": code, **modules}.items():
            (package / f"{module}.py").write_text(text)
        information = folder / f"{name}-9.1.dist-info"
        information.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.1\n{needs}")
        (information / "top_level.txt").write_text(name)
        monkeypatch.setattr(sys, "path", [str(folder), *(path for path in sys.path if path != str(folder))])

    return install


def told(process) -> tuple[int, list[str]]:
    out, _ = process.communicate()
    return process.returncode, out.splitlines()


def test_doctor_names_a_torchvision_that_was_built_for_another_torch(loom_process, site):
    site("torchvision", TORCHVISION, transforms="")

    code, lines = told(loom_process("doctor"))

    broken = [line for line in lines if line.startswith("broken")]
    assert code == 1
    assert len(broken) == 1, lines
    assert broken[0].startswith("broken  libraries: ")
    assert broken[0].endswith(
        " cannot be imported: torchvision 9.1 raises RuntimeError: operator torchvision::nms does not exist"
    )
    assert lines[lines.index(broken[0]) + 1] == (
        "        tip: `pip install --force-reinstall torchvision`, from the index that"
        f" torch {metadata.version('torch')} came from; or `pip uninstall torchvision`, which nothing here needs"
    )


def test_doctor_names_what_breaks_torch(loom_process, site):
    site("torch", "import bent", transforms="")
    site("bent", "raise OSError('libbent.so.7: cannot open shared object file')")

    code, lines = told(loom_process("doctor"))

    assert code == 1
    expected = "torch cannot be imported: bent 9.1 raises OSError: libbent.so.7: cannot open shared object file"
    assert f"broken  PyTorch: {expected}" in lines


def test_the_cause_is_found_below_those_who_wrap_it(site):
    site("outer", "try:\n    import middle\nexcept Exception as error:\n    raise RuntimeError('see above') from error")
    site("middle", "import inner")
    site("inner", "raise ValueError('too old')", requires="something")

    [fault] = import_faults(["json", "outer"])

    assert (fault.module, fault.culprit, fault.error) == ("outer", "inner", "ValueError: too old")
    assert fault.text() == "outer cannot be imported: inner 9.1 raises ValueError: too old"


def test_what_others_need_is_not_to_be_uninstalled(site):
    site("inner", "raise ValueError('too old')")
    site("user", "", requires="Inner>=2")

    [fault] = import_faults(["inner"])

    assert fault.text() == "inner cannot be imported: ValueError: too old"
    assert fault.tip().startswith("`pip install --force-reinstall inner`, from the index that torch ")
    assert "uninstall" not in fault.tip()


def test_what_is_missing_is_to_be_installed(site):
    site("outer", "import a_module_that_nobody_has.part")

    [fault] = import_faults(["outer"])

    assert fault.error == "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    assert fault.tip() == "pip install a_module_that_nobody_has"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the process was ended by SIGSEGV"),
        ("import os; os._exit(3)", "the process ended with 3"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
    ],
)
def test_a_package_that_takes_the_process_down_is_named(site, code, error):
    site("heavy", code)

    found = import_faults(["json", "heavy", "wave"])

    assert [(fault.module, fault.culprit, fault.error) for fault in found] == [("heavy", "heavy", error)]


def test_what_a_package_prints_is_no_answer(site):
    site("chatty", "print('{\"module\": ')\nprint('hello')")

    assert import_faults(["chatty", "json"]) == []


def test_a_fault_in_a_library_itself_names_the_library():
    try:
        raise ValueError("x")
    except ValueError as error:
        fault = fault_of("diffusers.models", error.with_traceback(None))

    assert (fault.culprit, fault.error) == ("diffusers", "ValueError: x")
