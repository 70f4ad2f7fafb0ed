"""IRPs that a driver builds for other drivers: IoBuild*, associated IRPs, forwarding.

A threaded IRP (device control, synchronous) is on the current thread's list and is finished and
freed by the I/O manager, which sets the event unless the request fails at once; an asynchronous one
is the driver's to free. Building fails with NULL, also when the buffer cannot be locked. Source:
WDK IoBuildDeviceIoControlRequest, IoBuildSynchronousFsdRequest, IoBuildAsynchronousFsdRequest,
IoMakeAssociatedIrp, IoForwardIrpSynchronously.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import IRP
from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import BOOLEAN, CCHAR, PVOID, ULONG
from ntsim.nt.exports import export
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.io.control import (
    BUFFERED,
    NEITHER,
    iop_abandon_irp,
    iop_buffer,
    iop_copy_input,
    iop_lock_output,
)
from ntsim.nt.io.irp import (
    IoCopyCurrentIrpStackLocationToNext,
    IoSetCompletionRoutine,
    io_allocate_irp,
    io_next_location,
    queue_to_thread,
)
from ntsim.nt.io.readwrite import iop_attach_buffer
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import NOTIFICATION_EVENT, WAIT_ANY, ki_wait
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIO_STATUS_BLOCK, PIRP
    from ntsim.abi.ke import PKEVENT
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.kernel import Kernel

TRANSFERS = (c.IRP_MJ_READ, c.IRP_MJ_WRITE)


def no_irp(nt: Kernel) -> Any:
    return IRP.at(nt.mmu, 0)


@export(irql="== PASSIVE")
def IoBuildDeviceIoControlRequest(
    nt: Kernel,
    IoControlCode: ULONG,
    DeviceObject: PDEVICE_OBJECT,
    InputBuffer: PVOID,
    InputBufferLength: ULONG,
    OutputBuffer: PVOID,
    OutputBufferLength: ULONG,
    InternalDeviceIoControl: BOOLEAN,
    Event: PKEVENT,
    IoStatusBlock: PIO_STATUS_BLOCK,
) -> PIRP:
    """A threaded device control request, its buffers by the code's method. Source: WDK."""
    irp = io_allocate_irp(nt, DeviceObject._v.StackSize)
    if not irp:
        return irp  # type: ignore[no-any-return]
    v = irp._v
    v.UserEvent, v.UserIosb = int(Event), int(IoStatusBlock)
    stack = io_next_location(nt, irp)._v
    internal = c.IRP_MJ_INTERNAL_DEVICE_CONTROL
    stack.MajorFunction = internal if InternalDeviceIoControl else c.IRP_MJ_DEVICE_CONTROL
    stack.Parameters_DeviceIoControl_OutputBufferLength = OutputBufferLength
    stack.Parameters_DeviceIoControl_InputBufferLength = InputBufferLength
    stack.Parameters_DeviceIoControl_IoControlCode = IoControlCode
    method = IoControlCode & 3
    try:
        if method == NEITHER:
            stack.Parameters_DeviceIoControl_Type3InputBuffer = InputBuffer
            v.UserBuffer = OutputBuffer
        elif method == BUFFERED:
            room = OutputBufferLength
            iop_buffer(nt, v, InputBuffer, InputBufferLength, OutputBuffer, room)
        else:
            iop_copy_input(nt, v, InputBuffer, InputBufferLength)
            iop_lock_output(nt, v, method, OutputBuffer, OutputBufferLength)
    except StructuredException:
        iop_abandon_irp(nt, irp)
        return no_irp(nt)  # type: ignore[no-any-return]
    queue_to_thread(nt, irp)
    return irp  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def IoBuildAsynchronousFsdRequest(
    nt: Kernel,
    MajorFunction: ULONG,
    DeviceObject: PDEVICE_OBJECT,
    Buffer: PVOID,
    Length: ULONG,
    StartingOffset: PLARGE_INTEGER,
    IoStatusBlock: PIO_STATUS_BLOCK,
) -> PIRP:
    """An IRP for the driver's own completion routine, which frees it; on no list. Source: WDK."""
    irp = io_allocate_irp(nt, DeviceObject._v.StackSize)
    if not irp:
        return irp  # type: ignore[no-any-return]
    v = irp._v
    v.Tail_Overlay_Thread = nt.thread.va
    v.UserIosb = int(IoStatusBlock)
    stack = io_next_location(nt, irp)._v
    stack.MajorFunction = MajorFunction
    if MajorFunction not in TRANSFERS:
        return irp  # type: ignore[no-any-return]
    stack.Parameters_Read_Length = Length
    stack.Parameters_Read_ByteOffset_QuadPart = StartingOffset.QuadPart if StartingOffset else 0
    reading = MajorFunction == c.IRP_MJ_READ
    try:
        iop_attach_buffer(nt, v, DeviceObject._v.Flags, reading, Buffer, Length)
    except StructuredException:
        iop_abandon_irp(nt, irp)
        return no_irp(nt)  # type: ignore[no-any-return]
    return irp  # type: ignore[no-any-return]


