"""Any module of ntsim may be the first that a program imports."""

import subprocess
import sys

import pytest

FIRST = ("ntsim.win32", "ntsim.wdm", "ntsim.intrin", "ntsim.machine", "ntsim.nt.io.irp")


@pytest.mark.parametrize("module", FIRST)
def test_it_can_be_imported_first(module: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
