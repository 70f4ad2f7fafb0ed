"""Comparison with Bochs. Without the package bochscpu nothing of this folder is collected."""

from importlib.util import find_spec

import pytest

from tests.hw.vmx.conftest import at, rig  # noqa: F401  fixtures

BOCHS = find_spec("bochscpu") is not None
collect_ignore_glob = [] if BOCHS else ["test_*.py"]


def pytest_report_header(config: pytest.Config) -> str:
    """Say at the top of a run whether it compares."""
    if BOCHS:
        return "differential: compared with Bochs"
    return "differential: not run, `pip install bochscpu-python` to compare with Bochs"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the guests that need what Bochs' processor alone does not have."""
    if not BOCHS:
        return
    from tests.differential.divergences import NOT_IN_BOCHS

    here = [item for item in items if "differential" in item.path.parts]
    left_out = [item for item in here if item.name.split("[")[0] in NOT_IN_BOCHS]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> object:
    """The guest of tests/hw/vmx, with Bochs beside it."""
    from tests.differential.divergences import DIFFERENT
    from tests.differential.twin import TwinRig

    twin = TwinRig()
    twin.expected = DIFFERENT.get(request.node.name.split("[")[0])
    return twin
