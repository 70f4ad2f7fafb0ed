"""Direct memory access: adapters, their operations, scatter/gather lists.

Layout: wdm.h. A driver calls the operations through the table, as in C:
`Adapter.DmaOperations.AllocateCommonBuffer(Adapter, Length, Logical, TRUE)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN, LONG, LONGLONG, ULONG, ULONG_PTR, USHORT
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from typing import Any

    from ntsim.abi.rtl import LARGE_INTEGER

    PROUTINE = Any
    PDMA_OPERATIONS = Any
    PDMA_ADAPTER = Any
    PADAPTER_OBJECT = Any
    PDEVICE_DESCRIPTION = Any
    PSCATTER_GATHER_LIST = Any
    PSCATTER_GATHER_ELEMENT = Any


class DEVICE_DESCRIPTION(Structure, size=0x40):
    """What a driver says about its device; from DmaAddressWidth on for version 3."""

    Version: ULONG = at(0x00)
    Master: BOOLEAN = at(0x04)
    ScatterGather: BOOLEAN = at(0x05)
    DemandMode: BOOLEAN = at(0x06)
    AutoInitialize: BOOLEAN = at(0x07)
    Dma32BitAddresses: BOOLEAN = at(0x08)
    IgnoreCount: BOOLEAN = at(0x09)
    Reserved1: BOOLEAN = at(0x0A)
    Dma64BitAddresses: BOOLEAN = at(0x0B)
    BusNumber: ULONG = at(0x0C)
    DmaChannel: ULONG = at(0x10)
    InterfaceType: LONG = at(0x14)
    DmaWidth: LONG = at(0x18)
    DmaSpeed: LONG = at(0x1C)
    MaximumLength: ULONG = at(0x20)
    DmaPort: ULONG = at(0x24)
    DmaAddressWidth: ULONG = at(0x28)
    DmaControllerInstance: ULONG = at(0x2C)
    DmaRequestLine: ULONG = at(0x30)
    DeviceAddress: LONGLONG = at(0x38)


class DMA_OPERATIONS(Structure, size=0x88):
    """Version 2, of Windows XP and later; version 1 ends before CalculateScatterGatherList."""

    Size: ULONG = at(0x00)
    PutDmaAdapter: PROUTINE = at(0x08)
    AllocateCommonBuffer: PROUTINE = at(0x10)
    FreeCommonBuffer: PROUTINE = at(0x18)
    AllocateAdapterChannel: PROUTINE = at(0x20)
    FlushAdapterBuffers: PROUTINE = at(0x28)
    FreeAdapterChannel: PROUTINE = at(0x30)
    FreeMapRegisters: PROUTINE = at(0x38)
    MapTransfer: PROUTINE = at(0x40)
    GetDmaAlignment: PROUTINE = at(0x48)
    ReadDmaCounter: PROUTINE = at(0x50)
    GetScatterGatherList: PROUTINE = at(0x58)
    PutScatterGatherList: PROUTINE = at(0x60)
    CalculateScatterGatherList: PROUTINE = at(0x68)
    BuildScatterGatherList: PROUTINE = at(0x70)
    BuildMdlFromScatterGatherList: PROUTINE = at(0x78)


class DMA_ADAPTER(Structure, size=0x10):
    """The part of an ADAPTER_OBJECT that drivers may know."""

    Version: USHORT = at(0x00)
    Size: USHORT = at(0x02)
    DmaOperations: PDMA_OPERATIONS = at(0x08)


class ADAPTER_OBJECT(DMA_ADAPTER, size=0x10):
    """What older declarations call it."""


class SCATTER_GATHER_ELEMENT(Structure, size=0x18):
    Address: LARGE_INTEGER = at(0x00)
    Length: ULONG = at(0x08)
    Reserved: ULONG_PTR = at(0x10)


class SCATTER_GATHER_LIST(Structure, size=0x10):
    """Elements follow: as many as NumberOfElements says."""

    NumberOfElements: ULONG = at(0x00)
    Reserved: ULONG_PTR = at(0x08)
    Elements = array("SCATTER_GATHER_ELEMENT", 0, 0x10)
