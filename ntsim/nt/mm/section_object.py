"""Sections by pointer, or by handle in the previous mode, and what a section says of itself.

Undocumented but exported. Source: ReactOS ntoskrnl/mm/ARM3/section.c, kmtests MmSection.c,
NtCreateSection_drv.c; winsiderss phnt ntmmapi.h SECTION_BASIC_INFORMATION.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import winnt_constants as w
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, NTSTATUS, PVOID, SIZE_T, ULONG, ULONG_PTR
from ntsim.nt.ex.arguments import in_kernel_mode
from ntsim.nt.ex.named import exp_reference
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.mm.probe import mm_probe
from ntsim.nt.mm.section import (
    SECTION_SIZE,
    mi_check_map,
    mi_map_by_handle,
    mi_map_section,
    mi_new_section,
    mi_section_refused,
)
from ntsim.nt.mm.user_space import MAPPED

if TYPE_CHECKING:
    from ntsim.abi.io import PFILE_OBJECT
    from ntsim.abi.ps import PEPROCESS
    from ntsim.abi.rtl import PLARGE_INTEGER, POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel

BASIC, IMAGE = 0, 1
"""SECTION_INFORMATION_CLASS."""
_SIZES = {BASIC: 0x18, IMAGE: 0x40}


def mi_process(nt: Kernel, address: int) -> Any:
    """The process whose EPROCESS this is; anything else is followed into an access violation."""
    found = nt.ps.by_address.get(address)
    if found is None:
        nt.raise_status(ntstatus.STATUS_ACCESS_VIOLATION, "no process", (0, address))
    return found


@export(irql="<= APC")
def MmCreateSection(
    nt: Kernel,
    SectionObject: Out[PVOID],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    MaximumSize: PLARGE_INTEGER,
    SectionPageProtection: ULONG,
    AllocationAttributes: ULONG,
    FileHandle: HANDLE,
    FileObject: PFILE_OBJECT,
) -> NTSTATUS:
    """A section with one reference and neither name nor handle; a file as for ZwCreateSection."""
    maximum = MaximumSize.QuadPart if MaximumSize else 0
    rest = (SectionPageProtection, AllocationAttributes)
    status = mi_section_refused(nt, maximum, *rest, FileHandle or int(FileObject))
    if status:
        return status
    body = nt.ob.create(nt.ob.types["Section"], SECTION_SIZE)
    if not body:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.ob.bodies[body] = mi_new_section(nt, maximum, *rest)
    SectionObject[0] = body
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def MmMapViewOfSection(
    nt: Kernel,
    SectionObject: PVOID,
    Process: PEPROCESS,
    BaseAddress: OutOpt[PVOID],
    ZeroBits: ULONG_PTR,
    CommitSize: SIZE_T,
    SectionOffset: PLARGE_INTEGER,
    ViewSize: OutOpt[SIZE_T],
    InheritDisposition: ULONG,
    AllocationType: ULONG,
    Protect: ULONG,
) -> NTSTATUS:
    """ZwMapViewOfSection of a section and a process that the caller has pointers to."""
    place = (BaseAddress, SectionOffset, ViewSize)
    how = (ZeroBits, CommitSize, InheritDisposition, AllocationType, Protect)
    status = mi_check_map(place, how)
    if status:
        return status
    if nt.ob.type_of(int(SectionObject)) is not nt.ob.types["Section"]:
        return ntstatus.STATUS_OBJECT_TYPE_MISMATCH
    process = mi_process(nt, int(Process))
    return mi_map_section(nt, int(SectionObject), process, place, how)


@export(irql="<= APC")
def MmUnmapViewOfSection(nt: Kernel, Process: PEPROCESS, BaseAddress: PVOID) -> NTSTATUS:
    """Unmap the view that an address of a process lies in; STATUS_NOT_MAPPED_VIEW elsewhere."""
    space = mi_process(nt, int(Process)).user
    found = space.find(BaseAddress)
    if found is None or found.kind != MAPPED:
        return ntstatus.STATUS_NOT_MAPPED_VIEW
    space.release(found)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def NtMapViewOfSection(
    nt: Kernel,
    SectionHandle: HANDLE,
    ProcessHandle: HANDLE,
    BaseAddress: OutOpt[PVOID],
    ZeroBits: ULONG_PTR,
    CommitSize: SIZE_T,
    SectionOffset: PLARGE_INTEGER,
    ViewSize: OutOpt[SIZE_T],
    InheritDisposition: ULONG,
    AllocationType: ULONG,
    Win32Protect: ULONG,
) -> NTSTATUS:
    """ZwMapViewOfSection in the previous mode.

    In the thread of an app the handles must be the app's and the pointers user addresses, else
    STATUS_INVALID_HANDLE or an access violation is raised for what a driver keeps on its stack.
    """
    if nt.thread.v.PreviousMode:
        pointers: tuple[Any, ...] = (BaseAddress, ViewSize, SectionOffset)
        for pointer in pointers:
            if pointer:
                mm_probe(nt, int(pointer), 8, 8)
    place = (BaseAddress, SectionOffset, ViewSize)
    how = (ZeroBits, CommitSize, InheritDisposition, AllocationType, Win32Protect)
    return mi_map_by_handle(nt, SectionHandle, ProcessHandle, place, how)


@export(irql="== PASSIVE")
def ZwQuerySection(
    nt: Kernel,
    SectionHandle: HANDLE,
    SectionInformationClass: ULONG,
    SectionInformation: PVOID,
    SectionInformationLength: SIZE_T,
    ReturnLength: OutOpt[SIZE_T],
) -> NTSTATUS:
    """SECTION_BASIC_INFORMATION (class 0): attributes and size; no section here is an image.

    STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH, STATUS_SECTION_NOT_IMAGE for class 1.
    """
    if SectionInformationClass not in _SIZES:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if SectionInformationLength < _SIZES[SectionInformationClass]:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    status, body = in_kernel_mode(nt, exp_reference, SectionHandle, w.SECTION_QUERY, "Section")
    if status:
        return status
    section = nt.ob.bodies[body]
    nt.ob.dereference(body)
    if SectionInformationClass == IMAGE:
        return ntstatus.STATUS_SECTION_NOT_IMAGE
    data = struct.pack("<QIIq", 0, section.attributes, 0, section.size)
    nt.mmu.write(int(SectionInformation), data)
    if ReturnLength:
        ReturnLength[0] = len(data)
    return ntstatus.STATUS_SUCCESS
