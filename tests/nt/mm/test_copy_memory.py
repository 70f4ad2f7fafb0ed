"""MmCopyMemory: WDK MmCopyMemory."""

from ntsim.wdm import *

PHYSICAL, VIRTUAL = 1, 2
PAGE = 0x1000


def block(size: int = 2 * PAGE, fill: bytes = b"abcd") -> int:
    made = ExAllocatePoolWithTag(NonPagedPool, size, 1)
    write_bytes(made, fill * (size // len(fill)))
    return made


def test_both_kinds_of_addresses(value_of) -> None:
    def body() -> list:
        source, target = block(), block(fill=b"\0")
        found = [MmCopyMemory(target, source + 2, PAGE + 2, VIRTUAL), read_bytes(target, 4)]
        physical = int(MmGetPhysicalAddress(source))
        found += [MmCopyMemory(target, physical + 1, 3, PHYSICAL), read_bytes(target, 4)]
        return found

    assert value_of(body) == [(0, PAGE + 2), b"cdab", (0, 3), b"bcdb"]


def test_memory_that_is_not_there_is_a_status_and_no_bug_check(value_of) -> None:
    def body() -> list:
        target = block()
        calls = [
            (0xFFFF_9000_0000_0000, 8, VIRTUAL), (0x10, 8, VIRTUAL), (1 << 60, 8, VIRTUAL),
            (1 << 38, 8, PHYSICAL), (target, 8, 0), (target, 8, 3),
        ]  # fmt: skip
        return [hex(MmCopyMemory(target, *call)[0] & 0xFFFF_FFFF) for call in calls]

    assert value_of(body) == ["0xc0000141"] * 4 + ["0xc00000f2"] * 2


def test_a_free_page_behind_the_block_ends_the_copy(ntsim_machine) -> None:
    found = []

    def DriverEntry(DriverObject, RegistryPath):
        target, source = block(), MmAllocateContiguousMemory(PAGE, MAXULONG64)
        after = MmIsAddressValid(source + PAGE)
        write_bytes(source, b"xyz!" * (PAGE // 4))
        status = MmCopyMemory(target, source + PAGE - 4, 8, VIRTUAL)[0]
        found.extend([after, hex(status & 0xFFFF_FFFF), read_bytes(target, 8)])
        return STATUS_SUCCESS

    ntsim_machine().load_driver(DriverEntry, name="copy.sys")
    assert found == [False, "0xc0000141", b"xyz!abcd"]
