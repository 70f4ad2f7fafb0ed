"""Replaced gates of the interrupt descriptor table: driver/c/gates.c.

Source: SDM 3, "Exception and Interrupt Handling in 64-bit Mode"; what is expected is what the same
C prints on a machine without HyperGuard.
"""

from pathlib import Path

import pytest

from ntsim.errors import UnmodelledRoutine
from ntsim.wdm import *

DRIVERS = Path(__file__).parents[2] / "driver/c"
CLOCK = 0xD1

LINES = [
    "breakpoints: 2, interrupts off inside",
    "77 / 0 = 77, 77 / 7 = 11, passed over: 1",
    "caught: c0000005",
    "page faults: 1, of 7008, code 2",
    "caught: c0000005",
    "page faults: 1",
    "own vector: 1234",
    "ticks: as the time",
]


@pytest.mark.parametrize(("processors", "seed"), [(1, 0), (1, 3), (2, 0), (2, 4)])
def test_replaced_gates_get_exceptions_and_interrupts(ntsim_machine, processors, seed) -> None:
    machine = ntsim_machine(processors=processors, seed=seed)
    machine.load_driver(DRIVERS / "gates.sys")
    assert machine.debug_output == LINES


def waits(DriverObject, RegistryPath) -> int:
    for _ in range(1000):
        KeStallExecutionProcessor(50)
    return STATUS_SUCCESS


def replace(machine, gate: bytes, vector: int = CLOCK) -> None:
    machine.nt.mmu.write(machine.nt.processors[0].idtr.base + 16 * vector, gate)


def test_a_gate_that_is_not_present_stops_the_run_by_name(ntsim_machine) -> None:
    machine = ntsim_machine(processors=1)
    machine.load_driver(DRIVERS / "hello.sys")
    replace(machine, bytes(16))
    with pytest.raises(UnmodelledRoutine, match=r"(?s)gate 0xd1 of .* is not present"):
        machine.load_driver(waits)


def test_a_gate_that_leads_into_python_stops_the_run_by_name(ntsim_machine) -> None:
    machine = ntsim_machine(processors=1)
    machine.load_driver(DRIVERS / "hello.sys")
    address = min(machine.nt.host.routines).to_bytes(8, "little")
    replace(machine, address[:2] + b"\x10\0\0\x8e" + address[2:] + bytes(2))
    with pytest.raises(UnmodelledRoutine, match="which is in Python"):
        machine.load_driver(waits)
