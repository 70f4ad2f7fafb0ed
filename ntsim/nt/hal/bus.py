"""HalGetBusData and its kin: configuration space of buses.

There is a PCI bus 0 with nothing on it: `Machine.plug` puts devices on a bus of its own, whose
driver answers for them. Source: WDK HalGetBusDataByOffset; ReactOS hal/halx86/legacy/bus/pcibus.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import (
    BOOLEAN,
    KIRQL,
    LONG,
    LONGLONG,
    PULONG,
    PVOID,
    ULONG,
    ULONGLONG,
)
from ntsim.nt.exports import Out, export
from ntsim.nt.pnp.hardware import hal_vector

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


INTERNAL, ISA, EISA, PCI_BUS = 0, 1, 2, 5
"""INTERFACE_TYPE."""
_BUSES = (INTERNAL, ISA, EISA, PCI_BUS)
LINES = 24
"""Of an I/O APIC."""


@export(irql="<= DISPATCH")
def HalTranslateBusAddress(
    nt: Kernel, InterfaceType: LONG, BusNumber: ULONG, BusAddress: LONGLONG,
    AddressSpace: PULONG, TranslatedAddress: PVOID,
) -> BOOLEAN:  # fmt: skip
    """The address on the processor's side: on a PC the same, ports stay ports. FALSE for a bus
    that is not there. Obsolete.

    Source: ntddk.h; WDK HalTranslateBusAddress; ReactOS hal/halx86/legacy/bus/sysbus.c.
    """
    if InterfaceType not in _BUSES or BusNumber:
        return False
    nt.mmu.write_word(int(TranslatedAddress), nt.quad_part(BusAddress) & (1 << 64) - 1)
    return True


@export(irql="== PASSIVE")
def HalGetInterruptVector(
    nt: Kernel, InterfaceType: LONG, BusNumber: ULONG, BusInterruptLevel: ULONG,
    BusInterruptVector: ULONG, Irql: Out[KIRQL], Affinity: Out[ULONGLONG],
) -> ULONG:  # fmt: skip
    """The system's vector for a bus's interrupt line, its IRQL and the processors it may go to; 0
    for a bus or line that is not there. Obsolete. Source: ntddk.h; WDK HalGetInterruptVector.
    """
    if InterfaceType not in _BUSES or BusNumber or BusInterruptLevel >= LINES:
        return 0
    vector = hal_vector(BusInterruptLevel)
    Irql[0] = vector >> 4
    Affinity[0] = (1 << len(nt.processors)) - 1
    return vector
