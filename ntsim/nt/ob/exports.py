"""Object routines for drivers. Source: WDK Ob routines; ReactOS kmtests ObReference.c."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import (
    ACCESS_MASK,
    HANDLE,
    KPROCESSOR_MODE,
    LONG_PTR,
    NTSTATUS,
    PVOID,
    ULONG,
)
from ntsim.nt.exports import Out, export
from ntsim.nt.ob.handles import ob_close, ob_reference_by_handle

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def ob_type_at(nt: Kernel, address: int) -> Any:
    """The type whose OBJECT_TYPE is at `address`; None for NULL."""
    return next((t for t in nt.ob.types.values() if t.va == address), None)


@export(irql="== PASSIVE")
def ObReferenceObjectByHandle(
    nt: Kernel,
    Handle: HANDLE,
    DesiredAccess: ACCESS_MASK,
    ObjectType: PVOID,
    AccessMode: KPROCESSOR_MODE,
    Object: Out[PVOID],
    HandleInformation: PVOID,
) -> NTSTATUS:
    """A referenced pointer to a handle's object; access is checked for user mode. Source: WDK."""
    kind = ob_type_at(nt, int(ObjectType)) if ObjectType else None
    status, body, granted = ob_reference_by_handle(nt, Handle, DesiredAccess, kind, AccessMode)
    Object[0] = body
    if HandleInformation and not status:
        information = struct.pack("<II", 0, granted)
        nt.mmu.write(int(HandleInformation), information)
    return status


@export(irql="== PASSIVE")
def ObReferenceObjectByHandleWithTag(
    nt: Kernel,
    Handle: HANDLE,
    DesiredAccess: ACCESS_MASK,
    ObjectType: PVOID,
    AccessMode: KPROCESSOR_MODE,
    Tag: ULONG,
    Object: Out[PVOID],
    HandleInformation: PVOID,
) -> NTSTATUS:
    """ObReferenceObjectByHandle; the tag is for tracing, which is off. Source: WDK."""
    return ObReferenceObjectByHandle(
        nt, Handle, DesiredAccess, ObjectType, AccessMode, Object, HandleInformation
    )


@export(irql="<= DISPATCH", aliases=("ObReferenceObjectWithTag",))
def ObfReferenceObjectWithTag(nt: Kernel, Object: PVOID, Tag: ULONG) -> LONG_PTR:
    """ObfReferenceObject with a tag for tracing. Source: WDK ObReferenceObjectWithTag."""
    return ObfReferenceObject(nt, Object)


@export(irql="<= DISPATCH", aliases=("ObDereferenceObjectWithTag",))
def ObfDereferenceObjectWithTag(nt: Kernel, Object: PVOID, Tag: ULONG) -> LONG_PTR:
    """ObfDereferenceObject with a tag for tracing. Source: WDK ObDereferenceObjectWithTag."""
    return ObfDereferenceObject(nt, Object)


@export(irql="<= DISPATCH", aliases=("ObReferenceObject",))
def ObfReferenceObject(nt: Kernel, Object: PVOID) -> LONG_PTR:
    """One more reference; the new count. Source: WDK ObReferenceObject."""
    count: int = nt.ob.reference(int(Object))
    return count


@export(irql="<= DISPATCH", aliases=("ObDereferenceObject",))
def ObfDereferenceObject(nt: Kernel, Object: PVOID) -> LONG_PTR:
    """One reference less; the new count. Source: WDK ObDereferenceObject."""
    count: int = nt.ob.dereference(int(Object))
    return count


@export(irql="<= DISPATCH")
def ObReferenceObjectByPointer(
    nt: Kernel,
    Object: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectType: PVOID,
    AccessMode: KPROCESSOR_MODE,
) -> NTSTATUS:
    """One more reference after a type check (skipped for NULL in kernel mode). Source: WDK."""
    kind = ob_type_at(nt, int(ObjectType)) if ObjectType else None
    if (kind is None and AccessMode) or (kind and nt.ob.type_of(int(Object)) is not kind):
        return ntstatus.STATUS_OBJECT_TYPE_MISMATCH
    nt.ob.reference(int(Object))
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def NtClose(nt: Kernel, Handle: HANDLE) -> NTSTATUS:
    """Close a handle of the current process; a kernel handle from kernel mode. Source: WDK."""
    return ob_close(nt, Handle, nt.thread.v.PreviousMode)


@export(irql="== PASSIVE")
def ZwClose(nt: Kernel, Handle: HANDLE) -> NTSTATUS:
    """Close a handle. Source: WDK ZwClose."""
    return ob_close(nt, Handle)


@export(irql="== PASSIVE")
def ObCloseHandle(nt: Kernel, Handle: HANDLE, PreviousMode: KPROCESSOR_MODE) -> NTSTATUS:
    """Close a handle; with UserMode a kernel handle is invalid.

    Source: WDK ObCloseHandle; kmtests ObHandle.c.
    """
    return ob_close(nt, Handle, PreviousMode)
