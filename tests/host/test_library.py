"""Library modules that look into `sys`, in drivers and apps."""

from pathlib import Path
from typing import Any

DRIVER = """
import dataclasses
from ntsim.wdm import *

@dataclasses.dataclass
class Point:
    x: int
    y: "list[int]" = dataclasses.field(default_factory=list)

def DriverEntry(DriverObject, RegistryPath):
    @dataclasses.dataclass
    class Inner:
        z: "dataclasses.InitVar[int]" = 3
    DbgPrint("%s %s", str(Point(1, [2])), dataclasses.fields(Point)[1].name)
    return STATUS_SUCCESS
"""

APP = """
import sys
from dataclasses import asdict, dataclass
from shared import Shared

@dataclass(frozen=True)
class Own:
    number: "int" = 1

print(asdict(Own()), Shared(2), sys.modules["__main__"].Own is Own)
"""

SHARED = """
from dataclasses import dataclass

@dataclass
class Shared:
    number: "int"
"""


def test_a_driver_may_declare_dataclasses(ntsim_machine: Any, tmp_path: Path) -> None:
    driver = tmp_path / "points.py"
    driver.write_text(DRIVER)
    machine = ntsim_machine()
    machine.load_driver(driver)
    assert machine.debug_output == ["Point(x=1, y=[2]) y"]


def test_an_app_and_its_modules_may_declare_dataclasses(ntsim_machine: Any, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text(SHARED)
    app = tmp_path / "app.py"
    app.write_text(APP)
    process = ntsim_machine().run(app)
    assert process.stdout == "{'number': 1} Shared(number=2) True\n", process.stderr
