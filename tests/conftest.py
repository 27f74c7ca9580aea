"""GPU tests are skipped, and counted, where there is no accelerator; with CI set, any other skip is a failure."""

import os
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from latentloom.engine.models.environment import accelerators

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models gain nothing from more


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if accelerators(version("torch")):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    return report if item.get_closest_marker("gpu") else _strict(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _strict((yield))


def _strict(report):
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"skipped, which CI does not allow: {reason}"
    return report
