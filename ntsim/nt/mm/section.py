"""Section objects and their views.

A section without a file is a list of frames that its views share; they are taken when it is
created and given back with its last reference, and every view holds one. \\Device\\PhysicalMemory
is a section over RAM itself. A file needs a file system's SectionObjectPointer, and none is
modelled: STATUS_INVALID_FILE_FOR_SECTION, as Windows answers for a plain device. Source: WDK
ZwCreateSection, ZwMapViewOfSection, ZwUnmapViewOfSection; ReactOS kmtests ntos_mm/ZwCreateSection.c
and ZwMapViewOfSection.c for the statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import winnt_constants as w
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, NTSTATUS, PVOID, SIZE_T, ULONG, ULONG_PTR
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.ex.arguments import in_kernel_mode
from ntsim.nt.ex.events import driver_attributes
from ntsim.nt.ex.named import exp_create, exp_open, exp_reference
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.mm import layout
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.protection import MODIFIERS
from ntsim.nt.mm.services import VM_OPERATION, mm_process
from ntsim.nt.mm.user_space import GRANULARITY, MAPPED
from ntsim.nt.mm.virtual import FRAMES_KEPT_FREE, highest_address
from ntsim.nt.ob.namespace import ob_drop_name, ob_lookup
from ntsim.nt.ob.objects import ObjectType

if TYPE_CHECKING:
    from ntsim.abi.rtl import PLARGE_INTEGER, POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel

GENERIC = (0x2_0005, 0x2_0002, 0x2_0008, w.SECTION_ALL_ACCESS)
SECTION_SIZE = 0x40
MEM_DOS_LIM, SEC_BASED, SEC_NO_CHANGE = 0x4000_0000, 0x20_0000, 0x40_0000
_VIEW_TYPES = w.MEM_RESERVE | w.MEM_TOP_DOWN | w.MEM_LARGE_PAGES | MEM_DOS_LIM | SEC_NO_CHANGE
_BACKED = w.SEC_COMMIT | w.SEC_RESERVE | w.SEC_IMAGE
_CACHE = w.SEC_NOCACHE | w.SEC_WRITECOMBINE
_ATTRIBUTES = _BACKED | _CACHE | w.SEC_LARGE_PAGES | SEC_BASED | SEC_NO_CHANGE
_CACHE_MODIFIERS = w.PAGE_NOCACHE | w.PAGE_WRITECOMBINE
_MODIFIERS = _CACHE_MODIFIERS | w.PAGE_GUARD
_COPIES = w.PAGE_WRITECOPY | w.PAGE_EXECUTE_WRITECOPY
_LARGE_PAGE, _MOST = 0x20_0000, 1 << 44
VALID_ACCESS = w.SECTION_ALL_ACCESS | w.SYNCHRONIZE
VIEW_SHARE, VIEW_UNMAP = 1, 2
_READING = {w.PAGE_NOACCESS, w.PAGE_READONLY, w.PAGE_WRITECOPY}
_RUNNING = {w.PAGE_NOACCESS, w.PAGE_EXECUTE}
_RUNNING_READING = {*_READING, *_RUNNING, w.PAGE_EXECUTE_READ, w.PAGE_EXECUTE_WRITECOPY}
_VIEWS = {
    w.PAGE_READONLY: _READING,
    w.PAGE_WRITECOPY: _READING,
    w.PAGE_READWRITE: {*_READING, w.PAGE_READWRITE},
    w.PAGE_EXECUTE: _RUNNING,
    w.PAGE_EXECUTE_READ: _RUNNING_READING,
    w.PAGE_EXECUTE_WRITECOPY: _RUNNING_READING,
    w.PAGE_EXECUTE_READWRITE: {*_RUNNING_READING, w.PAGE_READWRITE, w.PAGE_EXECUTE_READWRITE},
}
"""A section's protection to those that its views may have."""

_PROTECTIONS = {w.PAGE_NOACCESS, *_VIEWS}

Place = tuple[Any, Any, Any]
"""Pointers to the base of a view, the section's offset (NULL: 0) and the size."""


@dataclass(eq=False, slots=True)
class SectionObject:
    """What hangs on a Section object: its frames, in order, and how it may be mapped at most."""

    size: int
    protection: int
    frames: Sequence[int]
    physical: bool = False
    attributes: int = w.SEC_COMMIT


