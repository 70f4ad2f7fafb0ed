"""Machine code calls the operations of a DMA adapter through their table.

driver/c/dma.c prints what the same C prints on Windows; it uses the adapter once more after its
release, which Windows does not notice without Driver Verifier. Source: WDK DMA_OPERATIONS.
"""

from pathlib import Path

import pytest

from ntsim.errors import BugCheck, DriverLoadError

DMA = Path(__file__).parents[2] / "driver/c/dma.sys"
LINES = [
    "registers: 17, alignment 1",
    "common: 1",
    "map: 1 1",
    "flush: 1",
    "channel: 0",
    "list: 6000 bytes, irp 0000000000000000, first 1",
    "status: 0",
]


def test_operations_called_through_their_table(ntsim_machine) -> None:
    machine = ntsim_machine()
    with pytest.raises(DriverLoadError):
        machine.load_driver(DMA)
    assert machine.debug_output == LINES


def test_dma_verification_of_a_compiled_driver(ntsim_machine) -> None:
    machine = ntsim_machine(verifier="dma")
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DMA)
    found = caught.value
    assert (found.code, found.parameters[0]) == (0xE6, 0x18)
    assert "map: 1 1" in machine.debug_output
    text = " ".join(machine.report().to_text().split())
    assert "HalReadDmaCounter was given the adapter" in text and "dma.sys" in text
