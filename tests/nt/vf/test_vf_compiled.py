"""Driver Verifier and compiled drivers: the same faults at the same places, at the instruction.

Source: WDK "Special Pool", "Force IRQL Checking"; bug checks 0xD1, 0xD5, 0xD6. The driver is
driver/c/verified.c.
"""

from pathlib import Path

import pytest

from driver.c.verified_ioctl import CODES
from ntsim.errors import BugCheck
from ntsim.win32 import *

DRIVER = Path(__file__).parents[3] / "driver/c/verified.sys"
READ, WRITE, EXECUTE = 0, 1, 8


def make(mistake: str):
    def app() -> None:
        access = GENERIC_READ | GENERIC_WRITE
        device = CreateFile("\\\\.\\Verified", access, 0, None, OPEN_EXISTING, 0, None)
        DeviceIoControl(device, CODES[mistake], None, 0)

    return app


def crash(ntsim_machine, mistake: str, verifier: str = "standard"):
    machine = ntsim_machine(verifier=verifier)
    machine.load_driver(DRIVER)
    with pytest.raises(BugCheck) as caught:
        machine.run(make(mistake), name="app.exe")
    return caught.value, machine


@pytest.mark.parametrize(
    ("mistake", "code", "access", "offset"),
    [
        ("write_past_the_end", 0xD6, WRITE, 0),
        ("read_past_the_end", 0xD6, READ, 0),
        ("write_after_free", 0xD5, WRITE, 0x1000 - 48 + 8),
    ],
)
def test_special_pool_stops_at_the_instruction(
    ntsim_machine, mistake, code, access, offset
) -> None:
    found, machine = crash(ntsim_machine, mistake)
    assert (found.code, found.parameters[1]) == (code, access)
    assert found.parameters[0] & 0xFFF == offset
    assert machine.nt.describe_address(found.parameters[2]).startswith("verified!")
    assert "48 bytes were allocated" in " ".join(machine.report().to_text().split())


@pytest.mark.parametrize(
    ("mistake", "access"),
    [
        ("paged_pool_at_dispatch", WRITE),
        ("raise_in_pageable_code", EXECUTE),
        ("pageable_data_at_dispatch", WRITE),
    ],
)
def test_pageable_memory_is_out_at_dispatch_level(ntsim_machine, mistake, access) -> None:
    found, _ = crash(ntsim_machine, mistake, "force-irql")
    assert (found.code, found.parameters[1]) == (0xD1, 2)
    assert found.parameters[2] == access
    if access == EXECUTE:
        assert found.parameters[0] == found.parameters[3]


def test_nothing_of_it_shows_without_the_verifier(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(DRIVER)
    for mistake in (
        "paged_pool_at_dispatch",
        "raise_in_pageable_code",
        "pageable_data_at_dispatch",
    ):
        machine.run(make(mistake), name="app.exe")
    assert machine.bugcheck is None


def test_pageable_code_and_data_come_back(ntsim_machine) -> None:
    machine = ntsim_machine(verifier="standard")
    machine.load_driver(DRIVER)
    for _ in range(3):
        machine.run(make("correct"), name="app.exe")
    assert machine.debug_output == ["9", "11", "13"]