def mm_create_section_type(nt: Kernel) -> None:
    """Register the object type Section and enter \\Device\\PhysicalMemory."""
    kind = nt.ob.add_type(
        ObjectType(
            "Section", GENERIC, VALID_ACCESS, close=ob_drop_name, delete=mi_delete_section
        )
    )
    size = nt.mm.ram.size
    memory = SectionObject(size, w.PAGE_EXECUTE_READWRITE, range(0, size, PAGE_SIZE), True)
    body = nt.ob.create(kind, SECTION_SIZE, memory, "Sect")
    found = ob_lookup(nt, "\\Device\\PhysicalMemory")
    nt.ob.attach_name(body, found.directory, found.name)
    nt.ob.make_permanent(body)


def mi_delete_section(nt: Kernel, body: int) -> None:
    """The last handle and the last view are gone."""
    section = nt.ob.bodies[body]
    if section is not None and not section.physical:
        for pa in section.frames:
            nt.mm.frames.give(pa)


def mi_section_arguments(maximum: int, protection: int, attributes: int, file: int) -> int:
    """The checks of ZwCreateSection on its arguments alone."""
    backed = attributes & _BACKED
    if attributes & ~_ATTRIBUTES or not backed or backed & (backed - 1):
        return ntstatus.STATUS_INVALID_PARAMETER_6
    if attributes & w.SEC_LARGE_PAGES and (file or not attributes & w.SEC_COMMIT):
        return ntstatus.STATUS_INVALID_PARAMETER_6
    if protection not in _PROTECTIONS or protection == w.PAGE_NOACCESS:
        return ntstatus.STATUS_INVALID_PAGE_PROTECTION
    if file:
        return ntstatus.STATUS_INVALID_FILE_FOR_SECTION
    if attributes & w.SEC_IMAGE:
        return ntstatus.STATUS_INVALID_FILE_FOR_SECTION
    if not maximum or (attributes & w.SEC_LARGE_PAGES and maximum % _LARGE_PAGE):
        return ntstatus.STATUS_INVALID_PARAMETER_4
    if not 0 < maximum <= _MOST:
        return ntstatus.STATUS_SECTION_TOO_BIG
    return ntstatus.STATUS_SUCCESS


