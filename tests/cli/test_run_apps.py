"""`ntsim run` with apps: their output, arguments and ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from ntsim.cli import main

HELLO = str(Path(__file__).resolve().parents[2] / "driver" / "hello.py")
OPEN = 'CreateFile(r"\\\\.\\{}", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None)'


def app(folder: Path, body: str, name: str = "app.py") -> str:
    path = folder / name
    path.write_text(f"import sys\n\nfrom ntsim.win32 import *\n\n{body}\n")
    return str(path)


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = main(["run", HELLO, "--json", *arguments])
    return status, json.loads(capsys.readouterr().out)


def test_arguments_output_and_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = app(tmp_path, 'print(sys.argv[1:])\nsys.stderr.write("no\\n")\nsys.exit(7)')
    status, result = run_json(capsys, "--app", path, "--", "one", "--seed", "--")
    assert (status, result["outcome"], result["expected"]) == (1, "completed", False)
    assert result["apps"] == [
        {
            "name": "app.exe",
            "exit_code": 7,
            "stdout": "['one', '--seed', '--']\n",
            "stderr": "no\n",
        }
    ]


def test_output_appears_on_the_streams_it_was_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = app(tmp_path, 'print("schön")\nsys.stderr.write("warning\\n")')
    assert main(["run", HELLO, "--app", path]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("schön\n")
    assert captured.err == "warning\n"


def test_several_apps_run_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = app(tmp_path, "Sleep(1000)\nprint(1)", "first.py")
    second = app(tmp_path, "Sleep(1000)\nprint(2)", "second.py")
    status, result = run_json(capsys, "--app", first, "--app", second)
    assert status == 0
    assert [(each["name"], each["stdout"]) for each in result["apps"]] == [
        ("first.exe", "1\n"),
        ("second.exe", "2\n"),
    ]


def test_a_missing_device_is_the_apps_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = app(tmp_path, OPEN.format("NoSuchDevice"))
    status, result = run_json(capsys, "--app", path)
    (ended,) = result["apps"]
    assert (status, result["outcome"], ended["exit_code"]) == (1, "completed", 1)
    assert "app.py" in ended["stderr"]
    assert "The system cannot find the file specified." in ended["stderr"]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("DeviceIoControl(device, HELLO_GREET, b'x', 3)", 122),
        ("DeviceIoControl(device, HELLO_GREET, b'', 0)", 122),
        ("DeviceIoControl(device, HELLO_GREET, (0x10000, 8), 100)", 998),
        ("DeviceIoControl(device, HELLO_GREET, b'x', (0xFFFFF80000000000, 100))", 998),
        ("DeviceIoControl(device, 0x22E004, b'', 0)", 1),
        ("ReadFile(device, 10)", 1),
        ("DeviceIoControl(0x1234, HELLO_GREET, b'x', 100)", 6),
    ],
)
def test_bad_requests_fail_with_windows_error_and_the_machine_goes_on(
    call: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f"""HELLO_GREET = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
device = {OPEN.format("Hello")}
try:
    {call}
except error as e:
    print(e.winerror)
print(DeviceIoControl(device, HELLO_GREET, b"again", 100).decode())"""
    status, result = run_json(capsys, "--app", app(tmp_path, body))
    assert (status, result["outcome"]) == (0, "completed"), result
    assert result["apps"][0]["stdout"] == f"{code}\nHello, again!\n"


def test_an_access_violation_ends_the_app_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = app(tmp_path, "from ntsim.wdm import PULONG, cast\nprint(cast(0, PULONG)[0])")
    status, result = run_json(capsys, "--app", path)
    assert (status, result["outcome"]) == (1, "completed")
    assert result["apps"][0]["exit_code"] == 0xC0000005


def test_an_app_that_waits_for_nothing_is_a_hang(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = app(tmp_path, "WaitForSingleObject(CreateEvent(None, True, False, None), INFINITE)")
    status, result = run_json(capsys, "--app", path)
    assert (status, result["outcome"], result["apps"][0]["exit_code"]) == (1, "hang", None)
    assert "app.exe" in result["error"]["message"]


@pytest.mark.parametrize("body", ["while True:\n    Sleep(10)", "while True:\n    pass"])
def test_an_app_that_never_ends_is_a_hang(
    body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = run_json(capsys, "--app", app(tmp_path, body), "--limit", "0.3")
    assert (status, result["outcome"]) == (1, "hang")


def test_real_time_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = run_json(capsys, "--app", app(tmp_path, "import time"))
    assert status == 1
    assert "Sleep" in result["apps"][0]["stderr"]


def test_a_hang_shows_the_apps_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = app(tmp_path, "WaitForSingleObject(CreateEvent(None, True, False, None), INFINITE)")
    main(["run", HELLO, "--app", path])
    out = capsys.readouterr().out
    assert "at app.py:5 __main__" in out
    assert "> WaitForSingleObject(" in out
