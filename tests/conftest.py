"""A test may be skipped only where it needs a GPU: any other skip fails the run."""

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU; may be skipped")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.skipped and not item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: only tests marked gpu may be"