@export(irql="== PASSIVE")
def IoBuildSynchronousFsdRequest(
    nt: Kernel,
    MajorFunction: ULONG,
    DeviceObject: PDEVICE_OBJECT,
    Buffer: PVOID,
    Length: ULONG,
    StartingOffset: PLARGE_INTEGER,
    Event: PKEVENT,
    IoStatusBlock: PIO_STATUS_BLOCK,
) -> PIRP:
    """A threaded IRP, which the I/O manager finishes: the driver waits for Event. Source: WDK."""
    irp = IoBuildAsynchronousFsdRequest(
        nt, MajorFunction, DeviceObject, Buffer, Length, StartingOffset, IoStatusBlock
    )
    if irp:
        irp._v.UserEvent = int(Event)
        queue_to_thread(nt, irp)
    return irp


@export(irql="<= DISPATCH")
def IoMakeAssociatedIrp(nt: Kernel, Irp: PIRP, StackSize: CCHAR) -> PIRP:
    """An IRP whose completion counts down the master's IrpCount, which the driver sets first.

    The master completes with the last of its associates. Source: WDK IoMakeAssociatedIrp.
    """
    made = io_allocate_irp(nt, StackSize)
    if made:
        v = made._v
        v.Flags |= c.IRP_ASSOCIATED_IRP
        v.Tail_Overlay_Thread = Irp._v.Tail_Overlay_Thread
        v.AssociatedIrp_MasterIrp = int(Irp)
    return made  # type: ignore[no-any-return]


def iop_signal_forwarded(nt: Kernel, Device: int, Irp: int, Event: int) -> int:
    """Completion routine of a forwarded IRP."""
    if IRP.at(nt.mmu, int(Irp))._v.PendingReturned:
        KeSetEvent(nt, KEVENT.at(nt.mmu, int(Event)), 0, False)
    return ntstatus.STATUS_MORE_PROCESSING_REQUIRED


@export(irql="<= APC")
def IoForwardIrpSynchronously(nt: Kernel, DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> BOOLEAN:
    """Copy the location, send the IRP down and wait until it comes back; the caller completes it.

    FALSE, and nothing is sent, if the IRP has no location left. Source: WDK.
    """
    if Irp._v.CurrentLocation <= 1:
        return False
    event = KEVENT.at(nt.mmu, nt.allocate_pool(KEVENT.size, "IoFw"))
    KeInitializeEvent(nt, event, NOTIFICATION_EVENT, False)
    IoCopyCurrentIrpStackLocationToNext(nt, Irp)
    routine = nt.internal_address(iop_signal_forwarded)
    IoSetCompletionRoutine(nt, Irp, routine, int(event), True, True, True)
    if IofCallDriver(nt, DeviceObject, Irp) == ntstatus.STATUS_PENDING:
        ki_wait(nt, [int(event)], WAIT_ANY, 0, 0, False, None)
    nt.free_pool(int(event))
    return True
