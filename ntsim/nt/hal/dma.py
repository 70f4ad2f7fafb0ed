"""DMA adapters: what a driver for a bus-master device gets from IoGetDmaAdapter.

Logical addresses are physical ones: there is no IOMMU. A device that reaches all of RAM and gathers
scattered pages is given the pages of a buffer as they lie; for any other there are *map registers*,
pages which it reaches and through which the data is copied (`hal/map_registers.py`). A device
reaches 16 MiB, 4 GiB with Dma32BitAddresses, everything with Dma64BitAddresses, or what
DmaAddressWidth says in version 3 of the description. An adapter is of version 1, with the table of
version 2, whichever description was given. Source: WDK IoGetDmaAdapter, DEVICE_DESCRIPTION,
DMA_OPERATIONS; ReactOS hal/halx86/generic/dma.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.dma import DMA_ADAPTER, DMA_OPERATIONS
from ntsim.abi.ke import KDEVICE_QUEUE
from ntsim.abi.scalars import BOOLEAN, LONGLONG, PVOID, ULONG
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import Out, export
from ntsim.nt.ke.device_queue import KeInitializeDeviceQueue
from ntsim.nt.mm.contiguous import MmFreeContiguousMemory, mi_allocate_contiguous

if TYPE_CHECKING:
    from ntsim.abi.dma import PDEVICE_DESCRIPTION, PDMA_ADAPTER
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.nt.kernel import Kernel

    PHYSICAL_ADDRESS = LONGLONG
    PLONGLONG = Out[LONGLONG]

TAG = "Hal "
ISA_REACH, REACH_32 = (1 << 24) - 1, (1 << 32) - 1
FOUR_GIGABYTES = 1 << 32
MAP_REGISTERS = 1024
"""Pages that may be map registers at the same time: 4 MiB."""

QUEUE = DMA_ADAPTER.size
BLOCK = QUEUE + KDEVICE_QUEUE.size

OPERATIONS = {
    "PutDmaAdapter": "HalPutDmaAdapter",
    "AllocateCommonBuffer": "HalAllocateCommonBuffer",
    "FreeCommonBuffer": "HalFreeCommonBuffer",
    "AllocateAdapterChannel": "IoAllocateAdapterChannel",
    "FlushAdapterBuffers": "IoFlushAdapterBuffers",
    "FreeAdapterChannel": "IoFreeAdapterChannel",
    "FreeMapRegisters": "IoFreeMapRegisters",
    "MapTransfer": "IoMapTransfer",
    "GetDmaAlignment": "HalGetDmaAlignment",
    "ReadDmaCounter": "HalReadDmaCounter",
    "GetScatterGatherList": "HalGetScatterGatherList",
    "PutScatterGatherList": "HalPutScatterGatherList",
    "CalculateScatterGatherList": "HalCalculateScatterGatherListSize",
    "BuildScatterGatherList": "HalBuildScatterGatherList",
    "BuildMdlFromScatterGatherList": "HalBuildMdlFromScatterGatherList",
}
"""Fields of DMA_OPERATIONS and the routines of the HAL behind them."""


@dataclass(slots=True)
class Adapter:
    """An adapter at `address`. `limit` is the highest address that the device reaches, `most` the
    map registers that the driver may have at a time, `copies` whether they are used at all.

    `wcb` is the WAIT_CONTEXT_BLOCK that has the channel, 0 if it is free; `base` and `held` are the
    map registers of that request. `channels`, `registers`, `lists` and `buffers` count what is
    allocated and not freed. `guarded` is set by DMA verification.
    """

    address: int
    limit: int
    master: bool
    gathers: bool
    most: int
    copies: bool
    alignment: int
    wcb: int = 0
    base: int = 0
    held: int = 0
    channels: int = 0
    registers: int = 0
    lists: int = 0
    buffers: dict[int, int] = field(default_factory=dict)
    guarded: bool = False


class Dma:
    """All adapters of a machine, released ones too: their memory is freed, nothing else changes.

    `files` are the map registers in use, by base; `waiting` adapters whose request waits for some;
    `lists` the scatter/gather lists by address.
    """

    def __init__(self, nt: Kernel) -> None:
        self.adapters: dict[int, Adapter] = {}
        self.files: dict[int, Any] = {}
        self.waiting: list[Adapter] = []
        self.lists: dict[int, Any] = {}
        self.used = 0
        self.operations = nt.allocate_pool(DMA_OPERATIONS.size, TAG)
        table = DMA_OPERATIONS.at(nt.mmu, self.operations)
        table._v.Size = DMA_OPERATIONS.size
        for name, routine in OPERATIONS.items():
            setattr(table._v, name, nt.host.export_address(routine))


def hal_dma(nt: Kernel) -> Dma:
    """The machine's adapters."""
    if nt.dma is None:
        nt.dma = Dma(nt)
    return nt.dma  # type: ignore[no-any-return]


def hal_adapter(nt: Kernel, adapter: Any) -> Adapter:
    """What an operation works on.

    With a pointer that never was an adapter's the caller's own indirect call goes astray: through
    the table, to what lies there.
    """
    found = hal_dma(nt).adapters.get(int(adapter))
    if found is None:
        table = nt.mmu.read_word(int(adapter) + DMA_ADAPTER.offset_of("DmaOperations"))
        nt.call(nt.mmu.read_word(table + DMA_OPERATIONS.offset_of("PutDmaAdapter")))
        raise AssertionError(f"{int(adapter):#x} is no adapter and has the operations of one")
    return found


