"""HalGetBusData and its kin: configuration space of buses.

There is a PCI bus 0 with nothing on it: `Machine.plug` puts devices on a bus of its own, whose
driver answers for them. Source: WDK HalGetBusDataByOffset; ReactOS hal/halx86/legacy/bus/pcibus.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, PVOID, ULONG
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

PCI_CONFIGURATION = 4
PCI_INVALID_VENDORID = b"\xff\xff"
PCI_SPACE = 256
PCI_SLOTS = 0x100
"""Device and function: five and three bits."""


def _is_slot(kind: int, bus: int, slot: int) -> bool:
    return kind == PCI_CONFIGURATION and bus == 0 and slot < PCI_SLOTS


@export(irql="<= DISPATCH")
def HalGetBusDataByOffset(
    nt: Kernel, BusDataType: LONG, BusNumber: ULONG, SlotNumber: ULONG, Buffer: PVOID,
    Offset: ULONG, Length: ULONG,
) -> ULONG:  # fmt: skip
    """Bytes read. 0: no such bus. 2: no device there, and Buffer holds PCI_INVALID_VENDORID."""
    if not _is_slot(BusDataType, BusNumber, SlotNumber) or Offset >= PCI_SPACE:
        return 0
    nt.mmu.write(Buffer, PCI_INVALID_VENDORID[:Length])
    return min(Length, len(PCI_INVALID_VENDORID))


@export(irql="<= DISPATCH")
def HalGetBusData(
    nt: Kernel, BusDataType: LONG, BusNumber: ULONG, SlotNumber: ULONG, Buffer: PVOID, Length: ULONG
) -> ULONG:
    """HalGetBusDataByOffset from offset 0."""
    return HalGetBusDataByOffset(nt, BusDataType, BusNumber, SlotNumber, Buffer, 0, Length)


@export(irql="<= DISPATCH")
def HalSetBusDataByOffset(
    nt: Kernel, BusDataType: LONG, BusNumber: ULONG, SlotNumber: ULONG, Buffer: PVOID,
    Offset: ULONG, Length: ULONG,
) -> ULONG:  # fmt: skip
    """Bytes written: 0, where there is no device."""
    return 0


@export(irql="<= DISPATCH")
def HalSetBusData(
    nt: Kernel, BusDataType: LONG, BusNumber: ULONG, SlotNumber: ULONG, Buffer: PVOID, Length: ULONG
) -> ULONG:
    """HalSetBusDataByOffset from offset 0."""
    return 0
