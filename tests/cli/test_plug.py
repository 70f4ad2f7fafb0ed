"""`ntsim run DRIVER --plug ID`: a device for a driver of one's own."""

from pathlib import Path

import pytest

from ntsim.cli import main
from ntsim.errors import ConfigurationError
from ntsim.lab.hardware import DeviceSetup, parse_setup

DRIVER = """\
from ntsim.wdm import *

def DriverEntry(DriverObject, RegistryPath):
    DriverObject.DriverExtension.AddDevice = add
    return STATUS_SUCCESS

def add(DriverObject, Pdo):
    DbgPrint("AddDevice\\n")
    return STATUS_NOT_SUPPORTED
"""


def test_the_driver_gets_its_device_and_the_replay_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "function.py"
    path.write_text(DRIVER)
    assert main(["run", str(path), "--plug", "ROOT\\THING,irq=3"]) == 0
    printed = capsys.readouterr().out
    assert "DbgPrint: AddDevice" in printed
    assert "--plug" in printed.partition("REPLAY:")[2]


def test_a_scenario_brings_its_own_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "hello", "--plug", "ROOT\\THING"]) == 2
    assert "brings its own devices" in capsys.readouterr().err


def test_what_a_device_has_is_read_from_the_text() -> None:
    found = parse_setup("PCI\\VEN_1234,irq=5,ports=0x500:8,ports=0x60,memory=0x1000,irq=6")
    ports = ((0x500, 8), (0x60, 1))
    assert found == DeviceSetup("PCI\\VEN_1234", ports, (0x1000,), (5, 6))


@pytest.mark.parametrize("text", ["A,irq=x", "A,dma=1", "A,ports=1:2:3"])
def test_what_cannot_be_read_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--plug A,"):
        parse_setup(text)
