"""MDLs: descriptors of physical pages, locked and mapped."""

import pytest

from ntsim.wdm import *

PAGE = 0x1000


def frames(mdl) -> list[int]:
    count = (MmGetMdlByteOffset(mdl) + MmGetMdlByteCount(mdl) + PAGE - 1) // PAGE
    array = cast(MmGetMdlPfnArray(mdl), PULONGLONG)
    return [array[i] for i in range(count)]


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, PAGE), (0xFF0, 0x20), (5, 3 * PAGE)])
def test_a_new_mdl_describes_its_range(value_of, offset: int, length: int) -> None:
    def body() -> list:
        va = 0xFFFF_9A00_0000_0000 + offset
        mdl = IoAllocateMdl(va, length, FALSE, FALSE, NULL)
        return [
            mdl.Next,
            mdl.StartVa,
            mdl.ByteOffset,
            mdl.ByteCount,
            mdl.Size,
            mdl.MdlFlags,
            MmGetMdlVirtualAddress(mdl) - va,
        ]

    pages = (offset + length + PAGE - 1) // PAGE
    size = 0x30 + 8 * pages
    assert value_of(body) == [0, 0xFFFF_9A00_0000_0000, offset, length, size, 0, 0]


def test_four_gigabytes_are_too_many(value_of) -> None:
    assert value_of(lambda: IoAllocateMdl(0x1000, 0xFFFF_FFFF, FALSE, FALSE, NULL)) == 0


def test_an_mdl_for_an_irp_is_its_mdl_address_and_a_secondary_one_is_chained(value_of) -> None:
    def body() -> list:
        irp = IoAllocateIrp(1, FALSE)
        first = IoAllocateMdl(0x10000, 100, FALSE, FALSE, irp)
        second = IoAllocateMdl(0x20000, 100, TRUE, FALSE, irp)
        third = IoAllocateMdl(0x30000, 100, TRUE, FALSE, irp)
        return [irp.MdlAddress == first, first.Next == second, second.Next == third, third.Next]

    assert value_of(body) == [True, True, True, 0]


def test_chaining_to_mdls_that_go_round_never_ends(bugcheck_of) -> None:
    def body() -> None:
        irp = IoAllocateIrp(1, FALSE)
        buffer = ExAllocatePoolWithTag(NonPagedPool, 64, 0x206C644D)
        first = IoAllocateMdl(buffer, 64, FALSE, FALSE, irp)
        first.Next = first
        IoAllocateMdl(buffer, 64, TRUE, FALSE, irp)

    assert bugcheck_of(body).code == 0x133


def test_nonpaged_pool_is_its_own_mapping(value_of) -> None:
    def body() -> list:
        va = ExAllocatePoolWithTag(NonPagedPoolNx, 3 * PAGE, 1)
        mdl = IoAllocateMdl(va + 8, 2 * PAGE, FALSE, FALSE, NULL)
        MmBuildMdlForNonPagedPool(mdl)
        expected = [MmGetPhysicalAddress(va + i * PAGE) >> 12 for i in range(3)]
        address = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority)
        return [frames(mdl) == expected, address - va, mdl.MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL]

    assert value_of(body) == [True, 8, MDL_SOURCE_IS_NONPAGED_POOL]


def test_locked_pages_are_resident_and_appear_a_second_time_when_mapped(value_of) -> None:
    def body() -> list:
        va = ExAllocatePoolWithTag(PagedPool, 4 * PAGE, 1)
        mdl = IoAllocateMdl(va + 100, 3 * PAGE, FALSE, FALSE, NULL)
        before = MmIsAddressValid(va + PAGE)
        MmProbeAndLockPages(mdl, KernelMode, IoWriteAccess)
        window = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority)
        write_bytes(window, b"seen through the window")
        seen = read_bytes(va + 100, 23)
        again = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority) == window
        MmUnlockPages(mdl)
        flags = mdl.MdlFlags
        IoFreeMdl(mdl)
        return [before, MmIsAddressValid(va + PAGE), seen, again, flags, MmIsAddressValid(window)]

    assert value_of(body) == [False, True, b"seen through the window", True, 0, False]


def test_the_window_can_be_used_at_dispatch_level(value_of) -> None:
    def body() -> bytes:
        va = ExAllocatePoolWithTag(PagedPool, 2 * PAGE, 1)
        mdl = IoAllocateMdl(va, 2 * PAGE, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoModifyAccess)
        window = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority)
        old = KeRaiseIrqlToDpcLevel()
        write_bytes(window + PAGE - 2, b"over")
        KeLowerIrql(old)
        return read_bytes(va + PAGE - 2, 4)

    assert value_of(body) == b"over"


