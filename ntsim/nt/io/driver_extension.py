"""Driver object extensions: memory that a client names by an address and the driver object keeps.

They are a list of IO_CLIENT_EXTENSIONs from DRIVER_EXTENSION.ClientDriverExtension on: link,
identification, then the client's bytes. Source: WDK IoAllocateDriverObjectExtension; Wine ntoskrnl
tests test_driver_object_extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.io import DRIVER_EXTENSION
from ntsim.abi.scalars import NTSTATUS, PVOID, ULONG
from ntsim.nt.exports import Out, export

if TYPE_CHECKING:
    from ntsim.abi.io import PDRIVER_OBJECT
    from ntsim.nt.kernel import Kernel

HEADER = 0x10
"""Bytes of an IO_CLIENT_EXTENSION: NextExtension, ClientIdentificationAddress."""


def extension_of(nt: Kernel, driver: PDRIVER_OBJECT) -> Any:
    return DRIVER_EXTENSION.at(nt.mmu, driver._v.DriverExtension)


def iop_find_extension(nt: Kernel, driver: PDRIVER_OBJECT, client: int) -> int:
    """Address of the client's bytes, 0 if it has none."""
    at = extension_of(nt, driver)._v.ClientDriverExtension
    while at:
        if nt.read_pointer(at + 8) == client:
            return int(at) + HEADER
        at = nt.read_pointer(at)
    return 0


def iop_free_extensions(nt: Kernel, extension: Any) -> None:
    """The driver object goes."""
    at = extension._v.ClientDriverExtension
    while at:
        following = nt.read_pointer(at)
        nt.free_pool(at)
        at = following


@export(irql="<= DISPATCH")
def IoAllocateDriverObjectExtension(
    nt: Kernel,
    DriverObject: PDRIVER_OBJECT,
    ClientIdentificationAddress: PVOID,
    DriverObjectExtensionSize: ULONG,
    DriverObjectExtension: Out[PVOID],
) -> NTSTATUS:
    """Zeroed memory that goes with the driver; STATUS_OBJECT_NAME_COLLISION if the client has some.

    Source: WDK IoAllocateDriverObjectExtension.
    """
    DriverObjectExtension[0] = 0
    client = int(ClientIdentificationAddress)
    if iop_find_extension(nt, DriverObject, client):
        return ntstatus.STATUS_OBJECT_NAME_COLLISION
    size = HEADER + DriverObjectExtensionSize
    address = nt.allocate_pool(size, "Driv")
    if not address:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.mmu.write(address, bytes(size))
    v = extension_of(nt, DriverObject)._v
    nt.write_pointer(address, v.ClientDriverExtension)
    nt.write_pointer(address + 8, client)
    v.ClientDriverExtension = address
    DriverObjectExtension[0] = address + HEADER
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def IoGetDriverObjectExtension(
    nt: Kernel, DriverObject: PDRIVER_OBJECT, ClientIdentificationAddress: PVOID
) -> PVOID:
    """What the client allocated, NULL if nothing. Source: WDK IoGetDriverObjectExtension."""
    return iop_find_extension(nt, DriverObject, int(ClientIdentificationAddress))
