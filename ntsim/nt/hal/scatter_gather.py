"""Scatter/gather lists: a whole buffer as the pieces that a device is told.

GetScatterGatherList maps every piece when the adapter's channel and map registers are there and
calls the driver's routine with the list; PutScatterGatherList flushes and frees it. A buffer may go
on in chained MDLs. Source: WDK GetScatterGatherList, PutScatterGatherList,
CalculateScatterGatherList, BuildScatterGatherList; ReactOS hal/halx86/generic/dma.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.dma import SCATTER_GATHER_ELEMENT, SCATTER_GATHER_LIST
from ntsim.abi.io import WAIT_CONTEXT_BLOCK
from ntsim.abi.mm import MDL
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PDRIVER_LIST_CONTROL, PVOID, ULONG
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.hal.adapter_channel import hal_request_channel, hal_serve_waiting
from ntsim.nt.hal.dma import TAG, Adapter, hal_adapter, hal_dma
from ntsim.nt.hal.map_registers import hal_flush, hal_give_registers, hal_map
from ntsim.nt.mm.mdl import mdl_frames, mdl_pages

if TYPE_CHECKING:
    from ntsim.abi.dma import PDMA_ADAPTER, PSCATTER_GATHER_LIST
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.abi.mm import PMDL
    from ntsim.nt.kernel import Kernel

HEADER, ELEMENT = SCATTER_GATHER_LIST.size, SCATTER_GATHER_ELEMENT.size
CONTEXT = WAIT_CONTEXT_BLOCK.size


@dataclass(slots=True)
class List:
    """A request for a list and, from `base` on, the list: pieces are (MDL, address, length)."""

    adapter: Adapter
    device: int
    pieces: list[tuple[Any, int, int]]
    count: int
    writes: bool
    routine: int
    context: int
    wcb: int
    buffer: int
    base: int = 0


def hal_pieces(nt: Kernel, mdl: Any, va: int, length: int) -> Iterator[tuple[Any, int, int]]:
    """The parts of [va, va+length) by MDL: the following ones go on where the first ends."""
    while mdl and length > 0:
        v = mdl._v
        end = v.StartVa + v.ByteOffset + v.ByteCount
        size = min(length, end - va)
        if size > 0:
            yield mdl, va, size
            length -= size
        mdl = MDL.at(nt.mmu, v.Next)
        if mdl:
            va = mdl._v.StartVa + mdl._v.ByteOffset


def hal_list_size(nt: Kernel, mdl: Any, va: int, length: int) -> tuple[int, int]:
    """Bytes that a list may need, and map registers."""
    if not mdl:
        pages = mdl_pages(va, length)
    else:
        pages = sum(mdl_pages(at, size) for _, at, size in hal_pieces(nt, mdl, va, length))
    return HEADER + pages * ELEMENT, pages


@export(irql="<= DISPATCH", inline=True)
def HalCalculateScatterGatherListSize(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    CurrentVa: PVOID,
    Length: ULONG,
    ScatterGatherListSize: Out[ULONG],
    pNumberOfMapRegisters: OutOpt[ULONG],
) -> NTSTATUS:
    """Bytes for BuildScatterGatherList, with a page for each element. Source: WDK."""
    hal_adapter(nt, DmaAdapter)
    size, registers = hal_list_size(nt, Mdl, int(CurrentVa), Length)
    ScatterGatherListSize[0] = size
    if not isinstance(pNumberOfMapRegisters, int) or pNumberOfMapRegisters:
        pNumberOfMapRegisters[0] = registers
    return 0


def hal_request_list(
    nt: Kernel, adapter: Adapter, device: Any, mdl: Any, va: int, length: int, routine: int,
    context: int, writes: bool, buffer: int,
) -> int:  # fmt: skip
    """Ask for channel and map registers; the routine is called with the list, now or later."""
    size, count = hal_list_size(nt, mdl, va, length)
    if count > adapter.most:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    block = nt.allocate_pool(CONTEXT + size, TAG)
    if not block:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    pieces = list(hal_pieces(nt, mdl, va, length))
    made = List(
        adapter, int(device), pieces, count, writes, routine, context, block,
        buffer or block + CONTEXT,
    )  # fmt: skip
    dma = hal_dma(nt)
    dma.lists[block] = made
    wcb = WAIT_CONTEXT_BLOCK.at(nt.mmu, block)
    v = wcb._v
    v.DeviceRoutine = nt.internal_address(hal_list_control)
    v.DeviceContext, v.NumberOfMapRegisters = block, count
    v.DeviceObject, v.CurrentIrp = int(device), device._v.CurrentIrp if device else 0
    adapter.lists += 1
    hal_request_channel(nt, adapter, wcb)
    return 0


def hal_list_control(nt: Kernel, device: int, irp: int, base: int, block: int) -> int:
    """The AdapterControl routine of a list: map all pieces, give the channel back, call."""
    dma = hal_dma(nt)
    made: List = dma.lists.pop(int(block))
    made.base = int(base)
    elements = []
    for mdl, va, size in made.pieces:
        while size > 0:
            address, length = hal_map(nt, made.adapter, mdl, made.base, va, size, made.writes)
            assert length, f"no map register is left for {va:#x}"
            elements.append((address, length))
            va, size = va + length, size - length
    target = SCATTER_GATHER_LIST.at(nt.mmu, made.buffer)
    target._v.NumberOfElements, target._v.Reserved = len(elements), int(block)
    for index, (address, length) in enumerate(elements):
        element = SCATTER_GATHER_ELEMENT.at(nt.mmu, made.buffer + HEADER + index * ELEMENT)
        element.Address.QuadPart, element.Length, element.Reserved = address, length, 0
    dma.lists[made.buffer] = made
    nt.call(made.routine, device, irp, made.buffer, made.context)
    made.adapter.channels += 1  # a list's channel is not counted; releasing it counts down
    return int(c.DeallocateObjectKeepRegisters)


@export(irql="== DISPATCH", inline=True)
def HalGetScatterGatherList(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    Mdl: PMDL,
    CurrentVa: PVOID,
    Length: ULONG,
    ExecutionRoutine: PDRIVER_LIST_CONTROL,
    Context: PVOID,
    WriteToDevice: BOOLEAN,
) -> NTSTATUS:
    """Call ExecutionRoutine(DeviceObject, CurrentIrp, List, Context) with the buffer's list.

    STATUS_INSUFFICIENT_RESOURCES if the buffer is larger than the adapter's MaximumLength allows.
    """
    adapter = hal_adapter(nt, DmaAdapter)
    return hal_request_list(
        nt, adapter, DeviceObject, Mdl, int(CurrentVa), Length, int(ExecutionRoutine),
        int(Context), bool(WriteToDevice), 0,
    )  # fmt: skip


@export(irql="== DISPATCH", inline=True)
def HalBuildScatterGatherList(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    Mdl: PMDL,
    CurrentVa: PVOID,
    Length: ULONG,
    ExecutionRoutine: PDRIVER_LIST_CONTROL,
    Context: PVOID,
    WriteToDevice: BOOLEAN,
    ScatterGatherBuffer: PVOID,
    ScatterGatherLength: ULONG,
) -> NTSTATUS:
    """GetScatterGatherList in the driver's buffer; STATUS_BUFFER_TOO_SMALL if that is too small."""
    adapter = hal_adapter(nt, DmaAdapter)
    if ScatterGatherLength < hal_list_size(nt, Mdl, int(CurrentVa), Length)[0]:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    return hal_request_list(
        nt, adapter, DeviceObject, Mdl, int(CurrentVa), Length, int(ExecutionRoutine),
        int(Context), bool(WriteToDevice), int(ScatterGatherBuffer),
    )  # fmt: skip


