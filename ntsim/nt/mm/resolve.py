"""MmAccessFault: make a page that may be accessed present."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.mmu import EXECUTE, FAULT_PRESENT, WRITE
from ntsim.hw.paging import (
    PTE_ACCESSED,
    PTE_DIRTY,
    PTE_FRAME,
    PTE_NX,
    PTE_PRESENT,
    PTE_WRITE,
    is_canonical,
)
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm import layout
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.protection import (
    MM_GUARD_PAGE,
    MM_NOACCESS,
    PTE_COPY,
    PTE_PROTOTYPE,
    SHARED,
    TO_SOFTWARE,
    code_of,
    entry_for,
    is_guard,
    protection_of,
    r_private,
)

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.user_space import UserSpace

_WRITABLE = (4, 5, 6, 7)
_EXECUTABLE = (2, 3, 6, 7)


def mm_access_fault(nt: Kernel, va: int, error: int) -> bool:
    """True if the page at `va` is present now and the access may be retried.

    A software entry carries the protection in bits 9:5 and the paging-file slot in bits 63:32 (0: a
    page of zeros). A prototype entry is a page of a view, in system space of a cached file. A page
    that is written under copy-on-write gets a frame of its own. Anything else is not ours to
    resolve.
    """
    if not is_canonical(va):
        return False
    page = va & ~0xFFF
    root = nt.mmu.root()
    entry = nt.mm.tables.read(root, page)
    if error & FAULT_PRESENT:
        return bool(error & WRITE and entry & PTE_COPY) and _copy_on_write(nt, root, page, entry)
    code = code_of(entry)
    if entry & PTE_PROTOTYPE and not entry & PTE_PRESENT:
        if not layout.is_user_address(va):
            return nt.cc.resolve(page, error)
        return _allowed(code, error) and _map_prototype(nt, root, page, code)
    if not entry or entry & PTE_PRESENT or not _allowed(code, error):
        return False
    try:
        pa = nt.mm.frames.take()
    except OutOfFrames:
        nt.bugcheck(0x4D, 0, 0, 0, 0)
    content = nt.mm.paging_file.pop(entry >> 32, None)
    if content is not None:
        nt.mm.ram.write(pa, content)
    if layout.is_user_address(va):
        made = entry_for(pa, code)
    else:
        writable = PTE_WRITE if code in _WRITABLE else 0
        made = pa | PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY | writable
        made |= 0 if code in _EXECUTABLE else PTE_NX
    nt.mmu.write_entry(root, page, made)
    return True


def mi_space_of(nt: Kernel, root: int) -> UserSpace:
    """The user half of the page tables at `root`."""
    current = nt.ps.current_process().user
    if current.root == root:
        return current
    return next(p.user for p in nt.ps.by_address.values() if p.root == root)


def _map_prototype(nt: Kernel, root: int, page: int, code: int) -> bool:
    """Map the section's page behind a page of a view."""
    view = mi_space_of(nt, root).find(page)
    assert view is not None, f"the page at {page:#x} has a prototype entry and no view"
    pa = view.prototypes[page - view.base >> 12]
    nt.mmu.write_entry(root, page, entry_for(pa, code) | SHARED)
    return True


def _copy_on_write(nt: Kernel, root: int, page: int, entry: int) -> bool:
    """The first write to a page of a view or an image: it is the process's own from now on."""
    pa = entry & PTE_FRAME
    if not r_private(entry):
        try:
            made = nt.mm.frames.take(zero=False)
        except OutOfFrames:
            nt.bugcheck(0x4D, 0, 0, 0, 0)
        nt.mm.ram.write(made, nt.mm.ram.read(pa, PAGE_SIZE))
        pa = made
    kept = entry & ~(PTE_FRAME | PTE_COPY | SHARED)
    nt.mmu.write_entry(root, page, kept | pa | PTE_WRITE | PTE_DIRTY)
    return True


def mi_spring_guard(nt: Kernel, va: int) -> bool:
    """Whether the user page at `va` is a guard page: it is an ordinary one from now on."""
    page, root = va & ~0xFFF, nt.mmu.root()
    entry = nt.mm.tables.read(root, page)
    if not entry or entry & PTE_PRESENT or not is_guard(code_of(entry)):
        return False
    nt.mmu.write_entry(root, page, entry & ~(MM_GUARD_PAGE << 5))
    return True


def _allowed(code: int, error: int) -> bool:
    if code in (0, MM_NOACCESS) or is_guard(code):
        return False
    if error & WRITE and code & 7 not in _WRITABLE:
        return False
    return not error & EXECUTE or code & 7 in _EXECUTABLE


def mi_page_out(nt: Kernel, va: int, root: int | None = None) -> bool:
    """Write the page at `va` to the paging file; False if it is locked or not pageable.

    `root` is the address space it lies in, if that is not the current one.
    """
    page = va & ~0xFFF
    user = layout.is_user_address(va)
    root = nt.mmu.root() if root is None else root
    entry = nt.mm.tables.read(root, page)
    if not entry & PTE_PRESENT or (page >> 12) in nt.mmu.raw_pages:
        return False
    pa = entry & PTE_FRAME
    if pa in nt.mm.frames.locks or (user and not r_private(entry)):
        return False
    slot = nt.mm.next_slot()
    nt.mm.paging_file[slot] = nt.mm.ram.read(pa, PAGE_SIZE)
    if user:
        code = TO_SOFTWARE[protection_of(entry)]
    else:
        code = (4 if entry & PTE_WRITE else 1) | (0 if entry & PTE_NX else 2)
    nt.mmu.write_entry(root, page, slot << 32 | code << 5)
    nt.mm.system.code.discard(pa >> 12)
    nt.mm.frames.give(pa)
    return True