@pytest.mark.parametrize(
    ("address", "mode"),
    [(0x10000, KernelMode), (0x10000, UserMode), (0xFFFF8000_00000000, UserMode)],
)
def test_locking_what_cannot_be_accessed_raises(value_of, address: int, mode: int) -> None:
    def body() -> int:
        mdl = IoAllocateMdl(address, 100, FALSE, FALSE, NULL)
        try:
            MmProbeAndLockPages(mdl, mode, IoReadAccess)
        except StructuredException as e:
            return e.ExceptionCode
        return 0

    assert value_of(body) == STATUS_ACCESS_VIOLATION


def test_a_partial_mdl_shares_frames_and_mapping(value_of) -> None:
    def body() -> list:
        va = ExAllocatePoolWithTag(NonPagedPoolNx, 4 * PAGE, 1)
        whole = IoAllocateMdl(va, 4 * PAGE, FALSE, FALSE, NULL)
        MmBuildMdlForNonPagedPool(whole)
        part = IoAllocateMdl(va + PAGE + 16, PAGE, FALSE, FALSE, NULL)
        IoBuildPartialMdl(whole, part, va + PAGE + 16, PAGE)
        return [
            frames(part) == frames(whole)[1:3],
            MmGetSystemAddressForMdlSafe(part, NormalPagePriority) - va,
            bool(part.MdlFlags & MDL_PARTIAL),
        ]

    assert value_of(body) == [True, PAGE + 16, True]


@pytest.mark.parametrize("times", [0, 1])
def test_unlocking_more_often_than_locking_bugchecks_0x4e(bugcheck_of, times: int) -> None:
    """Bug check 0x4E reference: parameter 1 is 7, parameter 2 the page frame number."""
    seen = []

    def body() -> None:
        va = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)
        mdl = IoAllocateMdl(va, 64, FALSE, FALSE, NULL)
        MmBuildMdlForNonPagedPool(mdl)
        seen.append(int(MmGetPhysicalAddress(va)) >> 12)
        for _ in range(times):
            MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        for _ in range(times + 1):
            MmUnlockPages(mdl)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[:2]) == (0x4E, (7, seen[0]))


def test_locked_pages_outlive_their_mapping_and_are_free_once_unlocked(ntsim_machine) -> None:
    seen: list[object] = []
    machine = ntsim_machine(processors=1)

    def free_frames() -> int:
        return machine.nt.mm.frames.available

    def DriverEntry(DriverObject, RegistryPath):
        current = 0xFFFF_FFFF_FFFF_FFFF
        base, size = PVOID(), SIZE_T()
        size[0] = 2 * PAGE
        ZwAllocateVirtualMemory(current, base, 0, size, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
        write_bytes(base[0], b"held")
        mdl = IoAllocateMdl(base[0], 2 * PAGE, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoWriteAccess)
        window = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority)
        before = free_frames()
        size[0] = 0
        ZwFreeVirtualMemory(current, base, size, MEM_RELEASE)
        seen.extend([free_frames() - before, read_bytes(window, 4)])
        MmUnlockPages(mdl)
        seen.append(free_frames() - before)
        IoFreeMdl(mdl)
        return STATUS_SUCCESS

    machine.load_driver(DriverEntry)
    assert seen == [0, b"held", 2]


def test_mapping_pages_that_are_not_locked_bugchecks_0x1a(bugcheck_of) -> None:
    """Bug check 0x1A reference: 0x1233, the page frame number."""

    def body() -> None:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)
        mdl = IoAllocateMdl(block, 64, FALSE, FALSE, NULL)
        MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0]) == (0x1A, 0x1233)


def test_building_an_mdl_over_memory_that_is_not_resident_bugchecks_0x1a(bugcheck_of) -> None:
    """Bug check 0x1A reference: 0x1240, the MDL, the page-table entry."""
    seen = []

    def body() -> None:
        block = ExAllocatePoolWithTag(PagedPool, 8192, 1)
        seen.append(IoAllocateMdl(block, 64, FALSE, FALSE, NULL))
        MmBuildMdlForNonPagedPool(seen[0])

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[:2]) == (0x1A, (0x1240, int(seen[0])))
    assert stop.parameters[2] >> 39 == 0xFFFF_F680_0000_0000 >> 39
