"""IoConnectInterrupt, IoConnectInterruptEx and their opposites; KeSynchronizeExecution.

Source: WDK IoConnectInterrupt, IoConnectInterruptEx, IoDisconnectInterruptEx,
KeSynchronizeExecution, KeAcquireInterruptSpinLock; bug check 0xCA reference for a connection type
that is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.ke import KINTERRUPT
from ntsim.abi.kernel_enums import InterruptObject as INTERRUPT_OBJECT
from ntsim.abi.pnp import CM_PARTIAL_RESOURCE_DESCRIPTOR
from ntsim.abi.scalars import BOOLEAN, KAFFINITY, KIRQL, LONG, NTSTATUS, PVOID, ULONG
from ntsim.nt.exports import Out, export
from ntsim.nt.hal.interrupt import hal_connect_vector, hal_disconnect_vector, hal_lock
from ntsim.nt.ke.irql import set_irql
from ntsim.nt.ke.spinlock import kx_acquire_spin_lock, kx_release_spin_lock
from ntsim.nt.pnp.state import pnp, pnp_require_pdo

if TYPE_CHECKING:
    from ntsim.abi.ke import PKINTERRUPT
    from ntsim.abi.pnp import (
        PIO_CONNECT_INTERRUPT_PARAMETERS,
        PIO_DISCONNECT_INTERRUPT_PARAMETERS,
    )
    from ntsim.nt.kernel import Kernel

    PKSPIN_LOCK = Any

INVALID_CONNECTION = 9
"""Parameter 1 of 0xCA."""

KINDS = (
    c.CONNECT_FULLY_SPECIFIED,
    c.CONNECT_LINE_BASED,
    c.CONNECT_MESSAGE_BASED,
    c.CONNECT_FULLY_SPECIFIED_GROUP,
)
_OWN_LOCK = KINTERRUPT.offset_of("SpinLock")


@export(irql="== PASSIVE")
def IoConnectInterrupt(
    nt: Kernel,
    InterruptObject: Out[PKINTERRUPT],
    ServiceRoutine: PVOID,
    ServiceContext: PVOID,
    SpinLock: PKSPIN_LOCK,
    Vector: ULONG,
    Irql: KIRQL,
    SynchronizeIrql: KIRQL,
    InterruptMode: LONG,
    ShareVector: BOOLEAN,
    ProcessorEnableMask: KAFFINITY,
    FloatingSave: BOOLEAN,
) -> NTSTATUS:
    """Have ServiceRoutine called for a vector, with the values that START_DEVICE translated.

    STATUS_INVALID_PARAMETER if the vector is taken and not shared by both, no processor is named or
    the synchronization level is below the interrupt's. Source: WDK IoConnectInterrupt.
    """
    chain = pnp(nt).interrupts.setdefault(Vector, [])
    nobody = not ProcessorEnableMask & (1 << len(nt.processors)) - 1
    if not ServiceRoutine or nobody or SynchronizeIrql < Irql or not 0x30 <= Vector <= 0xFF:
        return ntstatus.STATUS_INVALID_PARAMETER
    if chain and not (ShareVector and chain[0]._v.ShareVector):
        return ntstatus.STATUS_INVALID_PARAMETER
    address = nt.allocate_pool(KINTERRUPT.size, "KiIn")
    if not address:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.mmu.write(address, bytes(KINTERRUPT.size))
    interrupt = KINTERRUPT.at(nt.mmu, address)
    v = interrupt._v
    v.Type, v.Size = INTERRUPT_OBJECT, KINTERRUPT.size
    v.ServiceRoutine, v.ServiceContext = ServiceRoutine, ServiceContext
    v.ActualLock = int(SpinLock) or address + _OWN_LOCK
    v.Vector, v.Irql, v.SynchronizeIrql = Vector, Irql, SynchronizeIrql
    v.Mode, v.ShareVector, v.FloatingSave = InterruptMode, bool(ShareVector), bool(FloatingSave)
    v.Connected = 1
    chain.append(interrupt)
    InterruptObject[0] = interrupt
    if len(chain) == 1:
        hal_connect_vector(nt, Vector)
        nt.il.take_interrupts()
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def IoDisconnectInterrupt(nt: Kernel, InterruptObject: PKINTERRUPT) -> None:
    """The routine is called no more; a line that is up stays masked. Source: WDK."""
    v = InterruptObject._v
    chain = pnp(nt).interrupts.get(v.Vector, [])
    if InterruptObject in chain:
        chain.remove(InterruptObject)
        if not chain:
            hal_disconnect_vector(nt, v.Vector)
        v.Connected = 0
        nt.free_pool(int(InterruptObject))


def pnp_interrupt_descriptor(nt: Kernel, pdo: Any) -> Any:
    """The first interrupt of a PDO's translated resources; NULL if it has none."""
    resources = pnp_require_pdo(nt, pdo)._v.ResourceListTranslated
    count = int.from_bytes(nt.mmu.read(resources + 0x10, 4), "little") if resources else 0
    for index in range(count):
        at = resources + 0x14 + index * CM_PARTIAL_RESOURCE_DESCRIPTOR.size
        descriptor = CM_PARTIAL_RESOURCE_DESCRIPTOR.at(nt.mmu, at)
        if descriptor.Type == c.CmResourceTypeInterrupt:
            return descriptor
    return CM_PARTIAL_RESOURCE_DESCRIPTOR.at(nt.mmu, 0)


