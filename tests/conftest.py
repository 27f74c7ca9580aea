"""GPU tests are skipped, and counted, where there is no accelerator; with CI set, any other skip is a failure.

A run ends with a table of its tests by folder, and with the tests that took the most time of the processor. Its seconds
include processes that the test began and waited for.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Generator
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from latentloom.engine.models.environment import accelerators

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models gain nothing from more
# A busy machine is no fault of a property
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if accelerators(version("torch")):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))


COSTLY = 30  # tests that are listed
_measured = 0.0


def _cpu() -> float:
    return sum(os.times()[:4])


def pytest_runtest_logstart() -> None:
    global _measured
    _measured = _cpu()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    global _measured
    report = yield
    before, _measured = _measured, _cpu()
    report.cpu = _measured - before
    return report if item.get_closest_marker("gpu") else _strict(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _strict((yield))


def _strict(report):
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"skipped, which CI does not allow: {reason}"
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    folders: defaultdict[str, Counter] = defaultdict(Counter)
    tests: Counter = Counter()
    for category, reports in terminalreporter.stats.items():
        for report in reports if category not in ("warnings", "deselected") else ():
            folder = folders["/".join(PurePosixPath(report.nodeid.partition("::")[0]).parts[:-1][:3])]
            folder["seconds"] += getattr(report, "duration", 0.0)
            folder["cpu"] += getattr(report, "cpu", 0.0)
            tests[report.nodeid] += getattr(report, "cpu", 0.0)
            folder[report.outcome] += category != ""  # the set-ups and tear-downs that passed are in ""
    terminalreporter.section("tests by folder")
    terminalreporter.write_line(f"{'passed':>7}{'failed':>8}{'skipped':>9}{'seconds':>9}{'cpu':>9}")
    for name, found in sorted(folders.items()):
        counts = f"{found['passed']:7}{found['failed']:8}{found['skipped']:9}{found['seconds']:9.1f}{found['cpu']:9.1f}"
        terminalreporter.write_line(f"{counts}  {name or '.'}")
    if len(tests) > COSTLY:
        terminalreporter.section("costliest tests, in seconds of the processor")
        for name, seconds in tests.most_common(COSTLY):
            terminalreporter.write_line(f"{seconds:9.1f}  {name}")
