"""Reserved mappings. Source: WDK MmAllocateMappingAddress and its family; bug check 0xDA table."""

import pytest

from ntsim.wdm import *

TAG, OTHER = 0x41424344, 0x45464748


def locked():
    """An MDL over nonpaged pool that holds b"data"."""
    block = ExAllocatePoolWithTag(NonPagedPoolNx, 0x1000, 1)
    write_bytes(block + 0x20, b"data")
    mdl = IoAllocateMdl(block + 0x20, 0x800, FALSE, FALSE, NULL)
    MmBuildMdlForNonPagedPool(mdl)
    return mdl


def test_pages_are_seen_at_the_reserved_address_again_and_again(value_of) -> None:
    def body() -> list:
        base, found = MmAllocateMappingAddress(0x2000, TAG), []
        mdl = locked()
        for _ in range(2):
            at = MmMapLockedPagesWithReservedMapping(base, TAG, mdl, MmCached)
            found += [at - base == MmGetMdlByteOffset(mdl), read_bytes(at, 4)]
            MmUnmapReservedMapping(base, TAG, mdl)
        MmFreeMappingAddress(base, TAG)
        return found

    assert value_of(body) == [True, b"data", True, b"data"]


def test_more_pages_than_reserved_do_not_fit(value_of) -> None:
    def body() -> int:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 0x3000, 1)
        mdl = IoAllocateMdl(block, 0x3000, FALSE, FALSE, NULL)
        MmBuildMdlForNonPagedPool(mdl)
        base = MmAllocateMappingAddress(0x2000, TAG)
        return MmMapLockedPagesWithReservedMapping(base, TAG, mdl, MmCached)

    assert value_of(body) == 0


def wrong_free(base: int, mdl) -> None:
    MmFreeMappingAddress(base, OTHER)


def free_unreserved(base: int, mdl) -> None:
    MmFreeMappingAddress(base + 0x1000, TAG)


def free_in_use(base: int, mdl) -> None:
    MmMapLockedPagesWithReservedMapping(base, TAG, mdl, MmCached)
    MmFreeMappingAddress(base, TAG)


def wrong_map(base: int, mdl) -> None:
    MmMapLockedPagesWithReservedMapping(base, OTHER, mdl, MmCached)


def map_twice(base: int, mdl) -> None:
    for _ in range(2):
        MmMapLockedPagesWithReservedMapping(base, TAG, mdl, MmCached)


def wrong_unmap(base: int, mdl) -> None:
    MmUnmapReservedMapping(base, OTHER, mdl)


def unmap_nothing(base: int, mdl) -> None:
    MmUnmapReservedMapping(base, TAG, mdl)


@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        (wrong_free, 0x101), (free_unreserved, 0x102), (free_in_use, 0x103), (wrong_map, 0x104),
        (map_twice, 0x107), (wrong_unmap, 0x108), (unmap_nothing, 0x10B),
    ],
)  # fmt: skip
def test_misuse_stops_with_0xda(bugcheck_of, mistake, code: int) -> None:
    def body() -> None:
        mistake(MmAllocateMappingAddress(0x2000, TAG), locked())

    bug = bugcheck_of(body)
    assert (bug.code, bug.parameters[0]) == (0xDA, code)


def test_noncached_memory_comes_in_pages(value_of) -> None:
    def body() -> list:
        at = MmAllocateNonCachedMemory(0x1001)
        write_bytes(at + 0x1FFF, b"x")
        found = [at & 0xFFF, read_bytes(at + 0x1FFF, 1)]
        MmFreeNonCachedMemory(at, 0x1001)
        return [*found, MmAllocateNonCachedMemory(0)]

    assert value_of(body) == [0, b"x", 0]


def test_the_lowest_bit_of_a_tag_does_not_count(value_of) -> None:
    """Source: ReactOS kmtests MmReservedMapping.c."""

    def body() -> list:
        base, mdl = MmAllocateMappingAddress(0x2000, TAG & ~1), locked()
        at = MmMapLockedPagesWithReservedMapping(base, TAG | 1, mdl, MmCached)
        found = [read_bytes(at, 4), MmAllocateMappingAddress(1, 0), MmAllocateMappingAddress(1, 1)]
        MmUnmapReservedMapping(base, TAG | 1, mdl)
        MmFreeMappingAddress(base, TAG)
        return [found[0], found[1], found[2] != 0]

    assert value_of(body) == [b"data", 0, True]


def test_an_address_within_the_first_page_will_do(value_of) -> None:
    """Source: ReactOS kmtests MmReservedMapping.c."""

    def body() -> list:
        base, mdl = MmAllocateMappingAddress(0x2000, TAG), locked()
        at = MmMapLockedPagesWithReservedMapping(base + 4, TAG, mdl, MmCached)
        found = [at - base - 4 == MmGetMdlByteOffset(mdl), read_bytes(at - 4, 4)]
        MmUnmapReservedMapping(base + 4, TAG, mdl)
        MmFreeMappingAddress(base + 4, TAG)
        return found

    assert value_of(body) == [True, b"data"]