def mi_section_refused(
    nt: Kernel, maximum: int, protection: int, attributes: int, file: int
) -> int:
    """Why a section cannot be made; 0 if it can."""
    status = mi_section_arguments(maximum, protection, attributes, file)
    if not status and -(-maximum // PAGE_SIZE) > nt.mm.frames.available - FRAMES_KEPT_FREE:
        status = ntstatus.STATUS_COMMITMENT_LIMIT
    return status


def mi_new_section(nt: Kernel, maximum: int, protection: int, attributes: int) -> SectionObject:
    """The frames of a section of `maximum` bytes."""
    pages = -(-maximum // PAGE_SIZE)
    taken = [nt.mm.frames.take() for _ in range(pages)]
    return SectionObject(pages * PAGE_SIZE, protection, taken, attributes=attributes)


@export(irql="<= APC")
def ZwCreateSection(
    nt: Kernel,
    SectionHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    MaximumSize: PLARGE_INTEGER,
    SectionPageProtection: ULONG,
    AllocationAttributes: ULONG,
    FileHandle: HANDLE,
) -> NTSTATUS:
    """A section of MaximumSize bytes, whole pages, zeroed. Source: WDK ZwCreateSection."""
    maximum = MaximumSize.QuadPart if MaximumSize else 0
    rest = (SectionPageProtection, AllocationAttributes)
    status = mi_section_refused(nt, maximum, *rest, FileHandle)
    if status:
        return status

    def initialize(body: int) -> None:
        nt.ob.bodies[body] = mi_new_section(nt, maximum, *rest)

    attributes = driver_attributes(nt, ObjectAttributes)
    kind = nt.ob.types["Section"]
    status, SectionHandle[0] = exp_create(
        nt, kind, SECTION_SIZE, attributes, DesiredAccess, initialize
    )  # fmt: skip
    return status


@export(irql="== PASSIVE")
def ZwOpenSection(
    nt: Kernel,
    SectionHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
) -> NTSTATUS:
    """A handle to a named section; \\Device\\PhysicalMemory is one. Source: WDK ZwOpenSection."""
    attributes = driver_attributes(nt, ObjectAttributes)
    status, SectionHandle[0] = exp_open(nt, nt.ob.types["Section"], attributes, DesiredAccess)
    return status


def mi_allows(section: SectionObject, protection: int) -> bool:
    """Whether the section's protection covers a view's."""
    return protection & ~_MODIFIERS in _VIEWS[section.protection]


def mi_view_span(section: SectionObject, offset: int, size: int) -> tuple[int, int]:
    """(status, bytes) of a view; size 0 means to the end."""
    if offset < 0 or offset >= section.size:
        return ntstatus.STATUS_INVALID_VIEW_SIZE, 0
    size = size or section.size - offset
    span = -(-size // PAGE_SIZE) * PAGE_SIZE
    if offset + span > section.size:
        return ntstatus.STATUS_INVALID_VIEW_SIZE, 0
    return ntstatus.STATUS_SUCCESS, span


def mi_check_commit(section: SectionObject, size: int, commit: int, kind: int) -> int:
    """A section without a file has nothing to reserve and no more to commit than it is long."""
    if kind & w.MEM_RESERVE:
        return ntstatus.STATUS_INVALID_PARAMETER_9
    if commit > (size or section.size):
        return ntstatus.STATUS_INVALID_PARAMETER_5
    return ntstatus.STATUS_SUCCESS


def mi_map_view(
    nt: Kernel,
    body: int,
    process: Any,
    base: int,
    offset: int,
    size: int,
    protection: int,
    *,
    highest: int = layout.HIGHEST_USER,
    top_down: bool = False,
) -> tuple[int, int, int]:
    """(status, base, bytes) of a view in a process.

    Pages of a section come when they are touched, those of physical memory at once. A view that
    copies what is written is charged for all of it.
    """
    section = nt.ob.bodies[body]
    if not mi_allows(section, protection):
        return ntstatus.STATUS_SECTION_PROTECTION, 0, 0
    status, span = mi_view_span(section, offset, size)
    if status:
        return status, 0, 0
    lead = offset % GRANULARITY if section.physical and not base else 0
    made = process.user.reserve(
        lead + span, base, protection, MAPPED, highest=highest, top_down=top_down
    )
    if made is None:
        failed = ntstatus.STATUS_CONFLICTING_ADDRESSES if base else ntstatus.STATUS_NO_MEMORY
        return failed, 0, 0
    made.released = partial(nt.ob.dereference, body)
    nt.ob.reference(body)
    first, pages = (offset - lead) // PAGE_SIZE, (lead + span) // PAGE_SIZE
    made.prototypes = section.frames[first : first + pages]
    if not section.physical:
        process.user.map_view(made, protection)
        if protection & _COPIES:
            made.charge(pages)
        return ntstatus.STATUS_SUCCESS, made.base, span
    for va in range(made.base + lead, made.end, PAGE_SIZE):
        process.user.map_shared(va, made.prototypes[va - made.base >> 12], protection)
    return ntstatus.STATUS_SUCCESS, made.base + lead, span


def mi_map_arguments(
    base: int, size: int, inherit: int, protection: int, kind: int, zero_bits: int
) -> int:
    """The checks of ZwMapViewOfSection on its arguments alone."""
    if inherit not in (VIEW_SHARE, VIEW_UNMAP):
        return ntstatus.STATUS_INVALID_PARAMETER_8
    if kind & ~_VIEW_TYPES:
        return ntstatus.STATUS_INVALID_PARAMETER_9
    more = protection & _MODIFIERS
    if protection - more not in (_VIEWS if more else _PROTECTIONS) or more not in MODIFIERS:
        return ntstatus.STATUS_INVALID_PAGE_PROTECTION
    if 21 < zero_bits < 32 or (zero_bits and base > highest_address(zero_bits)):
        return ntstatus.STATUS_INVALID_PARAMETER_4
    if base > layout.HIGHEST_USER or size > layout.HIGHEST_USER - base:
        return ntstatus.STATUS_INVALID_PARAMETER_3
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def ZwMapViewOfSection(
    nt: Kernel,
    SectionHandle: HANDLE,
    ProcessHandle: HANDLE,
    BaseAddress: Out[PVOID],
    ZeroBits: ULONG_PTR,
    CommitSize: SIZE_T,
    SectionOffset: PLARGE_INTEGER,
    ViewSize: OutOpt[SIZE_T],
    InheritDisposition: ULONG,
    AllocationType: ULONG,
    Win32Protect: ULONG,
) -> NTSTATUS:
    """Map a view of a section into a process; base, offset and size are read and written back.

    Base and offset must be multiples of 64 KiB (STATUS_MAPPED_ALIGNMENT); an offset into physical
    memory is rounded down to its page instead, where the view then begins. ZeroBits count as in
    NtAllocateVirtualMemory; a base that they exclude is STATUS_INVALID_PARAMETER_4. Source: WDK
    ZwMapViewOfSection; ReactOS kmtests; Wine dlls/ntdll/tests/virtual.c.
    """
    place = (BaseAddress, SectionOffset, ViewSize)
    how = (ZeroBits, CommitSize, InheritDisposition, AllocationType, Win32Protect)
    return in_kernel_mode(nt, mi_map_by_handle, SectionHandle, ProcessHandle, place, how)


def mi_map_by_handle(
    nt: Kernel, section: int, process_handle: int, place: Place, how: tuple[int, ...]
) -> int:
    """ZwMapViewOfSection in the previous mode."""
    status = mi_check_map(place, how)
    if status:
        return status
    status, process = mm_process(nt, process_handle, VM_OPERATION)
    if process is None:
        return status
    status, body = exp_reference(nt, section, 0, "Section")
    if status:
        return status
    status = mi_map_section(nt, body, process, place, how)
    nt.ob.dereference(body)
    return status


def mi_check_map(place: Place, how: tuple[int, ...]) -> int:
    """The checks on the arguments alone; `how` is ZeroBits, CommitSize, InheritDisposition,
    AllocationType, Win32Protect."""
    zero_bits, _, inherit, kind, protection = how
    return mi_map_arguments(
        place[0][0] or 0, place[2][0], inherit, protection, kind, zero_bits
    )  # fmt: skip


def mi_map_section(
    nt: Kernel, body: int, process: Any, place: Place, how: tuple[int, ...]
) -> int:
    """Map a view of a section object; base, offset and size are read and written back."""
    zero_bits, commit, _, kind, protection = how
    base, size = place[0][0] or 0, place[2][0]
    offset: int = place[1].QuadPart if place[1] else 0
    section = nt.ob.bodies[body]
    rounding = offset % PAGE_SIZE if section.physical else 0
    if base % GRANULARITY or (not section.physical and offset % GRANULARITY):
        return ntstatus.STATUS_MAPPED_ALIGNMENT
    if not section.physical:
        status = mi_check_commit(section, size, commit, kind)
        if status:
            return status
    wanted = size + rounding if size else 0
    status, base, span = mi_map_view(
        nt, body, process, base, offset - rounding, wanted, protection,
        highest=highest_address(zero_bits), top_down=bool(kind & w.MEM_TOP_DOWN),
    )  # fmt: skip
    if not status:
        place[0][0], place[2][0] = base, span
        if place[1]:
            place[1].QuadPart = offset - rounding
    return status


@export(irql="== PASSIVE")
def ZwUnmapViewOfSection(nt: Kernel, ProcessHandle: HANDLE, BaseAddress: PVOID) -> NTSTATUS:
    """Unmap the view that an address lies in. Source: WDK ZwUnmapViewOfSection."""
    status, process = in_kernel_mode(nt, mm_process, ProcessHandle, VM_OPERATION)
    if process is None:
        return status
    found = process.user.find(BaseAddress)
    if found is None or found.kind != MAPPED:
        return ntstatus.STATUS_NOT_MAPPED_VIEW
    process.user.release(found)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def MmMapViewInSystemSpace(
    nt: Kernel, Section: PVOID, MappedBase: Out[PVOID], ViewSize: OutOpt[SIZE_T]
) -> NTSTATUS:
    """Map a section from its start into system space. Source: ntifs.h MmMapViewInSystemSpace."""
    section, mm = nt.ob.bodies.get(Section), nt.mm
    if not isinstance(section, SectionObject):
        nt.mmu.read(Section, 8)
        return ntstatus.STATUS_INVALID_PARAMETER
    status, span = mi_view_span(section, 0, ViewSize[0])
    if status:
        return status
    pages = span // PAGE_SIZE
    try:
        base = mm.system_ptes.reserve(pages)
    except OutOfFrames:
        return ntstatus.STATUS_NO_MEMORY
    frames = list(section.frames[:pages])
    mm.system.map(base, frames)
    mm.system.make_raw(mm.system_ptes, base, frames)
    mm.system_views[base] = (Section, pages)
    nt.ob.reference(Section)
    MappedBase[0] = base
    ViewSize[0] = span
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def MmUnmapViewInSystemSpace(nt: Kernel, MappedBase: PVOID) -> NTSTATUS:
    """Undo MmMapViewInSystemSpace; an address that is no view is STATUS_NOT_MAPPED_VIEW."""
    mm = nt.mm
    body, pages = mm.system_views.pop(MappedBase, (0, 0))
    if not body:
        return ntstatus.STATUS_NOT_MAPPED_VIEW
    mm.system.unmap(MappedBase, pages)
    mm.system_ptes.release(MappedBase, pages)
    nt.ob.dereference(body)
    return ntstatus.STATUS_SUCCESS
