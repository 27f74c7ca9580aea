"""GPU tests are skipped, and counted, where there is no accelerator; with CI set, any other skip is a failure.

A run ends with a table of its tests by folder, and with the tests that took the most time of the processor. Its seconds
include processes that the test began and waited for.
"""

import gc
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


@pytest.fixture(scope="module", autouse=True)
def _lasting_objects() -> None:
    """What was imported so far is there to stay: collections of garbage, one per session, need not visit it."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if accelerators(version("torch")):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))


class FailureNames:
    """Writes the name of a test when it fails, since a log of dots names none before the end of the run."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self._reporter.verbosity in (0, -1):  # a verbose run names every test, -qq none
            crash = getattr(report.longrepr, "reprcrash", None)
            message = (crash.message if crash else str(report.longrepr)).partition("\n")[0]
            self._reporter.write("\n")  # after the dots
            self._reporter.write_line(f"FAILED in {report.when}: {report.nodeid} - {message[:200]}", red=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:  # a process of pytest-xdist has none
        session.config.pluginmanager.register(FailureNames(reporter))


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
