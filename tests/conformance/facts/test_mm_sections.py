"""Facts of sections without a file, their views, and the section of physical memory."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, raised, start, wait

CREATE = Facts(f"{KMTESTS}/ntos_mm/ZwCreateSection.c")
VIEWS = Facts(f"{KMTESTS}/ntos_mm/ZwMapViewOfSection.c")
PHYSICAL = Facts(f"{KMTESTS}/ntos_mm/MmSection.c TestPhysicalMemorySection")
CHANGES = Facts("Wine dlls/kernel32/tests/virtual.c test_mapping")
WRITTEN = Facts("Wine dlls/kernel32/tests/virtual.c test_CreateFileMapping_protection")
ZERO_BITS = Facts("Wine dlls/ntdll/tests/virtual.c")
CURRENT_PROCESS = (1 << 64) - 1
PAGE = 0x1000
SYNTAX_BAD, TOO_BIG, NO_FILE = 0xC000003B, 0xC0000040, 0xC0000020
MISMATCH, INVALID_HANDLE, NOT_ALLOWED = 0xC0000024, 0xC0000008, 0xC000004E
ALREADY, CONFLICTING, INVALID_PROTECTION, ALIGNMENT = 0xC0000021, 0xC0000018, 0xC0000045, 0xC0000220
INVALID_3, INVALID_4, INVALID_5, INVALID_6, _, _, INVALID_9 = range(0xC00000F1, 0xC00000F8)
COMMITTED, RESERVED, IMAGE_OF = 0x800_0000, 0x400_0000, 0x100_0000
UNCACHED, LARGE = 0x1000_0000, 0x8000_0000
VIEW_SHARED, VIEW_UNMAPPED = 1, 2


def create(
    size: int = PAGE, protection: int = PAGE_READWRITE, kind: int = COMMITTED,
    access: int = SECTION_ALL_ACCESS, name: str = "",
) -> tuple[int, int]:  # fmt: skip
    """(status, handle)."""
    maximum, attributes = LARGE_INTEGER(), OBJECT_ATTRIBUTES()
    maximum.QuadPart = size
    text = UNICODE_STRING(name) if name else NULL
    InitializeObjectAttributes(attributes, text, OBJ_KERNEL_HANDLE, NULL, NULL)
    return ZwCreateSection(access, attributes, maximum, protection, kind, NULL)  # type: ignore


def view(
    section: int, base: int = 0, size: int = 0, offset: int = 0, protection: int = PAGE_READWRITE,
    *, kind: int = 0, zero_bits: int = 0, commit: int = 0, process: int = CURRENT_PROCESS,
    inherit: int = VIEW_UNMAPPED,
) -> tuple[int, int, int]:  # fmt: skip
    """(status, base, size)."""
    at, room, first = PVOID(), SIZE_T(), LARGE_INTEGER()
    at[0], room[0], first.QuadPart = base, size, offset
    status = ZwMapViewOfSection(
        section, process, at, zero_bits, commit, first, room, inherit, kind, protection
    )  # fmt: skip
    return status, int(at[0]), room[0]


def mapped(section: int, **options: Any) -> int:
    """The status of mapping a view, which is unmapped again."""
    status, base, _ = view(section, **options)
    if not status:
        unmapped: int = ZwUnmapViewOfSection(CURRENT_PROCESS, base)
        return unmapped
    return status


def made(*arguments: Any, **options: Any) -> int:
    """The status of creating a section, which is closed again."""
    status, handle = create(*arguments, **options)
    if not status:
        closed: int = ZwClose(handle)
        return closed
    return status


@CREATE.fact(0, access=[SECTION_ALL_ACCESS, 0, SECTION_MAP_READ])
def any_access_may_be_asked_for(access: int) -> int:
    return made(access=access)


@CREATE.fact(
    lambda name: SYNTAX_BAD if name.startswith("T") else 0,
    name=["\\BaseNamedObjects\\KmtTestReadSect", "THIS/IS/INVALID"],
)
def a_name_begins_with_a_backslash(name: str) -> int:
    return made(name=name)


@CREATE.fact(
    lambda size: {-1: TOO_BIG, 0: INVALID_4}.get(size, 0), size=[-1, 0, 1, 250, PAGE, 0x50000]
)
def a_section_without_a_file_has_a_size(size: int) -> int:
    return made(size)


WELL = [PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY, PAGE_READONLY]
BADLY = [0x24, 6, 0xA, 0, 0xFFFFFFFF]


@CREATE.fact(
    lambda protection: 0 if protection in WELL else INVALID_PROTECTION, protection=WELL + BADLY
)
def a_protection_is_one_of_those_of_a_page(protection: int) -> int:
    return made(protection=protection)


KINDS = {
    0: INVALID_6,
    COMMITTED | RESERVED: INVALID_6,
    RESERVED: 0,
    IMAGE_OF: NO_FILE,
    IMAGE_OF | COMMITTED: INVALID_6,
    0xFFFFFFFF: INVALID_6,
    LARGE: INVALID_6,
    LARGE | COMMITTED: INVALID_4,
    LARGE | RESERVED: INVALID_6,
    UNCACHED: INVALID_6,
    UNCACHED | COMMITTED | RESERVED: INVALID_6,
    UNCACHED | COMMITTED: 0,
    UNCACHED | RESERVED: 0,
}


@CREATE.fact(lambda kind: KINDS[kind], kind=list(KINDS))
def attributes_go_together_or_are_parameter_6(kind: int) -> int:
    return made(250, kind=kind)


@CREATE.fact(0)
def large_pages_want_a_multiple_of_their_size() -> int:
    return made(0x400000, kind=LARGE | COMMITTED)


RUNS = {PAGE_EXECUTE, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE}
ALLOWED = {
    PAGE_READONLY: {PAGE_READONLY, PAGE_WRITECOPY, PAGE_NOACCESS},
    PAGE_READWRITE: {PAGE_READONLY, PAGE_READWRITE, PAGE_WRITECOPY, PAGE_NOACCESS},
    PAGE_EXECUTE: {PAGE_EXECUTE, PAGE_NOACCESS},
    PAGE_WRITECOPY: {PAGE_READONLY, PAGE_WRITECOPY, PAGE_NOACCESS},
    PAGE_EXECUTE_READ: {
        PAGE_READONLY, PAGE_WRITECOPY, PAGE_NOACCESS, PAGE_EXECUTE, PAGE_EXECUTE_READ,
        PAGE_EXECUTE_WRITECOPY,
    },
}  # fmt: skip


@CREATE.fact(
    lambda section, protection: 0 if protection in ALLOWED[section] else NOT_ALLOWED,
    section=[PAGE_READONLY, PAGE_READWRITE, PAGE_EXECUTE, PAGE_WRITECOPY],
    protection=[PAGE_READWRITE, PAGE_READONLY, PAGE_EXECUTE],
)
def a_view_may_do_no_more_than_its_section(section: int, protection: int) -> int:
    return mapped(create(protection=section)[1], protection=protection)


@VIEWS.fact(
    lambda section, protection: 0 if protection in ALLOWED[section] else NOT_ALLOWED,
    section=[PAGE_READONLY, PAGE_READWRITE],
    protection=[
        PAGE_NOACCESS, PAGE_EXECUTE_WRITECOPY, PAGE_WRITECOPY, PAGE_EXECUTE_READ,
    ],
)  # fmt: skip
def an_executable_view_needs_an_executable_section(section: int, protection: int) -> int:
    return mapped(create(protection=section)[1], protection=protection)


@VIEWS.fact(INVALID_PROTECTION, protection=[6, 0, 0x600 | PAGE_READWRITE])
def two_protections_are_none(protection: int) -> int:
    return mapped(create()[1], protection=protection)


@VIEWS.fact(
    lambda handle: MISMATCH if handle == CURRENT_PROCESS else INVALID_HANDLE,
    handle=[0xDEADBEEFDEADBEEF, CURRENT_PROCESS, 0],
)
def a_section_handle_is_one_of_a_section(handle: int) -> int:
    return mapped(handle)


@VIEWS.fact(INVALID_HANDLE, handle=[0xDEADBEEFDEADBEEF, 0])
def a_process_handle_is_one(handle: int) -> int:
    return mapped(create()[1], process=handle)


@VIEWS.fact(
    lambda base: {0x567A20: ALIGNMENT, 0x60000000: 0}.get(base, INVALID_3),
    base=[0x567A20, 0x60000000, 0xFFFF_8000_0000_00C8],
)
def a_base_is_aligned_and_a_users(base: int) -> int:
    return mapped(create()[1], base=base)


@VIEWS.fact([INVALID_HANDLE, INVALID_HANDLE])
def handles_are_looked_at_before_alignment() -> list[int]:
    bad = 0xDEADBEEFDEADBEEF
    return [mapped(bad, base=0x567A20), mapped(create()[1], base=0x567A20, process=bad)]


@VIEWS.fact(CONFLICTING)
def a_view_over_allocated_memory_conflicts() -> int:
    at, room = PVOID(), SIZE_T()
    at[0], room[0] = 0, PAGE
    ZwAllocateVirtualMemory(CURRENT_PROCESS, at, 0, room, MEM_COMMIT | MEM_RESERVE, 4)
    return mapped(create()[1], base=int(at[0]))


@VIEWS.fact(lambda bits: INVALID_4 if bits == 22 else 0, bits=[0, 1, 5, 22])
def zero_bits_are_21_at_most(bits: int) -> int:
    return mapped(create()[1], zero_bits=bits)


COMMITS = {0: 0, 500: 0, 0x50000: 0, 0x10000000: INVALID_5, CURRENT_PROCESS: INVALID_5}


@VIEWS.fact(lambda commit: COMMITS[commit], commit=list(COMMITS))
def no_more_is_committed_than_the_section_holds(commit: int) -> int:
    return mapped(create(0x50000)[1], commit=commit)


@VIEWS.fact(
    lambda offset: 0 if offset in (0, 0x10000) else ALIGNMENT, offset=[0, 0x10000, 0x40211, -1]
)
def an_offset_is_aligned(offset: int) -> int:
    return mapped(create(0x50000)[1], offset=offset)


@VIEWS.fact(INVALID_3)
def a_view_is_no_longer_than_the_address_space() -> int:
    return mapped(create()[1], size=CURRENT_PROCESS)


@VIEWS.fact(INVALID_9, kind=[MEM_RESERVE, MEM_RESERVE | MEM_COMMIT, MEM_COMMIT])
def a_view_of_page_file_memory_is_not_reserved(kind: int) -> int:
    return mapped(create()[1], kind=kind)


@VIEWS.fact([0, PAGE, 250 * b"x", True, (2, 2)])
def a_view_is_whole_pages_that_all_views_share() -> list[Any]:
    section = create(250, name="\\BaseNamedObjects\\kmtest-SharedSection")[1]
    status, base, size = view(section, commit=250)
    write_bytes(base, 250 * b"x")
    found: list[Any] = [status, size]

    def other(StartContext: Any) -> None:
        attributes = OBJECT_ATTRIBUTES()
        name = UNICODE_STRING("\\BaseNamedObjects\\kmtest-SharedSection")
        InitializeObjectAttributes(attributes, name, OBJ_KERNEL_HANDLE, NULL, NULL)
        _, again = ZwOpenSection(SECTION_ALL_ACCESS, attributes)
        _, seen, _ = view(again)
        found.append(read_bytes(seen, 250))
        write_bytes(seen, b"NewContent")
        counts = handles_of(again)
        ZwUnmapViewOfSection(CURRENT_PROCESS, seen)
        found.append((counts, handles_of(again)))
        ZwClose(again)

    wait(start(other))
    found.insert(3, read_bytes(base, 10) == b"NewContent")
    return found


def handles_of(handle: int) -> int:
    """How many handles an object has."""
    block = ExAllocatePoolWithTag(NonPagedPoolNx, 0x38, 0x74736554)
    ZwQueryObject(handle, 0, block, 0x38, NULL)
    count: int = cast(block, ULONG)[2]
    ExFreePoolWithTag(block, 0x74736554)
    return count


@VIEWS.fact([STATUS_ACCESS_VIOLATION, bytes(1)])
def a_read_only_view_of_a_writable_section_refuses_writes() -> list[Any]:
    _, base, _ = view(create()[1], protection=PAGE_READONLY)
    return [raised(lambda: write_bytes(base, b"x")), read_bytes(base, 1)]


@VIEWS.fact(STATUS_ACCESS_VIOLATION)
def a_view_without_access_refuses_reads() -> Any:
    _, base, _ = view(create()[1], protection=PAGE_NOACCESS)
    return raised(lambda: read_bytes(base, 1))


@VIEWS.fact((PAGE, MEM_COMMIT, PAGE_READWRITE))
def a_view_of_a_committed_section_is_committed() -> tuple[int, int, int]:
    _, base, _ = view(create(250)[1])
    block = ExAllocatePoolWithTag(NonPagedPoolNx, 0x30, 0x74736554)
    ZwQueryVirtualMemory(CURRENT_PROCESS, base, 0, block, 0x30, NULL)
    words = cast(block, ULONG)
    return words[6], words[8], words[9]


def physical_memory() -> int:
    attributes = OBJECT_ATTRIBUTES()
    name = UNICODE_STRING("\\Device\\PhysicalMemory")
    InitializeObjectAttributes(attributes, name, 0, NULL, NULL)
    handle: int = ZwOpenSection(SECTION_ALL_ACCESS, attributes)[1]
    return handle


@PHYSICAL.fact([0, PAGE, 0], protection=[PAGE_READWRITE, PAGE_READWRITE | PAGE_NOCACHE])
def page_zero_can_be_mapped(protection: int) -> list[int]:
    status, base, size = view(physical_memory(), size=PAGE, protection=protection)
    return [status, size, ZwUnmapViewOfSection(CURRENT_PROCESS, base)]


@PHYSICAL.fact([0, 0, PAGE, True, b"\x88", 0], lead=[0, 4])
def a_view_of_physical_memory_begins_with_its_page(lead: int) -> list[Any]:
    page = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE, 0x74736554)
    for quarter, value in enumerate(b"\x23\x67\xab\xef"):
        RtlFillMemory(page + quarter * PAGE // 4, PAGE // 4, value)
    at = MmGetPhysicalAddress(page).QuadPart + lead
    status, base, size = view(physical_memory(), size=PAGE - lead, offset=at)
    found: list[Any] = [status, base % PAGE, size]
    found.append(read_bytes(base, PAGE) == read_bytes(page, PAGE))
    write_bytes(base + 5, b"\x88")
    return [*found, read_bytes(page + 5, 1), ZwUnmapViewOfSection(CURRENT_PROCESS, base)]


@PHYSICAL.fact(INVALID_6)
def the_attribute_of_physical_memory_is_not_for_drivers() -> int:
    return made(0, kind=LARGE)


# Copy-on-write and protections of views

PROTECTIONS = [
    PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, PAGE_WRITECOPY, PAGE_EXECUTE_READ,
    PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY,
]  # fmt: skip
READS, WRITES, RUNS, COPIES = 1, 2, 4, 8
GRANTS = {
    PAGE_NOACCESS: 0,
    PAGE_READONLY: READS,
    PAGE_WRITECOPY: READS,
    PAGE_READWRITE: READS | WRITES,
    PAGE_EXECUTE_READ: READS | RUNS,
    PAGE_EXECUTE_WRITECOPY: READS | RUNS | COPIES,
    PAGE_EXECUTE_READWRITE: READS | WRITES | RUNS | COPIES,
}


def protect(base: int, protection: int, size: int = PAGE) -> tuple[int, int]:
    """(status, protection before)."""
    at, room, before = PVOID(), SIZE_T(), ULONG()
    at[0], room[0], before[0] = base, size, 0
    status = ZwProtectVirtualMemory(CURRENT_PROCESS, at, room, protection, before)
    return status, int(before[0])


def protection_at(base: int) -> tuple[int, int]:
    """(AllocationProtect, Protect)."""
    block = ExAllocatePoolWithTag(NonPagedPoolNx, 0x30, 0x74736554)
    ZwQueryVirtualMemory(CURRENT_PROCESS, base, 0, block, 0x30, NULL)
    words = cast(block, ULONG)
    found = words[4], words[9]
    ExFreePoolWithTag(block, 0x74736554)
    return found


@CHANGES.fact(
    lambda view_protection, wanted: (
        (0, view_protection)
        if not GRANTS[wanted] & ~GRANTS[view_protection]
        else (NOT_ALLOWED, 0)
    ),
    view_protection=PROTECTIONS,
    wanted=PROTECTIONS,
)
def a_page_of_a_view_takes_what_the_view_covers(view_protection: int, wanted: int) -> Any:
    section = create(protection=PAGE_EXECUTE_READWRITE)[1]
    return protect(view(section, protection=view_protection)[1], wanted)


@CHANGES.fact(ALREADY, protection=PROTECTIONS)
def a_view_of_a_committed_section_cannot_be_committed_again(protection: int) -> int:
    at, room = PVOID(), SIZE_T()
    at[0], room[0] = view(create()[1])[1], PAGE
    status: int = ZwAllocateVirtualMemory(CURRENT_PROCESS, at, 0, room, MEM_COMMIT, protection)
    return status


AFTER_A_WRITE = {
    PAGE_WRITECOPY: PAGE_READWRITE,
    PAGE_EXECUTE_WRITECOPY: PAGE_EXECUTE_READWRITE,
    PAGE_READWRITE: PAGE_READWRITE,
    PAGE_EXECUTE_READWRITE: PAGE_EXECUTE_READWRITE,
}


@WRITTEN.fact(
    lambda protection: [(protection, protection), (protection, AFTER_A_WRITE[protection])],
    protection=list(AFTER_A_WRITE),
)
def a_written_page_of_a_copying_view_is_writable(protection: int) -> list[Any]:
    _, base, _ = view(create(protection=PAGE_EXECUTE_READWRITE)[1], protection=protection)
    before = protection_at(base)
    write_bytes(base, b"x")
    return [before, protection_at(base)]


@WRITTEN.fact([PAGE_READWRITE, PAGE_EXECUTE_READWRITE, (0, PAGE_EXECUTE_READWRITE)])
def a_page_that_was_copied_is_not_copied_again() -> list[Any]:
    section = create(protection=PAGE_EXECUTE_READWRITE)[1]
    _, base, _ = view(section, protection=PAGE_EXECUTE_READWRITE)
    protect(base, PAGE_WRITECOPY)
    write_bytes(base, b"x")
    found: list[Any] = [protection_at(base)[1]]
    protect(base, PAGE_EXECUTE_WRITECOPY)
    found.append(protection_at(base)[1])
    return [*found, protect(base, PAGE_NOACCESS)]


@ZERO_BITS.fact(
    lambda bits: STATUS_NO_MEMORY if bits > 15 else (0, True), bits=list(range(1, 22))
)
def zero_bits_are_leading_zeros_of_32(bits: int) -> Any:
    at, room = PVOID(), SIZE_T()
    at[0], room[0] = 0, PAGE
    kind = MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN
    status = ZwAllocateVirtualMemory(CURRENT_PROCESS, at, bits, room, kind, PAGE_READWRITE)
    return status or (0, int(at[0]) >> 32 - bits == 0)


@ZERO_BITS.fact([0, True, True])
def more_zero_bits_are_a_mask_of_which_the_leading_zeros_count() -> list[Any]:
    at, room = PVOID(), SIZE_T()
    at[0], room[0] = 0, PAGE
    kind, mask = MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN, 0x1AAA_AAAA
    status = ZwAllocateVirtualMemory(CURRENT_PROCESS, at, mask, room, kind, PAGE_READWRITE)
    return [status, not int(at[0]) >> 29, bool(int(at[0]) & ~mask)]


@ZERO_BITS.fact(CONFLICTING, bits=[0, 12])
def zero_bits_say_nothing_of_an_address_that_is_given(bits: int) -> int:
    at, room = PVOID(), SIZE_T()
    at[0], room[0] = 0, PAGE
    kind = MEM_COMMIT | MEM_RESERVE
    ZwAllocateVirtualMemory(CURRENT_PROCESS, at, 0, room, kind, PAGE_READWRITE)
    at[0], room[0] = int(at[0]) + PAGE, PAGE
    status: int = ZwAllocateVirtualMemory(CURRENT_PROCESS, at, bits, room, kind, PAGE_READWRITE)
    return status


@ZERO_BITS.fact(INVALID_4, lead=[0x1000, 0x1001], offset=[0, 1], bits=[12, 16])
def a_base_of_a_view_has_the_zero_bits(lead: int, offset: int, bits: int) -> int:
    section = create(0x20000)[1]
    base = view(section)[1]
    return view(section, base=base + lead, offset=offset, zero_bits=bits)[0]


@ZERO_BITS.fact((0, True), bits=[1, 5, 10])
def zero_bits_place_a_view(bits: int) -> tuple[int, bool]:
    status, base, _ = view(create()[1], zero_bits=bits)
    return status, not base >> 32 - bits


test_fact = as_tests(CREATE, VIEWS, PHYSICAL, CHANGES, WRITTEN, ZERO_BITS)
