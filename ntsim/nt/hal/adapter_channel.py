"""The channel of an adapter: one request at a time, the others wait in its device queue.

A request is the WAIT_CONTEXT_BLOCK in the caller's device object: a device has one at a time. Its
routine is called at DISPATCH_LEVEL when the channel and the map registers are there, at once or by
whoever frees them, and says what becomes of them. Source: WDK AllocateAdapterChannel, "Allocating
an Adapter Channel"; ReactOS hal/halx86/generic/dma.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import WAIT_CONTEXT_BLOCK
from ntsim.abi.ke import KDEVICE_QUEUE
from ntsim.abi.scalars import NTSTATUS, PDRIVER_CONTROL, PVOID, ULONG
from ntsim.nt.exports import export
from ntsim.nt.hal.dma import QUEUE, Adapter, hal_adapter, hal_dma
from ntsim.nt.hal.map_registers import hal_give_registers, hal_take_registers, hal_waiting
from ntsim.nt.ke.device_queue import KeInsertDeviceQueue, KeRemoveDeviceQueue

if TYPE_CHECKING:
    from ntsim.abi.dma import PDMA_ADAPTER
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.nt.kernel import Kernel


def hal_queue(nt: Kernel, adapter: Adapter) -> Any:
    """The adapter's queue of requests."""
    return KDEVICE_QUEUE.at(nt.mmu, adapter.address + QUEUE)


def hal_request_channel(nt: Kernel, adapter: Adapter, wcb: Any) -> None:
    """Grant a request, now or when the one before it is over."""
    if KeInsertDeviceQueue(nt, hal_queue(nt, adapter), wcb.WaitQueueEntry):
        return
    adapter.wcb = int(wcb)
    hal_grant(nt, adapter)


def hal_grant(nt: Kernel, adapter: Adapter) -> None:
    """The channel is the request's: take its map registers, or wait for them, and call it."""
    wcb = WAIT_CONTEXT_BLOCK.at(nt.mmu, adapter.wcb)
    count = wcb._v.NumberOfMapRegisters
    base = hal_take_registers(nt, adapter, count)
    if base is None:
        hal_dma(nt).waiting.append(adapter)
        return
    adapter.base, adapter.held = base, count
    v = wcb._v
    action = nt.call(v.DeviceRoutine, v.DeviceObject, v.CurrentIrp, base, v.DeviceContext)
    action &= 0xFFFF_FFFF
    if action == c.DeallocateObjectKeepRegisters:
        adapter.held = 0
    if action in (c.DeallocateObject, c.DeallocateObjectKeepRegisters):
        hal_release_channel(nt, adapter)


def hal_release_channel(nt: Kernel, adapter: Adapter) -> None:
    """Free the channel with the map registers that the request still has; the next one gets it."""
    base, held = adapter.base, adapter.held
    adapter.base = adapter.held = adapter.wcb = 0
    adapter.channels = max(0, adapter.channels - 1)
    if held:
        adapter.registers = max(0, adapter.registers - held)
        hal_give_registers(nt, base)
    entry = KeRemoveDeviceQueue(nt, hal_queue(nt, adapter))
    if entry:
        adapter.wcb = int(entry)
        hal_grant(nt, adapter)
    hal_serve_waiting(nt)


def hal_serve_waiting(nt: Kernel) -> None:
    """Map registers were freed: adapters that wait for some, in their order."""
    dma = hal_dma(nt)
    while (adapter := hal_waiting(dma)) is not None:
        dma.waiting.pop(0)
        before = len(dma.waiting)
        hal_grant(nt, adapter)
        if len(dma.waiting) > before and dma.waiting[-1] is adapter:
            dma.waiting.insert(0, dma.waiting.pop())
            return


@export(irql="== DISPATCH", inline=True)
def IoAllocateAdapterChannel(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    DeviceObject: PDEVICE_OBJECT,
    NumberOfMapRegisters: ULONG,
    ExecutionRoutine: PDRIVER_CONTROL,
    Context: PVOID,
) -> NTSTATUS:
    """Call ExecutionRoutine(DeviceObject, CurrentIrp, MapRegisterBase, Context) with the channel.

    STATUS_INSUFFICIENT_RESOURCES for more map registers than the adapter may have. Source: WDK
    AllocateAdapterChannel.
    """
    adapter = hal_adapter(nt, DmaAdapter)
    if NumberOfMapRegisters > adapter.most:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    wcb = DeviceObject.Queue.Wcb
    v = wcb._v
    v.DeviceObject, v.CurrentIrp = int(DeviceObject), DeviceObject._v.CurrentIrp
    v.DeviceContext, v.DeviceRoutine = int(Context), int(ExecutionRoutine)
    v.NumberOfMapRegisters = NumberOfMapRegisters
    adapter.channels += 1
    adapter.registers += NumberOfMapRegisters
    hal_request_channel(nt, adapter, wcb)
    return 0


@export(irql="== DISPATCH", inline=True)
def IoFreeAdapterChannel(nt: Kernel, DmaAdapter: PDMA_ADAPTER) -> None:
    """Free a channel that was kept (KeepObject), with its map registers. Source: WDK."""
    hal_release_channel(nt, hal_adapter(nt, DmaAdapter))


@export(irql="== DISPATCH", inline=True)
def IoFreeMapRegisters(
    nt: Kernel, DmaAdapter: PDMA_ADAPTER, MapRegisterBase: PVOID, NumberOfMapRegisters: ULONG
) -> None:
    """Free map registers that were kept (DeallocateObjectKeepRegisters). Source: WDK."""
    adapter = hal_adapter(nt, DmaAdapter)
    adapter.registers = max(0, adapter.registers - NumberOfMapRegisters)
    hal_give_registers(nt, int(MapRegisterBase))
    hal_serve_waiting(nt)
