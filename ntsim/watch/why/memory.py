"""What an address is: pool, with its allocation and its free, an image, NULL, user memory."""

from __future__ import annotations

from ntsim.hw.paging import PTE_PRESENT, is_canonical
from ntsim.nt.events import DriverUnloaded, PagesTrimmed, PoolAllocated, PoolFreed
from ntsim.nt.kernel import Kernel
from ntsim.nt.mm import layout
from ntsim.watch.why.case import Case

NULL_PAGES = 0x1_0000
PAGED_POOL = "paged pool"


def pool_kind(nt: Kernel, va: int) -> str:
    """ "Paged pool" or "Nonpaged pool" as debuggers print it; empty for any other address."""
    if va in nt.mm.paged:
        return "Paged pool"
    return "Nonpaged pool" if va in nt.mm.nonpaged else ""


def block_at(case: Case, va: int) -> tuple[PoolAllocated | None, PoolFreed | None]:
    """The last allocation that covers `va`, and what freed it since."""
    found = (e for e in case.newest_first(PoolAllocated) if e.address <= va < e.address + e.size)
    block = next(found, None)
    if block is None:
        return None, None
    freed = (e for e in case.newest_first(PoolFreed, after=block) if e.address == block.address)
    return block, next(freed, None)


def tell_memory(case: Case, va: int) -> str:
    """Steps for the past of the memory at `va`; what it is, for a sentence."""
    block, freed = block_at(case, va)
    if block is None:
        return _tell_place(case, va)
    kind = pool_kind(case.nt, va).lower() or "pool"
    if freed is None and is_pageable(case, va):
        _tell_trimming(case, False)
    case.tell(
        block,
        f"{block.size} bytes of {kind} were allocated at {block.address:#x}, tag '{block.tag}'.",
    )
    offset = f"byte {va - block.address:#x} of " if va != block.address else ""
    if freed is not None:
        case.tell(freed, f"The block at {block.address:#x} was freed.")
        return f"{offset}{kind} freed at {freed.where}"
    return f"{offset}{kind} allocated at {block.where}"


def _tell_place(case: Case, va: int) -> str:
    nt = case.nt
    if is_pageable(case, va):
        _tell_trimming(case, layout.is_user_address(va))
    gone = nt.images.unloaded_at(va)
    if gone is not None:
        unloaded = case.last(DriverUnloaded)
        if unloaded is not None:
            case.tell(unloaded, f"{gone.file_name} was unloaded; its memory is gone.")
        return f"{gone.describe(va)} in {gone.file_name}, which has been unloaded"
    image = nt.images.at(va)
    if image is not None:
        section = next((name for start, end, name in image.discarded if start <= va < end), None)
        if section is not None:
            return f"the {section} section of {image.file_name}, gone since DriverEntry returned"
        return nt.images.describe(va)
    return describe_place(nt, va)


def _tell_trimming(case: Case, user: bool) -> None:
    """When pages last went out of where the page may be one of."""
    trimmed = (e for e in case.newest_first(PagesTrimmed) if (e.whose != PAGED_POOL) is user)
    found = next(trimmed, None)
    if found is not None:
        case.tell(found, f"The memory manager wrote pages of {found.whose} out ({found.pages}).")


def describe_place(nt: Kernel, va: int) -> str:
    """What an address is by its value and the page tables alone."""
    if va < NULL_PAGES:
        return f"offset {va:#x} from NULL"
    if not is_canonical(va):
        return "not a canonical address"
    if layout.is_user_address(va):
        entry = nt.mm.tables.read(nt.mmu.root(), va & ~0xFFF)
        away = entry >> 32 and not entry & PTE_PRESENT
        return "a user-mode address whose page is paged out" if away else "a user-mode address"
    stack = next((t for t in nt.ke.threads.values() if 0 < t.stack_limit - va <= 0x1000), None)
    if stack is not None:
        return f"the guard page below the kernel stack of thread {stack.text}"
    kind = pool_kind(nt, va).lower()
    if kind:
        return f"{kind} that is {_state(nt, va)}"
    return "an address that nothing is mapped to"


def is_pageable(case: Case, va: int) -> bool:
    """Whether a page is only not there now: at a low IRQL the fault would have brought it in."""
    if not is_canonical(va):
        return False
    root = case.nt.processors[case.state.processor].cr3
    return case.nt.mm.tables.read(root, va & ~0xFFF) != 0


def _state(nt: Kernel, va: int) -> str:
    entry = nt.mm.tables.read(nt.mm.system_root, va & ~0xFFF)
    if entry & PTE_PRESENT:
        return "present"
    return "not present" if entry else "not allocated"