@export(irql="== PASSIVE")
def IoConnectInterruptEx(nt: Kernel, Parameters: PIO_CONNECT_INTERRUPT_PARAMETERS) -> NTSTATUS:
    """Connect by full specification, by the device's line, or by messages.

    The simulated bus has no messages: CONNECT_MESSAGE_BASED connects the fall-back routine to the
    line and stores CONNECT_LINE_BASED in Version, as for any device without MSI; without one it is
    STATUS_NOT_FOUND. Source: WDK IoConnectInterruptEx.
    """
    version = Parameters.Version
    if version not in KINDS:
        Parameters.Version = c.CONNECT_FULLY_SPECIFIED
        return ntstatus.STATUS_NOT_SUPPORTED
    p = Parameters.FullySpecified
    routine = p.ServiceRoutine
    if version in (c.CONNECT_FULLY_SPECIFIED, c.CONNECT_FULLY_SPECIFIED_GROUP):
        place, mode = (p.Vector, p.Irql), p.InterruptMode
        share, mask = bool(p.ShareVector), p.ProcessorEnableMask
        level = p.SynchronizeIrql
    else:
        descriptor = pnp_interrupt_descriptor(nt, p.PhysicalDeviceObject)
        if version == c.CONNECT_MESSAGE_BASED:
            # FallBackServiceRoutine lies where FullySpecified has Irql and InterruptMode.
            routine = nt.read_pointer(int(p) + 0x30)
        if not descriptor or not routine:
            return ntstatus.STATUS_NOT_FOUND
        u = descriptor.u.Interrupt
        place, mask = (u.Vector, u.Level), u.Affinity
        mode = c.Latched if descriptor.Flags & c.CM_RESOURCE_INTERRUPT_LATCHED else c.LevelSensitive
        share = descriptor.ShareDisposition == c.CmResourceShareShared
        level = p.SynchronizeIrql or u.Level
        if version == c.CONNECT_MESSAGE_BASED:
            Parameters.Version = c.CONNECT_LINE_BASED
    cell: list[Any] = [0]
    status = IoConnectInterrupt(
        nt, cell, routine, p.ServiceContext, p.SpinLock, *place, level, mode, share, mask,
        p.FloatingSave,
    )  # fmt: skip
    if ntstatus.NT_SUCCESS(status):
        nt.write_pointer(p.InterruptObject, int(cell[0]))
    return status


@export(irql="== PASSIVE")
def IoDisconnectInterruptEx(nt: Kernel, Parameters: PIO_DISCONNECT_INTERRUPT_PARAMETERS) -> None:
    """Undo IoConnectInterruptEx; a Version that is no connection type is 0xCA/9. Source: WDK."""
    version = Parameters.Version
    if version not in KINDS:
        nt.bugcheck(bugcodes.PNP_DETECTED_FATAL_ERROR, INVALID_CONNECTION, version, 0, 0)
    IoDisconnectInterrupt(nt, KINTERRUPT.at(nt.mmu, Parameters.InterruptObject))


@export(irql="any")
def KeAcquireInterruptSpinLock(nt: Kernel, Interrupt: PKINTERRUPT) -> KIRQL:
    """Raise to the interrupt's synchronization level and take its lock; the old level.

    Source: WDK KeAcquireInterruptSpinLock.
    """
    old = set_irql(nt, Interrupt._v.SynchronizeIrql, "KeAcquireInterruptSpinLock")
    kx_acquire_spin_lock(nt, hal_lock(nt, Interrupt))
    return old


@export(irql="== DIRQL")
def KeReleaseInterruptSpinLock(nt: Kernel, Interrupt: PKINTERRUPT, OldIrql: KIRQL) -> None:
    """Release the lock and lower to OldIrql. Source: WDK KeReleaseInterruptSpinLock."""
    kx_release_spin_lock(nt, hal_lock(nt, Interrupt))
    set_irql(nt, OldIrql, "KeReleaseInterruptSpinLock")


@export(irql="<= DIRQL")
def KeSynchronizeExecution(
    nt: Kernel, Interrupt: PKINTERRUPT, SynchronizeRoutine: PVOID, SynchronizeContext: PVOID
) -> BOOLEAN:
    """Call a routine that the interrupt's service routine cannot interrupt; its result.

    Source: WDK KeSynchronizeExecution.
    """
    old = KeAcquireInterruptSpinLock(nt, Interrupt)
    result = nt.call(SynchronizeRoutine, SynchronizeContext) & 0xFF
    KeReleaseInterruptSpinLock(nt, Interrupt, old)
    return bool(result)
