"""Extended page tables: an identity map whose pages can be split, restricted and translated.

A guest-physical address goes through four tables as a linear one does (SDM 3, "The Extended Page
Table Mechanism"). Here one PML4 entry, one PML3 entry and 512 PML2 entries map the first gigabyte
in pages of 2 MiB. A right for 4 KiB needs a PML1 table in place of such a page: SplitLargePage
takes it from tables that were allocated before, because an exit handler can allocate nothing.
"""

from ntsim.intrin import *
from ntsim.wdm import *

EPT_READ, EPT_WRITE, EPT_EXECUTE = 1 << 0, 1 << 1, 1 << 2
EPT_ALL = EPT_READ | EPT_WRITE | EPT_EXECUTE
EPT_WRITE_BACK = 6 << 3  # the memory type of RAM
EPT_LARGE_PAGE = 1 << 7
FRAME = 0x000FFFFFFFFFF000
INVEPT_SINGLE_CONTEXT = 1

PML4, PML3, PML2, FIRST_PML1 = range(4)
TABLES = 12  # 4 KiB each: three, and nine for pages that are split
MAPPED = 1 << 30  # bytes
LEVELS = (("PML4", 39), ("PML3", 30), ("PML2", 21), ("PML1", 12))


class EPT_TABLES(Structure):
    """`Address` of TABLES pages side by side, `Physical` the first one's; `Used` so far."""

    Address: PVOID
    Physical: ULONGLONG
    Used: ULONG
    Descriptor: ULONGLONG * 2  # INVEPT's: the EPT pointer, and zero


def AllocateEpt(Ept) -> BOOLEAN:
    """Tables that map every guest-physical address below MAPPED to itself."""
    Ept.Address = MmAllocateContiguousMemory(TABLES * PAGE_SIZE, MAXULONG64)
    if Ept.Address == NULL:
        return FALSE
    RtlZeroMemory(Ept.Address, TABLES * PAGE_SIZE)
    Ept.Physical = MmGetPhysicalAddress(Ept.Address)
    Table(Ept, PML4)[0] = TablePhysical(Ept, PML3) | EPT_ALL
    Table(Ept, PML3)[0] = TablePhysical(Ept, PML2) | EPT_ALL
    Pml2 = Table(Ept, PML2)
    for i in range(512):
        Pml2[i] = i << 21 | EPT_LARGE_PAGE | EPT_WRITE_BACK | EPT_ALL
    Ept.Used = FIRST_PML1
    Ept.Descriptor[0] = Eptp(Ept)
    return TRUE


def FreeEpt(Ept) -> None:
    if Ept.Address:
        MmFreeContiguousMemory(Ept.Address)
        Ept.Address = NULL


def Table(Ept, i):
    """The 512 entries of a table."""
    return cast(Ept.Address + i * PAGE_SIZE, PULONGLONG)


def TablePhysical(Ept, i) -> ULONGLONG:
    return Ept.Physical + i * PAGE_SIZE


def Eptp(Ept) -> ULONGLONG:
    """The EPT pointer: write-back tables, a walk of four (less one)."""
    return Ept.Physical | 3 << 3 | 6


def SplitLargePage(Ept, Address) -> ULONG:
    """The number of the PML1 table of Address; 0 if no table is left."""
    Pml2, i = Table(Ept, PML2), Address >> 21 & 0x1FF
    if not Pml2[i] & EPT_LARGE_PAGE:
        return ((Pml2[i] & FRAME) - Ept.Physical) // PAGE_SIZE
    if Ept.Used == TABLES:
        return 0
    New = Ept.Used
    Ept.Used = New + 1
    Pml1, Rights = Table(Ept, New), Pml2[i] & EPT_ALL
    for page in range(512):
        Pml1[page] = i << 21 | page << 12 | EPT_WRITE_BACK | Rights
    Pml2[i] = TablePhysical(Ept, New) | EPT_ALL  # rights of all levels are ANDed
    return New


def LeafEntry(Page, Rights) -> ULONGLONG:
    """A PML1 entry: where the 4 KiB lie, and what the guest may do with them."""
    return Page | EPT_WRITE_BACK | Rights


def SetEntry(Ept, Address, Entry) -> BOOLEAN:
    """The PML1 entry of the 4 KiB of Address. FALSE if they cannot be split off."""
    Pml1 = SplitLargePage(Ept, Address)
    if not Pml1:
        return FALSE
    Table(Ept, Pml1)[Address >> 12 & 0x1FF] = Entry
    return TRUE


def InvalidateEpt(Ept) -> None:
    """Forget what this processor has cached of these tables. In root operation only.

    SDM 3, "Guidelines for Use of the INVEPT Instruction": a right that is taken away, or a page
    that is somewhere else, is not seen before. A violation itself invalidates its own address.
    """
    __invept(INVEPT_SINGLE_CONTEXT, Ept.Descriptor)


def Translate(Ept, Address):
    """What the processor does: ([(level, entry)], machine address or None)."""
    Walked, At = [], Ept.Physical
    for Name, Shift in LEVELS:
        Entry = Table(Ept, (At - Ept.Physical) // PAGE_SIZE)[Address >> Shift & 0x1FF]
        Walked.append((Name, Entry))
        if not Entry & EPT_ALL:
            return Walked, None
        if Shift == 12 or Entry & EPT_LARGE_PAGE:
            Offset = (1 << Shift) - 1
            return Walked, Entry & FRAME & ~Offset | Address & Offset
        At = Entry & FRAME
    return Walked, None
