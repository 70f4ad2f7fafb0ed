"""Drivers that crash, written as C drivers are: one file, loaded by path."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import ntsim
from ntsim import win32
from ntsim.watch.report import CrashReport

Crash = Callable[..., CrashReport]
Write = Callable[[str], Path]


@pytest.fixture
def write_driver(tmp_path: Path) -> Write:
    """A function that writes driver source to bad.py, after the imports that drivers begin with."""

    def write(source: str) -> Path:
        path = tmp_path / "bad.py"
        path.write_text("from ntsim.intrin import *\nfrom ntsim.wdm import *\n" + dedent(source))
        return path

    return write


@pytest.fixture
def crash(write_driver: Write) -> Crash:
    """A function that loads a driver which must stop the machine: the report."""

    def run(source: str, **options: Any) -> CrashReport:
        with ntsim.Machine(**options) as machine:
            path = write_driver(source)
            with pytest.raises(ntsim.BugCheck):
                load_and_run(machine, path)
            report: CrashReport = machine.report()
            return report

    return run


def open_device() -> None:
    """An app that opens a driver's device."""
    win32.CreateFile(r"\\.\Bad", win32.GENERIC_READ, 0, None, win32.OPEN_EXISTING, 0, None)


def load_and_run(machine: ntsim.Machine, path: Path) -> None:
    """Load a driver and let its threads run."""
    machine.load_driver(path)
    machine.run_until_idle()


def steps(report: CrashReport) -> list[str]:
    """The steps of WHY as `place: text`."""
    return [f"{step.where}: {step.text}" for step in report.why]
