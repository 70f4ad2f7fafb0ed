"""Handle tables: 16-byte entries in pages, as HANDLE_TABLE and HANDLE_TABLE_ENTRY lay them out.

The low word of an entry holds the unlocked bit and bits 47:4 of the object header's address, the
high word the granted access. A handle is the entry's index times four. Kernel handles live in the
System process's table and have the sign bit set.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.ex import HANDLE_TABLE, HANDLE_TABLE_FREE_LIST
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.ob.objects import BODY, ObjectType
from ntsim.nt.ob.procedures import ob_call_close, ob_may_close
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

ENTRIES = PAGE_SIZE // 16
FREE_LIST, TABLE_LIST = (HANDLE_TABLE.offset_of(name) for name in ("FreeLists", "HandleTableList"))
KERNEL_HANDLE_BITS = 0xFFFF_FFFF_8000_0000
CURRENT_PROCESS, CURRENT_THREAD = (1 << 64) - 1, (1 << 64) - 2
OBJ_INHERIT = 2


class HandleTable:
    """One process's handles: a HANDLE_TABLE at `va`, on the list HandleTableListHead.

    `pages` are its entries' pages, `words` where in RAM each begins, in 64-bit words. Free entries
    form a list in the bytes, the one freed last first.
    """

    def __init__(self, nt: Kernel, process: Process) -> None:
        self.nt, self.process = nt, process
        self.pages: list[int] = []
        self.words: list[int] = []
        self.va = nt.allocate_pool(HANDLE_TABLE.size, "Obtb")
        nt.mmu.write(self.va, bytes(HANDLE_TABLE.size))
        table = HANDLE_TABLE.at(nt.mmu, self.va)
        self.v, self.free = table._v, HANDLE_TABLE_FREE_LIST.at(nt.mmu, self.va + FREE_LIST)._v
        self.v.QuotaProcess, self.v.UniqueProcessId = process.va, process.pid
        lists.insert_tail(nt.mmu, ob_table_list(nt), self.va + TABLE_LIST)
        self._grow()

    @property
    def count(self) -> int:
        """Open handles."""
        return int(self.free.HandleCount)

    def _grow(self) -> None:
        """Another page of entries; beyond the first, TableCode points at a page of pages."""
        page = self.nt.ex.pool.allocate(PAGE_SIZE, "Obtb", zero=True)
        first = 0 if self.pages else 1
        self.pages.append(page)
        self.words.append(self.nt.mmu.pairs[page])
        table = self.v
        if len(self.pages) == 1:
            table.TableCode = page
        else:
            if len(self.pages) == 2:
                directory = self.nt.ex.pool.allocate(PAGE_SIZE, "Obtb", zero=True)
                self.nt.write_pointer(directory, self.pages[0])
                table.TableCode = directory | 1
            self.nt.write_pointer((table.TableCode & ~7) + 8 * (len(self.pages) - 1), page)
        table.NextHandleNeedingPool = len(self.pages) * ENTRIES * 4
        links = [word for i in range(1, ENTRIES) for word in (0, page + 16 * i)]
        self.nt.mmu.write(page, struct.pack(f"<{len(links)}Q", *links))
        self.free.FirstFreeHandleEntry = page + 16 * first
        self.free.LastFreeHandleEntry = page + 16 * (ENTRIES - 1)

    def _entry(self, index: int) -> int:
        """Address of an entry: two words."""
        return self.pages[index // ENTRIES] + index % ENTRIES * 16

    def _index(self, entry: int) -> int:
        """The number of an entry."""
        return self.pages.index(entry & ~0xFFF) * ENTRIES + (entry & 0xFFF) // 16

    def insert(self, body: int, access: int, attributes: int = 0) -> int:
        """A new handle; the object's handle and pointer counts go up."""
        free = self.free
        if not free.FirstFreeHandleEntry:
            self._grow()
        entry, mmu = free.FirstFreeHandleEntry, self.nt.mmu
        free.FirstFreeHandleEntry = following = mmu.read_word(entry + 8)
        if not following:
            free.LastFreeHandleEntry = 0
        low = ((body - BODY) >> 4 & (1 << 44) - 1) << 20 | attributes << 17 | 1
        mmu.write_word(entry, low)
        mmu.write_word(entry + 8, access & 0x1FF_FFFF)
        ob = self.nt.ob
        header = ob.header(body)._v
        header.HandleCount += 1
        header.PointerCount += 1
        ob.count_handle(ob.type_of(body), 1)
        free.HandleCount = count = free.HandleCount + 1
        if count > free.HighWaterMark:
            free.HighWaterMark = count
        return self._index(entry) * 4

    def lookup(self, handle: int) -> tuple[int, int] | None:
        """(object body, granted access) of a handle, None if it is not one."""
        index, pages = handle >> 2, self.words
        if not 0 < index < len(pages) * ENTRIES:
            return None
        words = self.nt.mmu.words
        at = pages[index // ENTRIES] + index % ENTRIES * 2
        low = words[at]
        if not low & 1 or not low >> 20:
            return None
        return (0xFFFF_0000_0000_0000 | low >> 20 << 4) + BODY, words[at + 1]

    def attributes(self, handle: int) -> int:
        """The attribute bits of a handle's entry."""
        if self.lookup(handle) is None:
            return 0
        return self.nt.mmu.read_word(self._entry(handle // 4)) >> 17 & 7

    def close(self, handle: int) -> bool:
        """Close a handle; False if it is not one."""
        found = self.lookup(handle)
        if found is None:
            return False
        body = found[0]
        index = handle // 4
        entry = self._entry(index)
        free = self.free
        self.nt.mmu.write_word(entry, 0)
        self.nt.mmu.write_word(entry + 8, free.FirstFreeHandleEntry)
        if not free.FirstFreeHandleEntry:
            free.LastFreeHandleEntry = entry
        free.FirstFreeHandleEntry = entry
        free.HandleCount -= 1
        ob = self.nt.ob
        kind = ob.type_of(body)
        header = ob.header(body)._v
        header.HandleCount -= 1
        ob.count_handle(kind, -1)
        if kind.v.TypeInfo_CloseProcedure:
            ob_call_close(self.nt, kind, self.process, body, header.HandleCount)
        if kind.close is not None:
            kind.close(self.nt, body, self.process, header.HandleCount == 0)
        ob.dereference(body)
        return True

    def handles(self) -> list[int]:
        """Every open handle, in order."""
        size = len(self.pages) * ENTRIES
        return [i * 4 for i in range(1, size) if self.nt.mmu.read_word(self._entry(i)) & 1]


    def retire(self) -> None:
        """The process has ended and its handles are closed: leave the list of tables."""
        lists.remove(self.nt.mmu, self.va + TABLE_LIST)

    def delete(self) -> None:
        """Give the memory back."""
        code = self.v.TableCode
        for page in self.pages:
            self.nt.free_pool(page)
        if code & 1:
            self.nt.free_pool(code & ~7)
        self.nt.free_pool(self.va)


def ob_table_list(nt: Kernel) -> int:
    """nt!HandleTableListHead."""
    head = mi_variable(nt, "HandleTableListHead", 16)
    if not nt.read_pointer(head):
        lists.initialize(nt.mmu, head)
    return head


def ob_table_of(nt: Kernel, handle: int) -> tuple[HandleTable, int]:
    """The table a handle refers to, and the handle within it."""
    if handle & KERNEL_HANDLE_BITS == KERNEL_HANDLE_BITS:
        return nt.ps.system.handles, handle & ~KERNEL_HANDLE_BITS
    return nt.ps.current_process().handles, handle


def ob_reference_by_handle(
    nt: Kernel, handle: int, access: int, kind: ObjectType | None, mode: int
) -> tuple[int, int, int]:
    """(status, body, granted access); on success the object has one more reference."""
    if handle < KERNEL_HANDLE_BITS:
        found = nt.ps.current_process().handles.lookup(handle)
    else:
        found = _kernel_handle(nt, handle, mode)
    if found is None:
        return ntstatus.STATUS_INVALID_HANDLE, 0, 0
    body, granted = found
    ob = nt.ob
    v = ob.headers.get(body) or ob.header(body)._v
    if kind is not None:
        index = v.TypeIndex ^ ob.cookie ^ (body - BODY >> 8 & 0xFF)
        if ob.by_index.get(index) is not kind and ob.type_of(body) is not kind:
            return ntstatus.STATUS_OBJECT_TYPE_MISMATCH, 0, 0
    if mode and access & ~granted:
        return ntstatus.STATUS_ACCESS_DENIED, 0, 0
    v.PointerCount += 1
    return ntstatus.STATUS_SUCCESS, body, granted


def _kernel_handle(nt: Kernel, handle: int, mode: int) -> tuple[int, int] | None:
    """(object body, granted access) of a pseudo handle, or of a kernel handle for kernel mode."""
    pseudo = _pseudo_handle(nt, handle)
    if pseudo is not None:
        return pseudo, 0x1F_FFFF
    return None if mode else nt.ps.system.handles.lookup(handle & ~KERNEL_HANDLE_BITS)


def _pseudo_handle(nt: Kernel, handle: int) -> int | None:
    if handle == CURRENT_PROCESS:
        return nt.ps.current_process().va
    if handle == CURRENT_THREAD:
        return nt.thread.va
    return None


def ob_handle_attributes(nt: Kernel, handle: int) -> int:
    """OBJ_INHERIT or 0, as the handle was made; 0 for what is none."""
    table, value = ob_table_of(nt, handle)
    return table.attributes(value)


def ob_close(nt: Kernel, handle: int, mode: int = 0) -> int:
    """Close for a caller of `mode`: user mode cannot close kernel handles."""
    if _pseudo_handle(nt, handle) is not None:
        return ntstatus.STATUS_SUCCESS
    if mode and handle & KERNEL_HANDLE_BITS == KERNEL_HANDLE_BITS:
        return ntstatus.STATUS_INVALID_HANDLE
    table, value = ob_table_of(nt, handle)
    found = table.lookup(value)
    if found is None:
        return ntstatus.STATUS_INVALID_HANDLE
    kind = nt.ob.type_of(found[0])
    if not ob_may_close(nt, kind, table.process, found[0], handle):
        return ntstatus.STATUS_HANDLE_NOT_CLOSABLE
    table.close(value)
    return ntstatus.STATUS_SUCCESS


def map_generic(access: int, mapping: tuple[int, int, int, int]) -> int:
    """GENERIC_* and MAXIMUM_ALLOWED to an object type's own rights."""
    for bit, rights in zip((1 << 31, 1 << 30, 1 << 29, 1 << 28), mapping, strict=True):
        if access & bit:
            access = access & ~bit | rights
    if access & 1 << 25:
        access = access & ~(1 << 25) | mapping[3]
    return access & 0x1FF_FFFF
