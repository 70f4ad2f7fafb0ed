"""`ntsim run FILE.sys`."""

import json
from pathlib import Path

import pytest

from ntsim.cli import main

DRIVERS = Path(__file__).parents[2] / "driver/c"
APP = """
from ntsim.win32 import *
from driver.c.echo_ioctl import ECHO_BUFFERED

handle = CreateFile(r"\\\\.\\Echo", GENERIC_READ, 0, None, OPEN_EXISTING, 0, None)
print(DeviceIoControl(handle, ECHO_BUFFERED, b"hello", 5).decode())
CloseHandle(handle)
"""


def test_a_compiled_driver_and_its_app(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    status = main(["run", str(DRIVERS / "echo.sys"), "--app", str(app), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert (status, result["outcome"]) == (0, "completed")
    assert result["apps"][0]["stdout"] == "hello\n"


def test_a_driver_that_needs_an_unknown_routine_does_not_load(tmp_path, capsys) -> None:
    file = tmp_path / "wrong.sys"
    data = (DRIVERS / "hello.sys").read_bytes()
    file.write_bytes(data.replace(b"DbgPrint\0", b"DbgPrunt\0"))
    assert main(["run", str(file), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["outcome"] == "load_failed"
    assert "DbgPrunt" in result["error"]["message"]
