"""Protections of user pages: as Win32 spells them, as software entries keep them (five bits), and
as valid entries show them.

Source: WDK ZwProtectVirtualMemory; Windows Internals 7, ch. 5; _MMPTE_HARDWARE and _MMPTE_SOFTWARE
of the public symbols (CopyOnWrite is bit 9, Prototype bit 10).
"""

from __future__ import annotations

from ntsim.abi import win32_constants as w
from ntsim.hw.paging import (
    PTE_ACCESSED,
    PTE_DIRTY,
    PTE_NX,
    PTE_PRESENT,
    PTE_USER,
    PTE_WRITE,
)

MM_NOCACHE, MM_GUARD_PAGE, MM_NOACCESS = 8, 0x10, 0x18
MODIFIERS = {
    0: 0,
    w.PAGE_GUARD: MM_GUARD_PAGE,
    w.PAGE_NOCACHE: MM_NOCACHE,
    w.PAGE_WRITECOMBINE: MM_GUARD_PAGE | MM_NOCACHE,
}
"""Win32 modifiers, of which a page has one at most, to what they add to a software protection."""

PTE_WRITE_THROUGH, PTE_CACHE_DISABLE = 8, 0x10

PTE_COPY = 1 << 9
"""Of a valid entry: the first write makes a copy of the page."""

PTE_PROTOTYPE = 1 << 10
"""Of an entry that is not valid: the page's state is kept elsewhere, by a section or the cache."""

SHARED = 1 << 10
"""Of a valid entry: the frame is not the page's own and is not freed with it."""

_COPY = 5
"""Both bits of a software protection: written pages are copied (READ 1 | WRITE 4)."""

PROTECTION_BITS = 0x1F << 5

_BASIC = {
    w.PAGE_READONLY: 1,
    w.PAGE_EXECUTE: 2,
    w.PAGE_EXECUTE_READ: 3,
    w.PAGE_READWRITE: 4,
    w.PAGE_WRITECOPY: 5,
    w.PAGE_EXECUTE_READWRITE: 6,
    w.PAGE_EXECUTE_WRITECOPY: 7,
}
TO_SOFTWARE = {
    basic | modifier: code | more
    for basic, code in _BASIC.items()
    for modifier, more in MODIFIERS.items()
}
TO_SOFTWARE[w.PAGE_NOACCESS] = MM_NOACCESS
"""Win32 page protection to the five protection bits of a software PTE."""

TO_WIN32 = {code: name for name, code in TO_SOFTWARE.items()}


def is_guard(protection: int) -> bool:
    """Whether a software protection is that of a guard page."""
    return protection & MM_NOACCESS == MM_GUARD_PAGE


def is_copied(protection: int) -> bool:
    """Whether a software protection copies pages that are written."""
    return protection & _COPY == _COPY and protection != MM_NOACCESS


def copied(protection: int) -> int:
    """The software protection of a page that is a copy already: written like any other."""
    return protection & ~1 if is_copied(protection) else protection


def code_of(entry: int) -> int:
    """The software protection that an entry that is not valid carries."""
    return entry >> 5 & 0x1F


def entry_for(pa: int, protection: int) -> int:
    """A valid user entry for frame `pa` under software protection code `protection`."""
    bits = PTE_PRESENT | PTE_USER | PTE_ACCESSED
    if is_copied(protection):
        bits |= PTE_COPY
    elif protection & 4:
        bits |= PTE_WRITE | PTE_DIRTY
    if not protection & 2:
        bits |= PTE_NX
    if protection & MM_NOCACHE:
        bits |= PTE_WRITE_THROUGH if protection & MM_GUARD_PAGE else PTE_CACHE_DISABLE
    return pa | bits


def protection_of(entry: int) -> int:
    """The Win32 protection that an entry stands for."""
    if not entry & PTE_PRESENT:
        return TO_WIN32[code_of(entry)]
    code = 5 if entry & PTE_COPY else 4 if entry & PTE_WRITE else 1
    if not entry & PTE_NX:
        code = (code | 2) if code != 1 else 3
    if entry & PTE_CACHE_DISABLE:
        code |= MM_NOCACHE
    elif entry & PTE_WRITE_THROUGH:
        code |= MM_NOACCESS
    return TO_WIN32[code]


def r_private(entry: int) -> bool:
    """Whether a valid entry's frame belongs to this entry alone."""
    return not entry & SHARED
