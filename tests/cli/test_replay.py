"""`ntsim replay`: a schedule, or the result of an earlier run."""

import json
from pathlib import Path

import pytest

from ntsim.cli import main

DRIVER = """
from ntsim.wdm import *

def DriverEntry(DriverObject, RegistryPath):
    DbgPrint("%p\\n", ExAllocatePoolWithTag(NonPagedPool, 64, 0x31313131))
    return STATUS_SUCCESS
"""


@pytest.fixture
def driver(tmp_path: Path) -> str:
    path = tmp_path / "driver.py"
    path.write_text(DRIVER)
    return str(path)


@pytest.fixture
def recorded(driver: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The result of a run, in a file."""
    main(["run", driver, "--seed", "3", "--processors", "2", "--json"])
    path = tmp_path / "result.json"
    path.write_text(capsys.readouterr().out)
    return str(path)


def test_a_result_is_the_same_again(
    driver: str, recorded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", recorded, driver]) == 0
    assert "The same as recorded." in capsys.readouterr().out
    main(["replay", recorded, driver, "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(Path(recorded).read_text())


def test_a_changed_driver_is_not_the_same(
    driver: str, recorded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(driver).write_text(DRIVER.replace("%p", "%p!"))
    assert main(["replay", recorded, driver]) == 1
    out = capsys.readouterr().out
    assert "NOT the same as recorded" in out
    assert "debug_output then:" in out


def test_a_schedule_is_run(driver: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "1.random.3.2", driver, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schedule"] == "1.random.3.2"


@pytest.mark.parametrize(
    ("recorded", "message"),
    [("1.rr.0", "malformed"), ("nosuch.json", "No such file"), ("{driver}", "not the result")],
)
def test_what_cannot_be_replayed_exits_2(
    recorded: str, message: str, driver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", recorded.format(driver=driver), driver]) == 2
    assert message in capsys.readouterr().err


def test_a_schedule_alone_does_not_say_what_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "1.rr.0.4"]) == 2
    assert "ntsim replay 1.rr.0.4 TARGET" in capsys.readouterr().err