def _reach(description: Any) -> int:
    v = description._v
    if v.Version >= c.DEVICE_DESCRIPTION_VERSION3 and v.DmaAddressWidth:
        return int((1 << min(v.DmaAddressWidth, 64)) - 1)
    if v.Dma64BitAddresses:
        return (1 << 64) - 1
    return REACH_32 if v.Dma32BitAddresses else ISA_REACH


def hal_new_adapter(nt: Kernel, description: Any, count: Any) -> Any:
    """An adapter for a device; NULL for a description that makes no sense or is not modelled.

    Slave devices have no adapter: there is no system DMA controller.
    """
    v = description._v
    if v.Version > c.DEVICE_DESCRIPTION_VERSION3 or not v.Master:
        return DMA_ADAPTER.at(nt.mmu, 0)
    limit, ram = _reach(description), nt.mm.ram.size
    most = -(-(v.MaximumLength & 0x7FFF_FFFF) // PAGE_SIZE) + 1
    copies = not v.ScatterGather or limit < ram - 1
    if copies:
        most = min(most, MAP_REGISTERS)
    address = nt.allocate_pool(BLOCK, TAG)
    if not address:
        return DMA_ADAPTER.at(nt.mmu, 0)
    dma = hal_dma(nt)
    adapter = DMA_ADAPTER.at(nt.mmu, address)
    a = adapter._v
    a.Version, a.Size, a.DmaOperations = 1, DMA_ADAPTER.size, dma.operations
    KeInitializeDeviceQueue(nt, KDEVICE_QUEUE.at(nt.mmu, address + QUEUE))
    gathers = bool(v.ScatterGather)
    dma.adapters[address] = Adapter(address, limit, True, gathers, most, copies, 1)
    if count is not None:
        count[0] = most
    return adapter


@export(irql="== PASSIVE")
def IoGetDmaAdapter(
    nt: Kernel,
    PhysicalDeviceObject: PDEVICE_OBJECT,
    DeviceDescription: PDEVICE_DESCRIPTION,
    NumberOfMapRegisters: Out[ULONG],
) -> PDMA_ADAPTER:
    """An adapter for a bus-master device, and how many map registers it may use at a time.

    NULL for a description of an unknown version, or of a slave device. Source: WDK.
    """
    return hal_new_adapter(nt, DeviceDescription, NumberOfMapRegisters)


@export(irql="== PASSIVE")
def HalGetAdapter(
    nt: Kernel, DeviceDescription: PDEVICE_DESCRIPTION, NumberOfMapRegisters: Out[ULONG]
) -> PDMA_ADAPTER:
    """IoGetDmaAdapter of Windows NT 4: obsolete. Source: WDK."""
    return hal_new_adapter(nt, DeviceDescription, NumberOfMapRegisters)


@export(irql="== PASSIVE")
def HalPutDmaAdapter(nt: Kernel, DmaAdapter: PDMA_ADAPTER) -> None:
    """PutDmaAdapter: the adapter is no longer needed. Source: WDK PutDmaAdapter."""
    hal_adapter(nt, DmaAdapter)
    nt.free_pool(int(DmaAdapter))


@export(irql="== PASSIVE", inline=True)
def HalAllocateCommonBuffer(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Length: ULONG,
    LogicalAddress: PLONGLONG,
    CacheEnabled: BOOLEAN,
) -> PVOID:
    """Contiguous memory that driver and device share, not crossing 4 GiB; NULL if there is none.

    Source: WDK AllocateCommonBuffer.
    """
    adapter = hal_adapter(nt, DmaAdapter)
    va = mi_allocate_contiguous(nt, Length, 0, adapter.limit, FOUR_GIGABYTES)
    if va:
        adapter.buffers[va] = Length
        LogicalAddress[0] = nt.mmu.physical(va) or 0
    return va


@export(irql="== PASSIVE", inline=True)
def HalFreeCommonBuffer(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Length: ULONG,
    LogicalAddress: PHYSICAL_ADDRESS,
    VirtualAddress: PVOID,
    CacheEnabled: BOOLEAN,
) -> None:
    """Free a common buffer; what is none stops with 0xC2, as MmFreeContiguousMemory does."""
    hal_adapter(nt, DmaAdapter).buffers.pop(int(VirtualAddress), None)
    MmFreeContiguousMemory(nt, VirtualAddress)


@export(irql="== PASSIVE", inline=True)
def HalGetDmaAlignment(nt: Kernel, DmaAdapter: PDMA_ADAPTER) -> ULONG:
    """1: x64 is cache-coherent, buffers may begin anywhere. Source: WDK GetDmaAlignment."""
    return hal_adapter(nt, DmaAdapter).alignment


@export(irql="<= DISPATCH", inline=True)
def HalReadDmaCounter(nt: Kernel, DmaAdapter: PDMA_ADAPTER) -> ULONG:
    """What a system DMA controller has left to do: nothing, for a bus master. Source: WDK."""
    hal_adapter(nt, DmaAdapter)
    return 0
