"""Code integrity checks: no memory of a driver's is executable and writable.

What hypervisor-protected code integrity refuses: executable pool, executable mappings, and images
whose sections cannot have clean protections. Source: WDK Bug Check 0xC4, 0x2000 to 0x2005; "HVCI
compatible drivers"; PE format, "Section Table".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.ex.pool import NX, PAGED_POOL
from ntsim.nt.vf.hooks import before
from ntsim.nt.vf.pool import BY_FLAGS, BY_TYPE

if TYPE_CHECKING:
    from ntsim.nt.io.driver import Driver
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

FLAG_NON_PAGED_EXECUTE = 0x80
PAGE_EXECUTE_ANY = 0xF0
MDL_MAPPING_NO_EXECUTE = 0x4000_0000
EXECUTE, WRITE = 0x2000_0000, 0x8000_0000
_PE_OFFSET, _OPTIONAL, _SECTION_SIZE = 0x3C, 24, 40
_IAT_DIRECTORY = 0x70 + 12 * 8
"""In the optional header of a PE32+ image."""


@before("code-integrity", BY_TYPE)
def vi_executable_by_type(
    vf: Verifier, nt: Kernel, PoolType: int, Size: int, Tag: int = 0, *rest: int
) -> None:
    """0x2000: NonPagedPool, which is executable."""
    if not PoolType & (PAGED_POOL | NX):
        why = f"{vf.routine} was asked for executable pool: use NonPagedPoolNx."
        vf.violation(0x2000, vf.driver_address(), PoolType, Tag, why=why)


@before("code-integrity", BY_FLAGS)
def vi_executable_by_flags(
    vf: Verifier, nt: Kernel, Flags: int, Size: int, Tag: int, *rest: int
) -> None:
    if Flags & FLAG_NON_PAGED_EXECUTE:
        why = "ExAllocatePool2 was asked for executable pool: use POOL_FLAG_NON_PAGED."
        vf.violation(0x2000, vf.driver_address(), 0, Tag, why=why)


@before("code-integrity", "ZwAllocateVirtualMemory ZwMapViewOfSection")
def vi_executable_pages(vf: Verifier, nt: Kernel, *arguments: Any) -> None:
    """0x2001: the last argument is the protection."""
    vi_protection(vf, arguments[-1])


@before("code-integrity", "ZwProtectVirtualMemory")
def vi_executable_protection(
    vf: Verifier, nt: Kernel, Process: int, Base: Any, Size: Any, Protect: int, Old: Any
) -> None:
    vi_protection(vf, Protect)


def vi_protection(vf: Verifier, protection: int) -> None:
    if protection & PAGE_EXECUTE_ANY:
        why = f"{vf.routine} was asked for the executable protection {protection:#x}."
        vf.violation(0x2001, vf.driver_address(), protection, why=why)


@before("code-integrity", "MmMapLockedPagesSpecifyCache")
def vi_executable_mapping(
    vf: Verifier, nt: Kernel, Mdl: Any, Mode: int, Cache: int, Address: int, Stop: int,
    Priority: int,
) -> None:  # fmt: skip
    """0x2002: a system mapping is executable unless it says otherwise."""
    if not Mode and not Priority & MDL_MAPPING_NO_EXECUTE:
        why = "MmMapLockedPagesSpecifyCache was called without MdlMappingNoExecute."
        vf.violation(0x2002, vf.driver_address(), Priority, why=why)


@before("code-integrity", "DriverEntry")
def vi_image(vf: Verifier, nt: Kernel, driver: Driver) -> None:
    """0x2003: executable and writable; 0x2004: not page aligned; 0x2005: imports in code."""
    image = driver.image
    header = nt.mmu.read(image.base, PAGE_SIZE)
    if header[:2] != b"MZ":
        return  # a driver written in Python has no sections
    pe = struct.unpack_from("<I", header, _PE_OFFSET)[0]
    count, optional = struct.unpack_from("<H12xH", header, pe + 6)
    imports = struct.unpack_from("<I", header, pe + _OPTIONAL + _IAT_DIRECTORY)[0]
    for index in range(count):
        at = pe + _OPTIONAL + optional + _SECTION_SIZE * index
        name = header[at : at + 8].rstrip(b"\0").decode("ascii", "replace")
        size, address = struct.unpack_from("<II", header, at + 8)
        flags = struct.unpack_from("<I", header, at + 36)[0]
        if not flags & EXECUTE:
            continue
        place = image.base + at
        if flags & WRITE:
            why = f"The section {name} of {image.file_name} is executable and writable."
            vf.violation(0x2003, vf.text(image.file_name), place, vf.text(name), why=why)
        if address % PAGE_SIZE:
            why = f"The section {name} of {image.file_name} does not begin at a page."
            vf.violation(0x2004, vf.text(image.file_name), place, vf.text(name), why=why)
        if address <= imports < address + size:
            where = image.base + pe + _OPTIONAL + _IAT_DIRECTORY
            why = f"{image.file_name} has its import address table in the code section {name}."
            vf.violation(0x2005, vf.text(image.file_name), where, vf.text(name), why=why)
