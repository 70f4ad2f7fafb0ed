"""Comparison with Bochs. Without the package bochscpu nothing of this folder is collected."""

from importlib.util import find_spec

import pytest

BOCHS = find_spec("bochscpu") is not None
collect_ignore_glob = [] if BOCHS else ["test_*.py"]


def pytest_report_header(config: pytest.Config) -> str:
    """Say at the top of a run whether it compares."""
    if BOCHS:
        return "differential: compared with Bochs"
    return "differential: not run, `pip install bochscpu-python` to compare with Bochs"
