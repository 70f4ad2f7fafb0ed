"""Ctrl-C: what was going on is told, the status is 130, the terminal stays sane."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = "import sys; from ntsim.cli import main; sys.exit(main())"
TICKING = """
from ntsim.wdm import *

def DriverEntry(DriverObject, RegistryPath):
    Interval = LARGE_INTEGER()
    Interval.QuadPart = -10000
    DbgPrint("started\\n")
    while True:
        KeDelayExecutionThread(KernelMode, FALSE, Interval)
"""
STUBBORN = """
from ntsim.wdm import *

def DriverEntry(DriverObject, RegistryPath):
    DbgPrint("started\\n")
    return max(map(lambda n: n, range(10**12)))
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGINT of a child process")


ENDLESS = REPOSITORY / "driver/c/endless.sys"


def start(source: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    path = folder / "driver.py"
    path.write_text(source)
    return start_file(path, *options)


def start_file(path: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-c", PROGRAM, "run", str(path), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def work(process: subprocess.Popen[str], seconds: float = 2.0) -> None:
    """Wait until a silent run is under way: by its own time where the host tells it, which a busy
    host does not stretch."""
    statistics = Path(f"/proc/{process.pid}/stat")
    if not statistics.exists():
        time.sleep(4 * seconds)
        return
    ticks = os.sysconf("SC_CLK_TCK")
    while sum(map(int, statistics.read_text().rpartition(")")[2].split()[11:13])) < seconds * ticks:
        time.sleep(0.05)


def test_ctrl_c_tells_what_was_going_on(tmp_path: Path) -> None:
    with start(TICKING, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "DbgPrint: started\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "driver.py:9 DriverEntry" in out
    assert err == ""


def test_ctrl_c_still_prints_the_object(tmp_path: Path) -> None:
    with start(TICKING, tmp_path, "--json") as process:
        work(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    result = json.loads(out)
    assert (result["outcome"], result["error"]) == ("interrupted", None)
    assert err == ""


def test_a_second_ctrl_c_ends_code_that_never_gives_its_turn_up(tmp_path: Path) -> None:
    with start(STUBBORN, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "DbgPrint: started\n"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "driver.py:6 did not give its turn up" in out


def test_ctrl_c_in_machine_code_tells_where_it_was() -> None:
    with start_file(ENDLESS, "--processors", "2") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "DbgPrint: started\n"
        assert process.stdout.readline() == "DbgPrint: still\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"System thread \S+, PASSIVE_LEVEL.*\n +at endless!sub_\w+\+0x", out)
    assert "REPLAY:" in out
    assert err == ""


def test_ctrl_c_in_machine_code_still_prints_the_object() -> None:
    with start_file(ENDLESS, "--json", "--seed", "3") as process:
        work(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    result = json.loads(out)
    assert (result["outcome"], result["error"]) == ("interrupted", None)
    assert result["debug_output"][:2] == ["started", "still"]
    assert err == ""
