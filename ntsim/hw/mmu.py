"""Virtual memory as Python code sees it: checked accesses and the raw fast path.

A virtual page is *raw* when the kernel registered a host address for it at allocation: typed
addresses then read and write host memory directly and go on seeing it after a free, as retail
Windows does. User addresses never are. Every other page is *guarded*: each access is translated
through the page tables and may fault; `fault` is the kernel's page-fault entry, which either makes
the access possible (the access is then retried) or does not return.

Translations are cached per address space, like a TLB; `write_entry` is the one function that writes
a page-table entry and drops the cached translation. Software that writes entries by itself executes
INVLPG, as on hardware.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn, Protocol

from ntsim.hw.cpu import CR0_WP
from ntsim.hw.lent import LentPage
from ntsim.hw.paging import (
    PTE_ACCESSED,
    PTE_DIRTY,
    PTE_NX,
    PTE_USER,
    PTE_WRITE,
    SELF_MAP,
    PageTables,
    is_canonical,
)
from ntsim.hw.places import Pairs, Places
from ntsim.hw.ram import Ram
from ntsim.hw.typed import Pointers

READ, WRITE, EXECUTE = 0, 2, 0x10
"""Page-fault error-code bits 1 (write) and 4 (instruction fetch)."""

FAULT_PRESENT, FAULT_USER, FAULT_RESERVED = 1, 4, 8
KERNEL_SPACE = 0xFFFF_8000_0000_0000
KERNEL_HALF = KERNEL_SPACE >> 12
_SELF_MAP_PAGES = SELF_MAP >> 39


class UnreadableMemory(Exception):
    """A debugger's read found nothing there, or links that lead nowhere."""


def _unreadable(va: int) -> NoReturn:
    raise UnreadableMemory(f"{va:#x}")


class Translations:
    """Cached translations of one half of an address space: virtual page number to host address,
    for each of the four kinds of data access. `kinds[access | user]` is one of them."""

    __slots__ = ("kinds", "read", "user_read", "user_write", "write")

    def __init__(self) -> None:
        self.read: dict[int, int] = {}
        self.write: dict[int, int] = {}
        self.user_read: dict[int, int] = {}
        self.user_write: dict[int, int] = {}
        self.kinds = (self.read, self.user_read, self.write, self.user_write)

    def drop(self, page: int) -> None:
        """Forget one page."""
        for cached in (self.read, self.write, self.user_read, self.user_write):
            cached.pop(page, None)

    def keep(self, page: int, host: int, write: bool, user: bool) -> None:
        """Remember a successful walk, with every weaker access that it implies."""
        self.read[page] = host
        if write:
            self.write[page] = host
        if user:
            self.user_read[page] = host
            if write:
                self.user_write[page] = host


class Running(Protocol):
    """Who knows the processor that executes Python code now."""

    @property
    def current(self) -> Any: ...


class _NoProcessor:
    """Before a machine runs: no address space."""

    @property
    def current(self) -> Any:
        return SimpleNamespace(cr0=0, cr3=0)


