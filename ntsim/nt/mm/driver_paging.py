"""Pageable sections of drivers: locking them into memory, paging whole drivers.

A section is locked as long as it was locked more often than unlocked; its handle is the address of
its IMAGE_SECTION_HEADER, in a Python driver, whose code lies in no pages, the image's base. Source:
WDK MmLockPagableDataSection, MmLockPagableSectionByHandle, MmUnlockPagableImageSection,
MmPageEntireDriver, MmResetDriverPaging; bug check 0x1A reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.abi.scalars import PVOID
from ntsim.hw.paging import PTE_FRAME
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.images import Image, ImageSection

NOT_LOCKED, NO_SECTION = 0x1010, 0x1234
"""Parameter 1 of 0x1A: unlocked more often than locked; no section at the address."""


def mi_image(nt: Kernel, address: int) -> Image:
    """The driver that an address is in; 0x1A if in none."""
    image = nt.images.at(int(address))
    if image is None:
        nt.bugcheck(bugcodes.MEMORY_MANAGEMENT, NO_SECTION, int(address), 1, 0)
    return image


def mi_section(nt: Kernel, handle: int) -> tuple[Image, ImageSection | None]:
    """The section that a handle names; None for a Python driver's."""
    image = mi_image(nt, handle)
    if handle == image.base:
        return image, None
    for section in image.sections:
        if section.handle == handle:
            return image, section
    nt.bugcheck(bugcodes.MEMORY_MANAGEMENT, NO_SECTION, handle, 1, 0)


def mi_frames(nt: Kernel, section: ImageSection) -> Iterator[int]:
    """The frames of a section's pages, which are brought into memory."""
    for page in range(section.start, section.end, PAGE_SIZE):
        nt.mmu.read(page, 1)
        yield nt.mm.tables.read(nt.mm.system_root, page) & PTE_FRAME


def mi_lock_section(nt: Kernel, handle: int) -> None:
    """Lock once more; the first time every page comes into memory."""
    image, section = mi_section(nt, handle)
    count = image.section_locks.get(handle, 0)
    image.section_locks[handle] = count + 1
    if section is not None and not count:
        for pa in mi_frames(nt, section):
            nt.mm.frames.lock(pa)


@export(irql="<= APC")
def MmLockPagableDataSection(nt: Kernel, AddressWithinSection: PVOID) -> PVOID:
    """Lock the section that an address is in; its handle. No such section is 0x1A/0x1234.

    MmLockPagableCodeSection is this routine.
    """
    image = mi_image(nt, AddressWithinSection)
    within = (s for s in image.sections if s.start <= AddressWithinSection < s.end)
    section = next(within, None)
    if section is None and image.sections:
        code = bugcodes.MEMORY_MANAGEMENT
        nt.bugcheck(code, NO_SECTION, int(AddressWithinSection), 1, 0)
    handle = section.handle if section is not None else image.base
    mi_lock_section(nt, handle)
    return handle


@export(irql="<= APC", inline=True)
def MmLockPagableCodeSection(nt: Kernel, Address: PVOID) -> PVOID:
    """As MmLockPagableDataSection, for code. Source: WDK MmLockPagableCodeSection."""
    return MmLockPagableDataSection(nt, Address)


@export(irql="<= APC")
def MmLockPagableSectionByHandle(nt: Kernel, ImageSectionHandle: PVOID) -> None:
    """Lock a section once more, or again."""
    mi_lock_section(nt, int(ImageSectionHandle))


@export(irql="<= APC")
def MmUnlockPagableImageSection(nt: Kernel, ImageSectionHandle: PVOID) -> None:
    """Undo one lock; 0x1A/0x1010 if there is none."""
    handle = int(ImageSectionHandle)
    image, section = mi_section(nt, handle)
    count = image.section_locks.get(handle, 0) - 1
    if count < 0:
        nt.bugcheck(bugcodes.MEMORY_MANAGEMENT, NOT_LOCKED, image.base, handle, 0)
    image.section_locks[handle] = count
    if section is not None and not count:
        for pa in mi_frames(nt, section):
            nt.mm.frames.unlock(pa)


def mi_whole(image: Image) -> list[tuple[int, int]]:
    """The pages of a compiled driver that MmPageEntireDriver makes pageable."""
    return [(section.start, section.end) for section in image.sections]


@export(irql="<= APC")
def MmPageEntireDriver(nt: Kernel, AddressWithinSection: PVOID) -> PVOID:
    """Make all of the driver pageable, whatever its sections say; the image's base."""
    image = mi_image(nt, AddressWithinSection)
    if image.pageable != mi_whole(image):
        mi_release(nt, image)
        image.pageable = mi_whole(image)
    return image.base


@export(irql="<= APC")
def MmResetDriverPaging(nt: Kernel, AddressWithinSection: PVOID) -> None:
    """Its sections are pageable or not as they were built; those that are not stay in memory.

    Without MmPageEntireDriver before it does nothing.
    """
    image = mi_image(nt, AddressWithinSection)
    built = [(s.start, s.end) for s in image.sections if s.pageable]
    if image.pageable == built:
        return
    image.pageable = built
    for section in image.sections:
        if not section.pageable:
            image.kept.extend(mi_frames(nt, section))
    for pa in image.kept:
        nt.mm.frames.lock(pa)


def mi_release(nt: Kernel, image: Image) -> None:
    """What MmResetDriverPaging has kept in memory may go again."""
    for pa in image.kept:
        nt.mm.frames.unlock(pa)
    image.kept.clear()
