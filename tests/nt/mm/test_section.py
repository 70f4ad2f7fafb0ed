"""Sections and their views.

Source: WDK ZwCreateSection, ZwMapViewOfSection; ReactOS kmtests ntos_mm/ZwCreateSection.c and
ZwMapViewOfSection.c.
"""

from ntsim.host.current import current_kernel
from ntsim.wdm import *

ME = (1 << 64) - 1
SECTION_ALL_ACCESS, SEC_COMMIT, SEC_RESERVE = 0xF001F, 0x800_0000, 0x400_0000
READONLY, READWRITE = 2, 4


def attributes(text: str = ""):
    made = OBJECT_ATTRIBUTES()
    name = UNICODE_STRING(text) if text else NULL
    InitializeObjectAttributes(made, name, OBJ_KERNEL_HANDLE, NULL, NULL)
    return made


def create(size: int, protection: int = READWRITE, kind: int = SEC_COMMIT, text: str = ""):
    maximum = LARGE_INTEGER()
    maximum.QuadPart = size
    return ZwCreateSection(SECTION_ALL_ACCESS, attributes(text), maximum, protection, kind, NULL)


def map_view(Handle, size=0, offset=0, base=0, protection=READWRITE, inherit=2):
    address, length, at = PVOID(), SIZE_T(), LARGE_INTEGER()
    address[0], length[0], at.QuadPart = base, size, offset
    status = ZwMapViewOfSection(
        Handle, ME, address, 0, 0, at, length, inherit, 0, protection
    )  # fmt: skip
    return status, address[0], length[0], at.QuadPart


def test_views_share_their_pages_and_outlive_the_handle(value_of) -> None:
    def body() -> list:
        Status, Handle = create(0x2800)
        one, two = map_view(Handle), map_view(Handle, 0x1000)
        found = [Status, one[0], one[2], two[2], read_bytes(one[1], 16)]
        write_bytes(one[1] + 8, b"shared")
        found += [read_bytes(two[1] + 8, 6), ZwClose(Handle), ZwUnmapViewOfSection(ME, two[1])]
        found += [read_bytes(one[1] + 8, 6), ZwUnmapViewOfSection(ME, one[1] + 0x1234)]
        return [*found, ZwUnmapViewOfSection(ME, one[1])]

    assert value_of(body) == [
        0, 0, 0x3000, 0x1000, bytes(16), b"shared", 0, 0, b"shared", 0, STATUS_NOT_MAPPED_VIEW,
    ]  # fmt: skip


def test_a_named_section_is_opened_by_name_until_it_is_closed(value_of) -> None:
    def body() -> list:
        _, Handle = create(0x1000, text="\\BaseNamedObjects\\S")
        Status, Other = ZwOpenSection(SECTION_ALL_ACCESS, attributes("\\BaseNamedObjects\\S"))
        one, two = map_view(Handle), map_view(Other)
        write_bytes(one[1], b"x")
        found = [Status, read_bytes(two[1], 1)]
        ZwClose(Handle)
        ZwClose(Other)
        again = ZwOpenSection(SECTION_ALL_ACCESS, attributes("\\BaseNamedObjects\\S"))
        return [*found, again[0]]

    assert value_of(body) == [0, b"x", STATUS_OBJECT_NAME_NOT_FOUND]


def test_arguments_that_cannot_be(value_of) -> None:
    def body() -> list:
        found = [create(0)[0], create(0x1000, 0)[0], create(0x1000, kind=0)[0]]
        found += [create(0x1000, kind=SEC_COMMIT | SEC_RESERVE)[0], create(1 << 40)[0]]
        _, Handle = create(0x20000, READONLY)
        found += [map_view(Handle)[0], map_view(Handle, protection=READONLY, inherit=3)[0]]
        for offset in (0x1000, 0x20000):
            found += [map_view(Handle, 0, offset, protection=READONLY)[0]]
        found += [map_view(Handle, 0x21000, protection=READONLY)[0]]
        found += [map_view(Handle, base=0x1234_0000_1000, protection=READONLY)[0]]
        found += [map_view(Handle, base=1 << 47, protection=READONLY)[0]]
        first = map_view(Handle, protection=READONLY)[1]
        return [*found, map_view(Handle, base=first, protection=READONLY)[0]]

    assert value_of(body) == [
        STATUS_INVALID_PARAMETER_4, STATUS_INVALID_PAGE_PROTECTION, STATUS_INVALID_PARAMETER_6,
        STATUS_INVALID_PARAMETER_6, STATUS_COMMITMENT_LIMIT, STATUS_SECTION_PROTECTION,
        STATUS_INVALID_PARAMETER_8, STATUS_MAPPED_ALIGNMENT, STATUS_INVALID_VIEW_SIZE,
        STATUS_INVALID_VIEW_SIZE, STATUS_MAPPED_ALIGNMENT, STATUS_INVALID_PARAMETER_3,
        STATUS_CONFLICTING_ADDRESSES,
    ]  # fmt: skip


def test_a_read_only_view_refuses_writes(value_of) -> None:
    def body() -> int:
        _, Handle = create(0x1000)
        _, address, _, _ = map_view(Handle, protection=READONLY)
        try:
            write_bytes(address, b"x")
        except StructuredException as error:
            return error.ExceptionCode
        return 0

    assert value_of(body) == STATUS_ACCESS_VIOLATION


def test_physical_memory_is_a_section(value_of) -> None:
    def body() -> list:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)
        write_bytes(block, b"found me")
        pa = MmGetPhysicalAddress(block).QuadPart
        Status, Handle = ZwOpenSection(SECTION_ALL_ACCESS, attributes("\\Device\\PhysicalMemory"))
        result, address, _, offset = map_view(Handle, 64, pa)
        found = [Status, result, offset == pa & ~0xFFF]
        found += [read_bytes(address + pa - offset, 8), ZwUnmapViewOfSection(ME, address)]
        return [*found, read_bytes(block, 8)]

    assert value_of(body) == [0, 0, True, b"found me", 0, b"found me"]


def test_frames_come_back_with_the_last_view(value_of) -> None:
    def body() -> list:
        frames = current_kernel("test").mm.frames
        counts = []
        for _ in range(2):  # the first time takes page tables too, which stay
            _, Handle = create(0x40000)
            _, address, _, _ = map_view(Handle)
            ZwClose(Handle)
            mapped = frames.available
            ZwUnmapViewOfSection(ME, address)
            counts.append(frames.available - mapped)
        return counts

    assert value_of(body) == [0x40, 0x40]


def test_a_section_can_be_seen_in_system_space(value_of) -> None:
    def body() -> list:
        _, Handle = create(0x3000)
        Status, Section = ObReferenceObjectByHandle(Handle, 0, MmSectionObjectType[0], 0, NULL)
        size, base = SIZE_T(), PVOID()
        found = [Status, MmMapViewInSystemSpace(Section, base, size), size[0]]
        write_bytes(base[0] + 0x2000, b"both")
        found += [read_bytes(map_view(Handle)[1] + 0x2000, 4)]
        found += [MmUnmapViewInSystemSpace(base[0]), MmUnmapViewInSystemSpace(base[0])]
        ObDereferenceObject(Section)
        return found

    assert value_of(body) == [0, 0, 0x3000, b"both", 0, STATUS_NOT_MAPPED_VIEW]