class Mmu:
    """The virtual memory of one machine; see the module docstring.

    Implements `ntsim.abi.memory.Memory`. `running.current` is the processor whose CR3 counts,
    `fault(va, error_code)` handles a page fault of supervisor code, `corrupt_list(entry)` a linked
    list whose links disagree, `mapped(entry, va)` hears of each entry that is written,
    `code_writable(pa)` of a frame of `code`, frame numbers, that can be written. `allocate`,
    `address_of` and `call` are filled in by the room that knows about images and stacks.
    """

    def __init__(self, ram: Ram, tables: PageTables) -> None:
        self.ram, self.tables = ram, tables
        self.pointers = Pointers(self)
        self.raw_pages: dict[int, int] = {}
        self.raw_words: dict[int, int] = {}
        self.lent: dict[int, LentPage] = {}
        self.places = Places(self.raw_words, self.lent)
        self.pairs = Pairs(self.places)
        self.words, self.bytes, self.base = ram.u64, ram.map, ram.address
        self.kernel = Translations()
        self.user: dict[int, Translations] = {}
        self.mapped: Callable[[int, int], None] = lambda entry, va: None
        self.changes = 0  # of page tables: who else keeps translations looks at it
        self.running: Running = _NoProcessor()
        self.fault: Callable[[int, int], None] = self._no_fault_handler
        self.code: set[int] = set()
        self.code_writable: Callable[[int], None] = lambda pa: None
        self.corrupt_list: Callable[[int], None] = self._no_list_check
        self.endless_list: Callable[[], None] = lambda: self._no_list_check(0)
        self.allocate: Callable[[int, int], int] = self._no_storage
        self.address_of: Callable[[Callable[..., Any]], int] = self._no_images
        self.call: Callable[[int, tuple[Any, ...]], Any] = self._no_routines

    @staticmethod
    def _no_fault_handler(va: int, error_code: int) -> None:
        raise AssertionError(f"page fault at {va:#x} ({error_code:#x}) before the kernel runs")

    @staticmethod
    def _no_list_check(entry: int) -> None:
        raise AssertionError(f"list entry {entry:#x} is corrupt before the kernel runs")

    @staticmethod
    def _no_storage(size: int, alignment: int) -> int:
        raise AssertionError(f"no storage for {size} bytes: no driver image is loaded")

    @staticmethod
    def _no_images(routine: Callable[..., Any]) -> int:
        raise AssertionError(f"no address for {routine!r}: no driver image is loaded")

    @staticmethod
    def _no_routines(address: int, arguments: tuple[Any, ...]) -> Any:
        raise AssertionError(f"{address:#x} is called: no driver image is loaded")

    def raw(self, va: int, size: int) -> int | None:
        """Host address of `size` raw bytes at `va`; None if guarded or not lined up."""
        page = va >> 12
        host = self.raw_pages.get(page)
        if host is None:
            return None
        offset = va & 0xFFF
        if offset + size <= 0x1000:
            return host + offset
        for ahead in range(1, (offset + size + 0xFFF) >> 12):
            if self.raw_pages.get(page + ahead) != host + (ahead << 12):
                return None
        return host + offset

    def read_word(self, va: int) -> int:
        """The 64-bit value at `va`."""
        at = self.places[va]
        if at < 0 or at & 7:
            return int.from_bytes(self.read(va, 8), "little")
        return self.words[at >> 3]

    def write_word(self, va: int, value: int) -> None:
        """Store a 64-bit value at `va`."""
        at = self.places[va]
        if at < 0 or at & 7:
            self.write(va, value.to_bytes(8, "little"))
        else:
            self.words[at >> 3] = value

    def root(self) -> int:
        """The page-table root of the running processor."""
        return int(self.running.current.cr3)

    def read(self, va: int, size: int) -> bytes:
        """Copy `size` bytes out of virtual memory; page faults go to the kernel."""
        if 0 < size <= 0x1000 - (va & 0xFFF):
            at = self.places[va] if va >= KERNEL_SPACE else -1
            if at < 0:
                at = self.host(va) - self.base
            return self.bytes[at : at + size]
        host = self.raw(va, size)
        if host is not None:
            return ctypes.string_at(host, size)
        parts = []
        while size > 0:
            take = min(size, 0x1000 - (va & 0xFFF))
            parts.append(ctypes.string_at(self.host(va), take))
            va, size = va + take, size - take
        return b"".join(parts)

    def write(self, va: int, data: bytes) -> None:
        """Copy `data` into virtual memory; at a page fault the pages before stay written."""
        size = len(data)
        if 0 < size <= 0x1000 - (va & 0xFFF):
            at = self.places[va] if va >= KERNEL_SPACE else -1
            if at < 0:
                at = self.host(va, WRITE) - self.base
            self.bytes[at : at + size] = data
            return
        host = self.raw(va, size)
        if host is not None:
            ctypes.memmove(host, data, size)
            return
        done = 0
        while done < size:
            take = min(size - done, 0x1000 - (va & 0xFFF))
            ctypes.memmove(self.host(va, WRITE), data[done : done + take], take)
            va, done = va + take, done + take

    def reach(self, va: int, access: int = READ) -> int:
        """Physical address of the byte at `va` after a successful translation for `access`."""
        at = self.places[va] if va >= KERNEL_SPACE else -1
        return at if at >= 0 else self.host(va, access) - self.base

    def host(self, va: int, access: int = READ, user: bool = False) -> int:
        """Host address of the byte at `va` after a successful translation for `access`.

        `user` asks with user-mode rights. The bytes up to the end of the page follow it.
        """
        page = va >> 12
        try:
            if page < KERNEL_HALF:
                space = self.user[self.running.current.cr3]
            elif not user and (raw := self.raw_pages.get(page)) is not None:
                return raw + (va & 0xFFF)
            else:
                space = self.kernel
            return space.kinds[access | user][page] + (va & 0xFFF)
        except KeyError:
            pass
        return self._walk(va, page, access, user)

    def _walk(self, va: int, page: int, access: int, user: bool) -> int:
        """The way through the page tables, again after every fault that was resolved."""
        while True:
            host = self._fill(va, page, access, user)
            if host >= 0:
                return host + (va & 0xFFF)
            self.fault(va, ~host)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A debugger reads: UnreadableMemory where running code would fault, nothing is paged in.

        Lists that go round or do not link back are unreadable, too.
        """
        kept = self.fault, self.corrupt_list, self.endless_list
        self.fault = lambda va, error: _unreadable(va)
        self.corrupt_list, self.endless_list = _unreadable, lambda: _unreadable(0)
        try:
            yield
        finally:
            self.fault, self.corrupt_list, self.endless_list = kept

    def fetch(self, va: int) -> None:
        """Translate `va` for an instruction fetch; page faults go to the kernel."""
        self._walk(va, va >> 12, EXECUTE, False)

    def probe(self, va: int, access: int = READ, user: bool = False) -> int | None:
        """Host address of the byte at `va`, None where `host` would fault. Changes nothing."""
        if not is_canonical(va):
            return None
        found = self.tables.translate(self.root(), va)
        if found is None or self._refusal(found[1], access, user) or found[0] >= self.ram.size:
            return None
        return self.ram.address + found[0]

    def physical(self, va: int) -> int | None:
        """Physical address of `va` in the current address space, None if not present."""
        if not is_canonical(va):
            return None
        found = self.tables.translate(self.root(), va)
        return None if found is None else found[0]

    def write_entry(self, root: int, va: int, entry: int) -> None:
        """Write the page-table entry of `va` and drop its cached translation."""
        self.tables.write(root, va, entry)
        self.mapped(entry, va)
        self.invalidate(va, root)

    def invalidate(self, va: int, root: int | None = None) -> None:
        """INVLPG: forget the page of `va` (in every address space if no root is given)."""
        page = va >> 12
        self.changes += 1
        if page >= KERNEL_HALF:
            self.kernel.drop(page)
            return
        for each, space in self.user.items():
            if root is None or each == root:
                space.drop(page)

    def notice(self, va: int) -> None:
        """INVLPG of software: it may have written the entry of `va` itself, through the self-map.

        Raw memory whose page is now another, or may be accessed less, becomes guarded.
        """
        page = va >> 12
        pa = self.raw_words.get(page)
        if pa is not None:
            found = self.tables.translate(self.root(), va & ~0xFFF)
            if found is None or found[0] != pa << 3 or not found[1] & PTE_WRITE:
                self.unmap_raw(va)
        self.invalidate(va)

    def forget(self) -> None:
        """Drop every cached translation."""
        self.kernel = Translations()
        self.user.clear()

    def flush(self, root: int) -> None:
        """A write to CR3: forget the user translations of `root`."""
        self.changes += 1
        self.user.pop(root, None)

    def map_raw(self, va: int, host: int, frames: Sequence[int]) -> None:
        """Register consecutive host pages as the raw memory of `va` onwards.

        `frames` are the physical addresses of the pages.
        """
        first = va >> 12
        for i, pa in enumerate(frames):
            if first + i in self.raw_words:
                self._forget_places()
            self.raw_pages[first + i] = host + (i << 12)
            self.raw_words[first + i] = pa >> 3
            if pa >> 12 in self.code:
                self.code_writable(pa)

    def unmap_raw(self, va: int, pages: int = 1) -> None:
        """Turn raw pages into guarded ones. Views taken earlier go on seeing the old bytes."""
        first = va >> 12
        for i in range(pages):
            self.raw_pages.pop(first + i, None)
            self.raw_words.pop(first + i, None)
        self._forget_places()
        self.pointers.forget()

    def lend(self, va: int, pa: int) -> None:
        """Make the page at `va`, in the frame at `pa`, raw until `revoke` takes it back."""
        page = va >> 12
        self.raw_pages[page] = self.base + pa
        self.raw_words[page] = pa >> 3
        if pa >> 12 in self.code:
            self.code_writable(pa)
        self.lent[page] = LentPage()

    def revoke(self, va: int) -> None:
        """Turn a lent page into a guarded one, for those too who hold views of it."""
        page = va >> 12
        del self.raw_pages[page], self.raw_words[page]
        taken = self.lent.pop(page)
        for at in taken.places:
            self.places.pop(at, None)
            self.pairs.pop(at, None)
        self.pointers.revoke(taken.views)

    def _forget_places(self) -> None:
        self.places.clear()
        self.pairs.clear()

    def _translations(self, page: int) -> Translations:
        if page >= KERNEL_HALF:
            return self.kernel
        root = self.root()
        found = self.user.get(root)
        if found is None:
            found = self.user[root] = Translations()
        return found

    def _refusal(self, rights: int, access: int, user: bool) -> bool:
        """SDM 3, "Determination of Access Rights": with CR0.WP = 0 supervisors write anywhere."""
        if user and not rights & PTE_USER:
            return True
        if access == WRITE and not rights & PTE_WRITE:
            return user or bool(self.running.current.cr0 & CR0_WP)
        return bool(access == EXECUTE and rights & PTE_NX)

    def _fill(self, va: int, page: int, access: int, user: bool) -> int:
        """Walk the tables once: the page's host address, or the inverted page-fault error code."""
        mode = FAULT_USER if user else 0
        root = self.root()
        found = self.tables.translate(root, va) if is_canonical(va) else None
        if found is None:
            return ~(access | mode)
        pa, rights = found
        if pa >= self.ram.size:  # a bus where nothing answers is not modelled here
            return ~(access | mode | FAULT_PRESENT | FAULT_RESERVED)
        if self._refusal(rights, access, user):
            return ~(access | mode | FAULT_PRESENT)
        host = self.ram.address + (pa & ~0xFFF)
        write = access == WRITE
        if write and pa >> 12 in self.code:
            self.code_writable(pa)
        if write and not rights & PTE_WRITE:  # CR0.WP is the processor's: nothing to keep
            self.tables.mark(root, va, PTE_ACCESSED | PTE_DIRTY)
            return host
        if page >> 27 != _SELF_MAP_PAGES:  # another address space has other tables there
            self._translations(page).keep(page, host, write, user)
        self.tables.mark(root, va, PTE_ACCESSED | (PTE_DIRTY if write else 0))
        return host
