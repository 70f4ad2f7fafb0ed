"""Views that copy what is written, and guard pages in views.

Source: WDK ZwMapViewOfSection (PAGE_WRITECOPY), MmProbeAndLockPages; Windows Internals 7, ch. 5.
"""

import pytest

from ntsim.wdm import *

ME = (1 << 64) - 1
PAGE, SEC_COMMIT, SECTION_ALL_ACCESS = 0x1000, 0x800_0000, 0xF001F
MEM_RESERVE_COMMIT, GUARD_PAGE_VIOLATION = 0x3000, 0x80000001


def section(size: int = 2 * PAGE, protection: int = PAGE_EXECUTE_READWRITE) -> int:
    maximum, attributes = LARGE_INTEGER(), OBJECT_ATTRIBUTES()
    maximum.QuadPart = size
    InitializeObjectAttributes(attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL)
    return ZwCreateSection(
        SECTION_ALL_ACCESS, attributes, maximum, protection, SEC_COMMIT, NULL
    )[1]  # fmt: skip


def view(handle: int, protection: int) -> int:
    address, length, at = PVOID(), SIZE_T(), LARGE_INTEGER()
    address[0], length[0], at.QuadPart = 0, 0, 0
    status = ZwMapViewOfSection(handle, ME, address, 0, 0, at, length, 2, 0, protection)
    assert not status, hex(status)
    return int(address[0])


def status_of(access) -> int:
    try:
        access()
    except StructuredException as error:
        return error.ExceptionCode
    return 0


@pytest.mark.parametrize("protection", [PAGE_WRITECOPY, PAGE_EXECUTE_WRITECOPY])
def test_a_copying_view_keeps_what_it_writes_to_itself(value_of, protection) -> None:
    def body() -> list:
        handle = section()
        plain = view(handle, PAGE_READWRITE)
        one, two = view(handle, protection), view(handle, protection)
        write_bytes(plain, b"section")
        seen = read_bytes(one, 7)
        write_bytes(one, b"private")
        write_bytes(plain + 16, b"later")
        write_bytes(plain + PAGE, b"second")
        return [
            seen, read_bytes(one, 7), read_bytes(one + 16, 5), read_bytes(one + PAGE, 6),
            read_bytes(two, 7), read_bytes(two + 16, 5), read_bytes(plain, 7),
        ]  # fmt: skip

    assert value_of(body) == [
        b"section", b"private", bytes(5), b"second", b"section", b"later", b"section",
    ]  # fmt: skip


def test_the_section_in_system_space_does_not_see_a_copy(value_of) -> None:
    def body() -> list:
        handle, body_, base, size = section(), PVOID(), PVOID(), SIZE_T()
        ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, body_, NULL)
        size[0] = 0
        MmMapViewInSystemSpace(body_[0], base, size)
        copy = view(handle, PAGE_WRITECOPY)
        write_bytes(base[0], b"shared")
        write_bytes(copy, b"mine")
        return [read_bytes(base[0], 6), read_bytes(copy, 6)]

    assert value_of(body) == [b"shared", b"mineed"]


def test_locking_a_page_for_writing_copies_it_first(value_of) -> None:
    def body() -> list:
        handle = section()
        plain, copy = view(handle, PAGE_READWRITE), view(handle, PAGE_WRITECOPY)
        write_bytes(plain, b"section")
        mdl = IoAllocateMdl(copy, PAGE, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoWriteAccess)
        write_bytes(MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority), b"device!")
        found = [read_bytes(plain, 7), read_bytes(copy, 7)]
        MmUnlockPages(mdl)
        IoFreeMdl(mdl)
        return found

    assert value_of(body) == [b"section", b"device!"]


def test_copies_are_freed_with_their_view(run_driver) -> None:
    kept = {}

    def body() -> list:
        handle = section()
        plain = view(handle, PAGE_READWRITE)
        write_bytes(plain, bytes(2 * PAGE))
        frames = kept["frames"]
        before = []
        for _ in range(3):
            copy = view(handle, PAGE_WRITECOPY)
            write_bytes(copy, b"x" * 2 * PAGE)
            ZwUnmapViewOfSection(ME, copy)
            before.append(frames())
        return before

    def entry(DriverObject, RegistryPath):
        from ntsim.host.current import current_kernel

        nt = current_kernel()
        kept["frames"] = lambda: nt.mm.frames.available
        return body()

    found = run_driver(entry).value
    assert found[1] == found[2]


def test_writing_a_copying_page_at_dispatch_level_is_a_bug_check(bugcheck_of) -> None:
    def body() -> None:
        copy = view(section(), PAGE_WRITECOPY)
        read_bytes(copy, 1)
        KeRaiseIrql(DISPATCH_LEVEL)
        write_bytes(copy, b"x")

    error = bugcheck_of(body)
    assert (error.code, error.parameters[1:3]) == (0xD1, (2, 1))


@pytest.mark.parametrize("protection", [PAGE_READWRITE, PAGE_WRITECOPY])
def test_a_guard_page_of_a_view_warns_once(value_of, protection) -> None:
    def body() -> list:
        handle = section()
        plain, guarded = view(handle, PAGE_READWRITE), view(handle, protection | PAGE_GUARD)
        write_bytes(plain, b"kept")
        found = [status_of(lambda: read_bytes(guarded, 4)) for _ in range(2)]
        return [*found, read_bytes(guarded, 4), status_of(lambda: read_bytes(guarded + PAGE, 1))]

    assert value_of(body) == [GUARD_PAGE_VIOLATION, 0, b"kept", GUARD_PAGE_VIOLATION]


def test_a_page_that_becomes_a_guard_page_keeps_its_content(value_of) -> None:
    def body() -> list:
        handle = section()
        plain, copy = view(handle, PAGE_READWRITE), view(handle, PAGE_WRITECOPY)
        write_bytes(plain, b"plain")
        write_bytes(copy + PAGE, b"own")
        found = []
        at, size, old = PVOID(), SIZE_T(), ULONG()
        for base, protection in ((plain, PAGE_READWRITE), (copy, PAGE_READONLY)):
            at[0], size[0] = base, 2 * PAGE
            status = ZwProtectVirtualMemory(ME, at, size, protection | PAGE_GUARD, old)
            found.append(status)
        found += [status_of(lambda: read_bytes(plain, 1)), read_bytes(plain, 5)]
        found += [status_of(lambda: read_bytes(copy + PAGE, 1)), read_bytes(copy + PAGE, 3)]
        return found

    assert value_of(body) == [
        0, 0, GUARD_PAGE_VIOLATION, b"plain", GUARD_PAGE_VIOLATION, b"own"
    ]  # fmt: skip

