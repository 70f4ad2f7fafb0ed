"""A machine with the parrot driver loaded, and its device opened."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ntsim import Machine
from ntsim.win32 import *

PARROT = Path(__file__).with_name("parrot.py")


def code(function: int, method: int = METHOD_BUFFERED, access: int = FILE_ANY_ACCESS) -> int:
    return CTL_CODE(FILE_DEVICE_UNKNOWN, function, method, access)


@pytest.fixture(scope="session")
def codes() -> SimpleNamespace:
    """The parrot's control codes."""
    return SimpleNamespace(
        ECHO=code(0x800),
        ECHO_DIRECT=code(0x801, METHOD_OUT_DIRECT),
        READ_DIRECT=code(0x802, METHOD_IN_DIRECT),
        ECHO_NEITHER=code(0x803, METHOD_NEITHER),
        FAIL_AFTER_WRITING=code(0x804),
        PEND=code(0x805),
        COMPLETE_PENDED=code(0x806),
        NEEDS_WRITE_ACCESS=code(0x807, METHOD_BUFFERED, FILE_WRITE_ACCESS),
        MORE_DATA=code(0x808),
        FAIL_DIRECT=code(0x809, METHOD_OUT_DIRECT),
    )


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(processors=2) as m:
        m.load_driver(PARROT)
        yield m


@pytest.fixture
def run(machine: Machine) -> Callable[..., Any]:
    """Run a callable as an app; its result. The process must end well."""

    def run_app(app: Callable[..., Any], *args: Any) -> Any:
        results: list[Any] = []

        def main() -> None:
            results.append(app(*args))

        process = machine.run(main)
        assert process.exit_code == 0, process.stderr
        return results[0]

    return run_app


def open_parrot(flags: int = 0, access: int = GENERIC_READ | GENERIC_WRITE) -> Any:
    return CreateFile(r"\\.\Parrot", access, 0, None, OPEN_EXISTING, flags, None)


@pytest.fixture
def parrot() -> Callable[..., Any]:
    """Opens the device, in an app."""
    return open_parrot
