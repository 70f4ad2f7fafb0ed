"""Semaphore objects. Source: Win32 CreateSemaphore, ReleaseSemaphore; ntifs.h names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.ke import KSEMAPHORE
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, LONG, NTSTATUS, PVOID
from ntsim.nt.ex.arguments import read_attributes, system_service, write_number
from ntsim.nt.ex.named import exp_create, exp_drop_name, exp_open, exp_reference
from ntsim.nt.ke.objects import KeInitializeSemaphore, KeReleaseSemaphore
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

SEMAPHORE_MODIFY_STATE, SEMAPHORE_ALL_ACCESS = 2, 0x1F_0003
SEMAPHORE_GENERIC = (0x2_0001, 0x2_0002, 0x12_0000, SEMAPHORE_ALL_ACCESS)
SEMAPHORE_INCREMENT = 1


def exp_create_semaphore_type(nt: Kernel) -> None:
    """Register the object type Semaphore."""
    nt.ob.add_type(
        ObjectType(
            "Semaphore",
            SEMAPHORE_GENERIC,
            SEMAPHORE_ALL_ACCESS,
            close=exp_drop_name,
            waitable_offset=0,
        )
    )


@system_service
def NtCreateSemaphore(
    nt: Kernel,
    SemaphoreHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    InitialCount: LONG,
    MaximumCount: LONG,
) -> NTSTATUS:
    """A semaphore; the counts must satisfy 0 <= InitialCount <= MaximumCount, MaximumCount > 0."""
    if MaximumCount <= 0 or not 0 <= InitialCount <= MaximumCount:
        return ntstatus.STATUS_INVALID_PARAMETER

    def initialize(body: int) -> None:
        KeInitializeSemaphore(nt, KSEMAPHORE.at(nt.mmu, body), InitialCount, MaximumCount)

    attributes = read_attributes(nt, ObjectAttributes)
    kind = nt.ob.types["Semaphore"]
    status, handle = exp_create(nt, kind, KSEMAPHORE.size, attributes, DesiredAccess, initialize)
    if handle:
        write_number(nt, SemaphoreHandle, handle)
    return status


@system_service
def NtOpenSemaphore(
    nt: Kernel, SemaphoreHandle: PVOID, DesiredAccess: ACCESS_MASK, ObjectAttributes: PVOID
) -> NTSTATUS:
    """A handle to a named semaphore."""
    attributes = read_attributes(nt, ObjectAttributes)
    status, handle = exp_open(nt, nt.ob.types["Semaphore"], attributes, DesiredAccess)
    if handle:
        write_number(nt, SemaphoreHandle, handle)
    return status


@system_service
def NtReleaseSemaphore(
    nt: Kernel, SemaphoreHandle: HANDLE, ReleaseCount: LONG, PreviousCount: PVOID
) -> NTSTATUS:
    """Add to the count; STATUS_SEMAPHORE_LIMIT_EXCEEDED past the limit, and nothing changes."""
    if ReleaseCount <= 0:
        return ntstatus.STATUS_INVALID_PARAMETER
    status, body = exp_reference(nt, SemaphoreHandle, SEMAPHORE_MODIFY_STATE, "Semaphore")
    if status:
        return status
    semaphore = KSEMAPHORE.at(nt.mmu, body)
    try:
        old = KeReleaseSemaphore(nt, semaphore, SEMAPHORE_INCREMENT, ReleaseCount, False)
    except StructuredException as error:
        status = error.ExceptionCode
    nt.ob.dereference(body)
    if not status:
        write_number(nt, PreviousCount, old, 4)
    return status
