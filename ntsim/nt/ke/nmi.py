"""NMI callbacks: KeRegisterNmiCallback.

A non-maskable interrupt calls every registered routine on its processor; if none of them says that
the interrupt was its own, the system stops with 0x80 NMI_HARDWARE_FAILURE. Source: WDK
KeRegisterNmiCallback, PNMI_CALLBACK; ReactOS ntoskrnl/ke/bug.c KiHandleNmi.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi.scalars import NTSTATUS, PVOID
from ntsim.nt.exports import export
from ntsim.nt.ke.irql import HIGH_LEVEL

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

NMI_ODT = 0x4F4454
"""Parameter 1 of bug check 0x80 in real dumps: the letters ODT."""

RECORD_SIZE = 0x20
"""The handle is a record in nonpaged pool: next record, routine, context, itself."""


def ki_handle_nmi(nt: Kernel) -> None:
    """An NMI on the current processor."""
    processor = nt.il.current
    irql, processor.cr8 = processor.cr8, HIGH_LEVEL
    handled = False
    for handle in list(nt.ke.nmi_callbacks):
        routine, context = nt.read_pointer(handle + 8), nt.read_pointer(handle + 16)
        handled = bool(nt.call(routine, context, int(handled)) & 0xFF) or handled
    processor.cr8 = irql
    if not handled:
        nt.bugcheck(bugcodes.NMI_HARDWARE_FAILURE, NMI_ODT)


@export(irql="<= APC")
def KeRegisterNmiCallback(nt: Kernel, CallbackRoutine: PVOID, Context: PVOID) -> PVOID:
    """A handle; the routine is called as (Context, Handled) and answers whether the NMI is its own.

    The last registered is called first. NULL without memory. Source: WDK KeRegisterNmiCallback.
    """
    handle = nt.allocate_pool(RECORD_SIZE, "KNMI")
    if handle:
        before = nt.ke.nmi_callbacks[0] if nt.ke.nmi_callbacks else 0
        for offset, value in enumerate((before, CallbackRoutine, Context, handle)):
            nt.mmu.write_word(handle + 8 * offset, value)
        nt.ke.nmi_callbacks.insert(0, handle)
    return handle


@export(irql="<= APC")
def KeDeregisterNmiCallback(nt: Kernel, Handle: PVOID) -> NTSTATUS:
    """Undo it; STATUS_INVALID_HANDLE for a handle that is none. Source: WDK."""
    if Handle not in nt.ke.nmi_callbacks:
        return ntstatus.STATUS_INVALID_HANDLE
    at = nt.ke.nmi_callbacks.index(Handle)
    if at:
        nt.mmu.write_word(nt.ke.nmi_callbacks[at - 1], nt.read_pointer(Handle))
    nt.ke.nmi_callbacks.remove(Handle)
    nt.free_pool(Handle)
    return ntstatus.STATUS_SUCCESS
