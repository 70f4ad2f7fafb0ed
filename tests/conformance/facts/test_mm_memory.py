"""Facts of virtual memory, MDLs, reserved mappings and sections."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, raised

VIRTUAL = Facts(f"{KMTESTS}/ntos_mm/ZwAllocateVirtualMemory.c")
MDL_FACTS = Facts(f"{KMTESTS}/ntos_mm/MmMdl.c")
WINE_MDL = Facts(f"{WINE}/driver.c test_mdl_map")
RESERVED = Facts(f"{KMTESTS}/ntos_mm/MmReservedMapping.c")
CURRENT_PROCESS = (1 << 64) - 1
PAGE = 0x1000
TAG = 0x74736554
COMMIT = MEM_COMMIT | MEM_RESERVE
CONFLICTING, INVALID_PROTECTION = 0xC0000018, 0xC0000045
INVALID_2, INVALID_3, INVALID_4, INVALID_5 = range(0xC00000F0, 0xC00000F4)


def allocate(
    base: int = 0, size: int = 200, kind: int = COMMIT, protect: int = PAGE_READWRITE,
    process: int = CURRENT_PROCESS, zero_bits: int = 0,
) -> tuple[int, int, int]:  # fmt: skip
    """(status, base, size)."""
    at, room = PVOID(), SIZE_T()
    at[0], room[0] = base, size
    status = ZwAllocateVirtualMemory(process, at, zero_bits, room, kind, protect)
    return status, int(at[0]), room[0]


def free(base: int, size: int = 0, kind: int = MEM_RELEASE) -> tuple[int, int]:
    """(status, size)."""
    at, room = PVOID(), SIZE_T()
    at[0], room[0] = base, size
    return ZwFreeVirtualMemory(CURRENT_PROCESS, at, room, kind), room[0]


@VIRTUAL.fact([0, PAGE, True, True, (0, PAGE)])
def a_small_request_is_a_zeroed_page() -> list[Any]:
    status, base, size = allocate(kind=MEM_COMMIT)
    found: list[Any] = [status, size, read_bytes(base, size) == bytes(size)]
    write_bytes(base, b"TheLongBrownFox")
    found.append(read_bytes(base, 15) == b"TheLongBrownFox")
    return [*found, free(base)]


@VIRTUAL.fact(0xC0000008, handle=[0, 0xDEADBEEFDEADBEEF])
def a_bad_process_handle_is_an_invalid_handle(handle: int) -> int:
    return allocate(process=handle)[0]


@VIRTUAL.fact(
    lambda base: {0x60000000: 0}.get(base, INVALID_2),
    base=[0x60000000, 0xFFFF_8000_0000_00C8, 0xFFFF_F800_0000_0000],
)
def a_base_in_system_space_is_parameter_2(base: int) -> int:
    return allocate(base)[0]


@VIRTUAL.fact([0, CONFLICTING])
def an_address_can_be_reserved_once() -> list[int]:
    return [allocate(0x60000000)[0], allocate(0x60000000)[0]]


@VIRTUAL.fact([0, 0x60020000, 0x6000, (0, 0x6000)])
def a_base_is_rounded_down_to_64_kilobytes_and_the_size_up_to_pages() -> list[Any]:
    status, base, size = allocate(0x60025000)
    return [status, base, size, free(base)]


@VIRTUAL.fact(INVALID_4, size=[0, (1 << 64) - 1])
def a_size_of_nothing_or_of_everything_is_parameter_4(size: int) -> int:
    return allocate(size=size)[0]


@VIRTUAL.fact(INVALID_3, bits=[22, 31])
def too_many_zero_bits_are_parameter_3(bits: int) -> int:
    return allocate(zero_bits=bits)[0]


KINDS = {
    "physical": MEM_PHYSICAL,
    "commit and reset": MEM_COMMIT | MEM_RESET,
    "none": 0,
    "top down": MEM_TOP_DOWN,
    "top down and reset": MEM_TOP_DOWN | MEM_RESET,
    "physical and commit": MEM_PHYSICAL | MEM_COMMIT,
    "reset, commit and reserve": MEM_RESET | MEM_COMMIT | MEM_RESERVE,
    "all bits": 0xFFFFFFFF,
}


@VIRTUAL.fact(INVALID_5, kind=list(KINDS))
def an_allocation_type_that_means_nothing_is_parameter_5(kind: str) -> int:
    return allocate(kind=KINDS[kind])[0]


@VIRTUAL.fact([0, 0], kind=[MEM_COMMIT, MEM_RESERVE, COMMIT, MEM_TOP_DOWN | MEM_COMMIT])
def these_allocation_types_succeed_and_can_be_released(kind: int) -> list[int]:
    status, base, _ = allocate(kind=kind)
    return [status, free(base)[0]]


@VIRTUAL.fact(
    INVALID_PROTECTION,
    protect=[0, 0xFFFFFFFF, PAGE_WRITECOPY, PAGE_EXECUTE_WRITECOPY, PAGE_NOACCESS | PAGE_GUARD,
             PAGE_NOACCESS | PAGE_WRITECOMBINE],
)  # fmt: skip
def a_protection_that_private_memory_cannot_have_is_refused(protect: int) -> int:
    return allocate(protect=protect)[0]


@VIRTUAL.fact(0, protect=[PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, PAGE_EXECUTE_READ,
                          PAGE_EXECUTE_READWRITE, PAGE_READONLY | PAGE_WRITECOMBINE])  # fmt: skip
def these_protections_are_accepted(protect: int) -> int:
    return allocate(protect=protect)[0]


VIOLATION = 0xC0000005


@VIRTUAL.fact([VIOLATION, VIOLATION, 0, 0])
def reserved_memory_is_an_access_violation_until_it_is_committed() -> list[int]:
    _, base, size = allocate(kind=MEM_RESERVE)
    found = [raised(lambda: read_bytes(base, 1)), raised(lambda: write_bytes(base, b"x"))]
    found.append(allocate(base, size, MEM_COMMIT)[0])
    return [*found, raised(lambda: write_bytes(base, b"x"))]


@VIRTUAL.fact(
    lambda protect: {
        PAGE_NOACCESS: [VIOLATION, VIOLATION], PAGE_READONLY: [0, VIOLATION],
        PAGE_READWRITE: [0, 0],
    }[protect],
    protect=[PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE],
)  # fmt: skip
def an_access_that_the_protection_forbids_is_an_access_violation(protect: int) -> list[int]:
    _, base, _ = allocate(protect=protect)
    return [raised(lambda: read_bytes(base, 1)), raised(lambda: write_bytes(base, b"x"))]


@VIRTUAL.fact([0x80000001, 0, b"x"])
def a_guard_page_warns_once() -> list[Any]:
    _, base, _ = allocate(protect=PAGE_GUARD | PAGE_READWRITE)
    found: list[Any] = [raised(lambda: write_bytes(base, b"x")) for _ in range(2)]
    return [*found, read_bytes(base, 1)]


@VIRTUAL.fact([0, 0xC00000A0, 0xC000009F])
def what_is_released_is_not_allocated_and_a_release_begins_at_the_base() -> list[int]:
    _, base, _ = allocate(size=3 * PAGE)
    inside = free(base + PAGE)[0]
    return [free(base)[0], free(base)[0], inside]


# MDLs


@MDL_FACTS.fact([0, 0, MDL_SOURCE_IS_NONPAGED_POOL])
def building_an_mdl_for_nonpaged_pool_marks_its_source_and_locks_nothing() -> list[int]:
    block = ExAllocatePoolWithTag(NonPagedPool, PAGE, TAG)
    mdl = IoAllocateMdl(block, PAGE, FALSE, FALSE, NULL)
    both = MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL
    found = [mdl.MdlFlags & both]
    MmBuildMdlForNonPagedPool(mdl)
    found += [mdl.MdlFlags & MDL_PAGES_LOCKED, mdl.MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL]
    IoFreeMdl(mdl)
    return found


@WINE_MDL.fact([True, b"test buffer", MDL_PAGES_LOCKED])
def a_locked_buffer_is_seen_through_a_second_mapping() -> list[Any]:
    block = ExAllocatePoolWithTag(NonPagedPool, 20, TAG)
    write_bytes(block, b"test buffer")
    mdl = IoAllocateMdl(block, 20, FALSE, FALSE, NULL)
    MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
    address = MmMapLockedPagesSpecifyCache(
        mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority
    )
    found: list[Any] = [int(address) != 0, read_bytes(int(address), 11)]
    found.append(mdl.MdlFlags & MDL_PAGES_LOCKED)
    MmUnmapLockedPages(address, mdl)
    MmUnlockPages(mdl)
    IoFreeMdl(mdl)
    return found


# Reserved mappings


def locked_mdl(pages: int) -> Any:
    block = ExAllocatePoolWithTag(NonPagedPool, pages * PAGE, TAG)
    mdl = IoAllocateMdl(block, pages * PAGE, FALSE, FALSE, NULL)
    MmProbeAndLockPages(mdl, KernelMode, IoModifyAccess)
    return mdl


@RESERVED.fact([True, True, 0, 0x01234567, True], pages=[1, 10])
def a_reservation_maps_any_number_of_pages_up_to_its_own(pages: int) -> list[Any]:
    mapping = MmAllocateMappingAddress(10 * PAGE, TAG)
    mdl = locked_mdl(pages)
    base = MmMapLockedPagesWithReservedMapping(mapping, TAG, mdl, MmCached)
    last = int(base) + (pages - 1) * PAGE
    status = raised(lambda: write_bytes(last, (0x01234567).to_bytes(4, "little")))
    found: list[Any] = [int(mapping) != 0, int(base) == int(mapping), status]
    found.append(int.from_bytes(read_bytes(last, 4), "little"))
    MmUnmapReservedMapping(base, TAG, mdl)
    again = MmMapLockedPagesWithReservedMapping(mapping, TAG, mdl, MmCached)
    found.append(int(again) == int(mapping))
    MmUnmapReservedMapping(again, TAG, mdl)
    MmFreeMappingAddress(mapping, TAG)
    return found


@RESERVED.fact([0])
def a_reservation_maps_no_more_pages_than_it_has() -> list[int]:
    mapping = MmAllocateMappingAddress(10 * PAGE, TAG)
    return [int(MmMapLockedPagesWithReservedMapping(mapping, TAG, locked_mdl(11), MmCached))]


@RESERVED.fact(lambda tag: tag != 0, tag=[0, 1, TAG])
def a_reservation_needs_a_tag(tag: int) -> bool:
    return int(MmAllocateMappingAddress(1, tag)) != 0


test_fact = as_tests(VIRTUAL, MDL_FACTS, WINE_MDL, RESERVED)
