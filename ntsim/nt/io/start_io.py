"""StartIo: the I/O manager's queue of one device, of which the driver has one IRP at a time.

IoStartPacket hands an IRP to the driver's StartIo routine, at DISPATCH_LEVEL, or queues it in the
device's DeviceQueue; IoStartNextPacket, which the driver calls when it is done with CurrentIrp,
takes the next. Without IoSetStartIoAttributes that nests: a StartIo that completes at once and asks
for the next runs deeper with each IRP. Source: WDK "Writing a StartIo Routine", IoStartPacket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.io import DEVOBJ_EXTENSION, DRIVER_OBJECT, IRP
from ntsim.abi.scalars import BOOLEAN, PDRIVER_CANCEL, PULONG, ULONG
from ntsim.nt.exports import export
from ntsim.nt.io.cancel import cancel_lock
from ntsim.nt.ke.device_queue import (
    KeInsertByKeyDeviceQueue,
    KeInsertDeviceQueue,
    KeRemoveByKeyDeviceQueue,
    KeRemoveDeviceQueue,
)
from ntsim.nt.ke.irql import DISPATCH_LEVEL, set_irql
from ntsim.nt.ke.spinlock import (
    KeAcquireSpinLockAtDpcLevel,
    KeReleaseSpinLockFromDpcLevel,
)

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIRP
    from ntsim.nt.kernel import Kernel

NO_KEY, WITH_KEY, CANCELABLE, DEFERRED, NON_CANCELABLE = 0x20, 0x40, 0x80, 0x100, 0x200
"""Bits of DEVOBJ_EXTENSION.StartIoFlags: what was put off, then the two attributes."""

_ENTRY = IRP.offset_of("Tail.Overlay.DeviceQueueEntry")


def extension_of(nt: Kernel, device: PDEVICE_OBJECT) -> Any:
    return DEVOBJ_EXTENSION.at(nt.mmu, device._v.DeviceObjectExtension)


def iop_call_start_io(nt: Kernel, device: PDEVICE_OBJECT, irp: PIRP, cancelable: bool) -> None:
    """Make the IRP current and give it to the driver; the cancel lock is held if `cancelable`."""
    device._v.CurrentIrp = int(irp)
    if cancelable:
        if extension_of(nt, device)._v.StartIoFlags & NON_CANCELABLE:
            irp._v.CancelRoutine = 0
        KeReleaseSpinLockFromDpcLevel(nt, cancel_lock(nt))
    driver = DRIVER_OBJECT.at(nt.mmu, device._v.DriverObject)
    nt.call(driver._v.DriverStartIo, device, irp)


def iop_start_next(nt: Kernel, device: PDEVICE_OBJECT, cancelable: bool, key: int | None) -> None:
    """Start the next queued IRP; without one the device has no current IRP."""
    if cancelable:
        KeAcquireSpinLockAtDpcLevel(nt, cancel_lock(nt))
    device._v.CurrentIrp = 0
    queue = device.DeviceQueue
    if key is None:
        entry = KeRemoveDeviceQueue(nt, queue)
    else:
        entry = KeRemoveByKeyDeviceQueue(nt, queue, key)
    if entry:
        iop_call_start_io(nt, device, IRP.at(nt.mmu, int(entry) - _ENTRY), cancelable)
    elif cancelable:
        KeReleaseSpinLockFromDpcLevel(nt, cancel_lock(nt))


def iop_run_deferred(nt: Kernel, device: PDEVICE_OBJECT) -> None:
    """StartIo came back: start what it asked for meanwhile, again and again, without nesting."""
    v = extension_of(nt, device)._v
    v.StartIoCount -= 1
    while not v.StartIoCount and v.StartIoFlags & (NO_KEY | WITH_KEY):
        flags, key = v.StartIoFlags, v.StartIoKey
        v.StartIoFlags &= ~(NO_KEY | WITH_KEY | CANCELABLE)
        v.StartIoCount += 1
        by_key = key & 0xFFFF_FFFF if flags & WITH_KEY else None
        iop_start_next(nt, device, bool(flags & CANCELABLE), by_key)
        v.StartIoCount -= 1


def iop_start_next_packet(
    nt: Kernel, device: PDEVICE_OBJECT, cancelable: bool, key: int | None
) -> None:
    """Start the next IRP now, or, with deferred StartIo, when the running StartIo has returned."""
    v = extension_of(nt, device)._v
    if not v.StartIoFlags & DEFERRED:
        iop_start_next(nt, device, cancelable, key)
    elif v.StartIoCount:
        v.StartIoFlags |= (NO_KEY if key is None else WITH_KEY) | (CANCELABLE if cancelable else 0)
        if key is not None:
            v.StartIoKey = (key ^ 1 << 31) - (1 << 31)
    else:
        v.StartIoCount += 1
        iop_start_next(nt, device, cancelable, key)
        iop_run_deferred(nt, device)


def iop_queued(nt: Kernel, irp: PIRP, cancel: int, old: int) -> bool:
    """The IRP waits in the queue, the cancel lock held if it has a cancel routine.

    One that was cancelled before gets its routine called now, which releases the lock: True.
    """
    if not cancel:
        return False
    v = irp._v
    if not v.Cancel:
        KeReleaseSpinLockFromDpcLevel(nt, cancel_lock(nt))
        return False
    v.CancelIrql, v.CancelRoutine = old, 0
    return True


@export(irql="<= DISPATCH")
def IoStartPacket(
    nt: Kernel, DeviceObject: PDEVICE_OBJECT, Irp: PIRP, Key: PULONG, CancelFunction: PDRIVER_CANCEL
) -> None:
    """Give the IRP to StartIo if the device is idle, else queue it, by *Key if Key is not NULL.

    CancelFunction becomes the IRP's cancel routine. Source: WDK IoStartPacket.
    """
    key = int.from_bytes(nt.mmu.read(int(Key), 4), "little") if Key else None
    old = set_irql(nt, DISPATCH_LEVEL, "IoStartPacket")
    if CancelFunction:
        KeAcquireSpinLockAtDpcLevel(nt, cancel_lock(nt))
        Irp._v.CancelRoutine = CancelFunction
    queue, entry = DeviceObject.DeviceQueue, Irp.Tail.Overlay.DeviceQueueEntry
    if key is None:
        queued = KeInsertDeviceQueue(nt, queue, entry)
    else:
        queued = KeInsertByKeyDeviceQueue(nt, queue, entry, key)
    if queued:
        if iop_queued(nt, Irp, CancelFunction, old):
            nt.call(CancelFunction, DeviceObject, Irp)
            return
    else:
        start_now(nt, DeviceObject, Irp, bool(CancelFunction))
    set_irql(nt, old, "IoStartPacket")


def start_now(nt: Kernel, device: PDEVICE_OBJECT, irp: PIRP, cancelable: bool) -> None:
    """The device was idle: call StartIo, and with deferred StartIo remember that it runs."""
    v = extension_of(nt, device)._v
    if not v.StartIoFlags & DEFERRED:
        iop_call_start_io(nt, device, irp, cancelable)
        return
    v.StartIoCount += 1
    iop_call_start_io(nt, device, irp, cancelable)
    iop_run_deferred(nt, device)


@export(irql="== DISPATCH")
def IoStartNextPacket(nt: Kernel, DeviceObject: PDEVICE_OBJECT, Cancelable: BOOLEAN) -> None:
    """Start the next queued IRP. Cancelable says whether the IRPs have cancel routines.

    Source: WDK IoStartNextPacket.
    """
    iop_start_next_packet(nt, DeviceObject, bool(Cancelable), None)


@export(irql="== DISPATCH")
def IoStartNextPacketByKey(
    nt: Kernel, DeviceObject: PDEVICE_OBJECT, Cancelable: BOOLEAN, Key: ULONG
) -> None:
    """Start the first queued IRP with at least that key, else the first. Source: WDK."""
    iop_start_next_packet(nt, DeviceObject, bool(Cancelable), Key)


@export(irql="any")
def IoSetStartIoAttributes(
    nt: Kernel, DeviceObject: PDEVICE_OBJECT, DeferredStartIo: BOOLEAN, NonCancelable: BOOLEAN
) -> None:
    """Whether StartIo may nest, and whether a started IRP keeps its cancel routine. Source: WDK."""
    flags = (DEFERRED if DeferredStartIo else 0) | (NON_CANCELABLE if NonCancelable else 0)
    extension_of(nt, DeviceObject)._v.StartIoFlags |= flags
