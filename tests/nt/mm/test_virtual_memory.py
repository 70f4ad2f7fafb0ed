"""ZwAllocateVirtualMemory and its kin. Source: WDK, the page of each routine."""

from ntsim.wdm import *

CURRENT = 0xFFFF_FFFF_FFFF_FFFF


def test_a_region_is_reserved_committed_used_and_released(value_of) -> None:
    def work() -> list[object]:
        base, size = PVOID(), SIZE_T()
        base[0], size[0] = 0, 5000
        status = ZwAllocateVirtualMemory(
            CURRENT, base, 0, size, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE
        )
        address = base[0]
        write_bytes(address, b"mine")
        found = [status, size[0], read_bytes(address, 4), address & 0xFFFF]
        old = ULONG()
        found += [ZwProtectVirtualMemory(CURRENT, base, size, PAGE_READONLY, old), old[0]]
        size[0] = 0
        found += [ZwFreeVirtualMemory(CURRENT, base, size, MEM_RELEASE), size[0]]
        try:
            read_bytes(address, 1)
        except StructuredException as e:
            found.append(e.ExceptionCode)
        return found

    expected = [0, 0x2000, b"mine", 0, 0, PAGE_READWRITE, 0, 0x2000, STATUS_ACCESS_VIOLATION]
    assert value_of(work) == expected


def test_system_addresses_are_no_region(value_of) -> None:
    """Source: ReactOS kmtests ZwAllocateVirtualMemory.c."""

    def work() -> int:
        base, size = PVOID(), SIZE_T()
        base[0], size[0] = 0xFFFF_8000_0000_00C8, 0x1000
        return ZwFreeVirtualMemory(CURRENT, base, size, MEM_RELEASE)

    assert value_of(work) == STATUS_INVALID_PARAMETER_2


def test_what_is_at_an_address(value_of) -> None:
    def work() -> list[int]:
        base, size = PVOID(), SIZE_T()
        size[0] = 0x3000
        ZwAllocateVirtualMemory(CURRENT, base, 0, size, MEM_RESERVE, PAGE_READWRITE)
        reserved = base[0]
        base[0], size[0] = reserved + 0x1000, 0x1000
        ZwAllocateVirtualMemory(CURRENT, base, 0, size, MEM_COMMIT, PAGE_READONLY)
        info = ExAllocatePoolWithTag(NonPagedPool, 48, 0x74736554)
        status = ZwQueryVirtualMemory(CURRENT, reserved + 0x1234, 0, info, 48, NULL)
        words, halves = cast(info, ULONGLONG), cast(info, ULONG)
        found = [status, words[0] - reserved, words[1] - reserved, words[3], halves[8], halves[9]]
        ExFreePoolWithTag(info, 0x74736554)
        return found

    assert value_of(work) == [0, 0x1000, 0, 0x1000, MEM_COMMIT, PAGE_READONLY]
