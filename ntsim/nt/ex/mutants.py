"""Mutant objects: what Win32 calls a mutex. Source: Win32 CreateMutex; ntifs.h names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.ke import KMUTANT
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, HANDLE, NTSTATUS, PVOID
from ntsim.nt.ex.arguments import read_attributes, system_service, write_number
from ntsim.nt.ex.named import exp_create, exp_drop_name, exp_open, exp_reference
from ntsim.nt.ke.objects import STATUS_MUTANT_NOT_OWNED, KeReleaseMutex, ke_initialize_mutant
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

MUTANT_ALL_ACCESS = 0x1F_0001
MUTANT_GENERIC = (0x2_0001, 0x2_0000, 0x12_0000, MUTANT_ALL_ACCESS)
_MUTANT_ENTRY = KMUTANT.offset_of("MutantListEntry")


def exp_create_mutant_type(nt: Kernel) -> None:
    """Register the object type Mutant."""
    nt.ob.add_type(
        ObjectType(
            "Mutant",
            MUTANT_GENERIC,
            MUTANT_ALL_ACCESS,
            close=exp_drop_name,
            delete=exp_delete_mutant,
            waitable_offset=0,
        )
    )


def exp_delete_mutant(nt: Kernel, body: int) -> None:
    """The last reference goes while somebody owns it: it leaves the owner's list."""
    if KMUTANT.at(nt.mmu, body)._v.OwnerThread:
        lists.remove(nt.mmu, body + _MUTANT_ENTRY)


@system_service
def NtCreateMutant(
    nt: Kernel,
    MutantHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    InitialOwner: BOOLEAN,
) -> NTSTATUS:
    """A mutant, owned by the caller if InitialOwner."""

    def initialize(body: int) -> None:
        ke_initialize_mutant(nt, KMUTANT.at(nt.mmu, body), bool(InitialOwner), apc_disable=0)

    attributes = read_attributes(nt, ObjectAttributes)
    kind = nt.ob.types["Mutant"]
    status, handle = exp_create(nt, kind, KMUTANT.size, attributes, DesiredAccess, initialize)
    if handle:
        write_number(nt, MutantHandle, handle)
    return status


@system_service
def NtOpenMutant(
    nt: Kernel, MutantHandle: PVOID, DesiredAccess: ACCESS_MASK, ObjectAttributes: PVOID
) -> NTSTATUS:
    """A handle to a named mutant."""
    attributes = read_attributes(nt, ObjectAttributes)
    status, handle = exp_open(nt, nt.ob.types["Mutant"], attributes, DesiredAccess)
    if handle:
        write_number(nt, MutantHandle, handle)
    return status


@system_service
def NtReleaseMutant(nt: Kernel, MutantHandle: HANDLE, PreviousCount: PVOID) -> NTSTATUS:
    """Release one acquisition; STATUS_MUTANT_NOT_OWNED for a thread that has none."""
    status, body = exp_reference(nt, MutantHandle, 0, "Mutant")
    if status:
        return status
    mutant = KMUTANT.at(nt.mmu, body)
    owned = mutant._v.OwnerThread == nt.thread.va
    old = KeReleaseMutex(nt, mutant, False) if owned else 0
    nt.ob.dereference(body)
    if not owned:
        return STATUS_MUTANT_NOT_OWNED
    write_number(nt, PreviousCount, old, 4)
    return status
