"""Shutdown notification: IRP_MJ_SHUTDOWN for devices that registered for it.

When the system shuts down, the devices of IoRegisterShutdownNotification hear of it first, the last
registered first; those of IoRegisterLastChanceShutdownNotification when the file systems are done.
A registration holds a reference to its device. Source: WDK IoRegisterShutdownNotification,
IoRegisterLastChanceShutdownNotification, IRP_MJ_SHUTDOWN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVICE_OBJECT, IO_STATUS_BLOCK
from ntsim.abi.ke import KEVENT
from ntsim.abi.rtl import LARGE_INTEGER
from ntsim.abi.scalars import NTSTATUS
from ntsim.nt.exports import export
from ntsim.nt.io.build import IoBuildSynchronousFsdRequest
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.io.device import iop_top_of
from ntsim.nt.ke.objects import KeInitializeEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIO_STATUS_BLOCK
    from ntsim.abi.ke import PKEVENT
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.kernel import Kernel


def iop_register_shutdown(nt: Kernel, device: PDEVICE_OBJECT, queue: list[int]) -> int:
    nt.ob.reference(int(device))
    queue.insert(0, int(device))
    device._v.Flags |= c.DO_SHUTDOWN_REGISTERED
    return ntstatus.STATUS_SUCCESS


def io_shutdown_system(nt: Kernel) -> None:
    """Tell every registered device, and wait for each."""
    for queue in (nt.io.shutdown, nt.io.last_chance):
        while queue:
            body = queue.pop(0)
            iop_send_shutdown(nt, DEVICE_OBJECT.at(nt.mmu, body))
            nt.ob.dereference(body)


def iop_send_shutdown(nt: Kernel, device: PDEVICE_OBJECT) -> None:
    """IRP_MJ_SHUTDOWN to the top of a device's stack."""
    block = nt.allocate_pool(0x30, "IoSh")
    nt.mmu.write(block, bytes(0x30))
    event: PKEVENT = KEVENT.at(nt.mmu, block + 0x10)
    KeInitializeEvent(nt, event, 0, False)
    status: PIO_STATUS_BLOCK = IO_STATUS_BLOCK.at(nt.mmu, block)
    offset: PLARGE_INTEGER = LARGE_INTEGER.at(nt.mmu, 0)
    top = iop_top_of(nt, device)
    irp = IoBuildSynchronousFsdRequest(nt, c.IRP_MJ_SHUTDOWN, top, 0, 0, offset, event, status)
    if IofCallDriver(nt, top, irp) == ntstatus.STATUS_PENDING:
        ki_wait(nt, [int(event)], WAIT_ANY, 0, 0, False, None)
    nt.free_pool(block)


@export(irql="== PASSIVE")
def IoRegisterShutdownNotification(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> NTSTATUS:
    """The device gets IRP_MJ_SHUTDOWN when the system shuts down. Source: WDK."""
    return iop_register_shutdown(nt, DeviceObject, nt.io.shutdown)


@export(irql="== PASSIVE")
def IoRegisterLastChanceShutdownNotification(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> NTSTATUS:
    """The same, after the others. Source: WDK IoRegisterLastChanceShutdownNotification."""
    return iop_register_shutdown(nt, DeviceObject, nt.io.last_chance)


@export(irql="== PASSIVE")
def IoUnregisterShutdownNotification(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> None:
    """Undo both; IoDeleteDevice does it too. Source: WDK IoUnregisterShutdownNotification."""
    nt.io.forget_shutdown(DeviceObject)