@export(irql="== DISPATCH", inline=True)
def HalPutScatterGatherList(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    ScatterGather: PSCATTER_GATHER_LIST,
    WriteToDevice: BOOLEAN,
) -> None:
    """The transfer is over: flush, free the map registers and the list. Source: WDK.

    A list that is none any more is pool that was freed: 0xC2.
    """
    adapter = hal_adapter(nt, DmaAdapter)
    made: List | None = hal_dma(nt).lists.pop(int(ScatterGather), None)
    if made is None:
        nt.free_pool(int(ScatterGather._v.Reserved))
        return
    for mdl, va, size in made.pieces:
        hal_flush(nt, mdl, made.base, va, size, bool(WriteToDevice))
    hal_give_registers(nt, made.base)
    nt.free_pool(made.wcb)
    adapter.lists = max(0, adapter.lists - 1)
    hal_serve_waiting(nt)


@export(irql="<= DISPATCH", inline=True)
def HalBuildMdlFromScatterGatherList(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    ScatterGather: PSCATTER_GATHER_LIST,
    OriginalMdl: PMDL,
    TargetMdl: Out[PMDL],
) -> NTSTATUS:
    """An MDL of the pages that the device sees: the buffer's own where nothing is copied.

    STATUS_NOT_SUPPORTED where map registers stand in between (inferred). Source: WDK.
    """
    hal_adapter(nt, DmaAdapter)
    made: List | None = hal_dma(nt).lists.get(int(ScatterGather))
    if made is None or made.base or not mdl_frames(nt, OriginalMdl):
        return ntstatus.STATUS_NOT_SUPPORTED
    TargetMdl[0] = OriginalMdl
    return 0
