"""Scheduling points in the source of drivers and apps."""

from pathlib import Path
from typing import Any

import pytest

from ntsim.errors import Hang

DRIVER = """
from ntsim.wdm import *

def DriverEntry(DriverObject, RegistryPath):
    {line}
    return STATUS_SUCCESS
"""


@pytest.mark.parametrize(
    "line",
    [
        "while True: pass",
        "for _ in iter(int, 1): pass",
        "[0 for _ in iter(int, 1) if _]",
        "any(_ for _ in iter(int, 1))",
        "{_: 0 for _ in iter(int, 1)}",
    ],
)
def test_a_loop_that_never_ends_does_not_hang_the_host(
    ntsim_machine: Any, tmp_path: Path, line: str
) -> None:
    driver = tmp_path / "forever.py"
    driver.write_text(DRIVER.format(line=line))
    machine = ntsim_machine()
    with pytest.raises(Hang):
        machine.load_driver(driver)


def test_a_comprehension_gives_what_it_would_without_points(
    ntsim_machine: Any, tmp_path: Path
) -> None:
    driver = tmp_path / "squares.py"
    line = 'DbgPrint("%s", str([(x, y) for x in range(3) if x for y in (x, x * x) if y > 1]))'
    driver.write_text(DRIVER.format(line=line))
    machine = ntsim_machine()
    machine.load_driver(driver)
    assert machine.debug_output == [
        str([(x, y) for x in range(3) if x for y in (x, x * x) if y > 1])
    ]
