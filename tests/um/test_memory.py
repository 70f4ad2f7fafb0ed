"""VirtualAlloc and its kin; what is mapped where."""

from collections.abc import Callable
from typing import Any

import pytest

from ntsim import Machine
from ntsim.um import layout
from ntsim.win32 import *

Run = Callable[..., Any]
BOTH = MEM_COMMIT | MEM_RESERVE


def winerror_of(call: Callable[..., Any], *arguments: Any) -> int:
    with pytest.raises(error) as caught:
        call(*arguments)
    code: int = caught.value.winerror
    return code


def test_committed_memory_is_zero_and_keeps_what_is_written(run: Run) -> None:
    def app() -> tuple[bytes, bytes]:
        address = VirtualAlloc(0, 10_000, BOTH, PAGE_READWRITE)
        assert address % 0x10000 == 0
        fresh = read_bytes(address + 4090, 12)
        write_bytes(address + 4090, b"across pages")
        return fresh, read_bytes(address + 4090, 12)

    assert run(app) == (bytes(12), b"across pages")


def test_reserved_memory_faults_until_it_is_committed(run: Run) -> None:
    def app() -> tuple[int, int]:
        address = VirtualAlloc(0, 0x3000, MEM_RESERVE, PAGE_READWRITE)
        with pytest.raises(StructuredException) as caught:
            read_bytes(address, 1)
        again = VirtualAlloc(address + 0x1000, 0x1000, MEM_COMMIT, PAGE_READWRITE)
        write_bytes(again, b"x")
        return caught.value.ExceptionCode, again - address

    assert run(app) == (0xC0000005, 0x1000)


def test_protection_is_enforced_and_reported(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        address = VirtualAlloc(0, 0x2000, BOTH, PAGE_READWRITE)
        write_bytes(address, b"kept")
        old = VirtualProtect(address, 4, PAGE_READONLY)
        with pytest.raises(StructuredException) as caught:
            write_bytes(address, b"lost")
        info = VirtualQuery(address + 8)
        untouched = VirtualQuery(address + 0x1000).Protect
        none = VirtualProtect(address, 4, PAGE_NOACCESS)
        with pytest.raises(StructuredException):
            read_bytes(address, 1)
        back = VirtualProtect(address, 4, PAGE_READWRITE)
        kind, where = caught.value.ExceptionInformation
        assert (kind, where) == (1, address)
        assert (info.BaseAddress, info.RegionSize, info.State) == (address, 0x1000, MEM_COMMIT)
        return old, info.Protect, untouched, none, back, read_bytes(address, 4)

    found = run(app)
    assert found == (
        PAGE_READWRITE, PAGE_READONLY, PAGE_READWRITE, PAGE_READONLY, PAGE_NOACCESS, b"kept"
    )  # fmt: skip


def test_freeing(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        address = VirtualAlloc(0, 0x4000, BOTH, PAGE_READWRITE)
        VirtualFree(address + 0x1000, 0x1000, MEM_DECOMMIT)
        state = VirtualQuery(address + 0x1000).State
        inside = winerror_of(VirtualFree, address + 0x1000, 0, MEM_RELEASE)
        sized = winerror_of(VirtualFree, address, 0x4000, MEM_RELEASE)
        VirtualFree(address, 0, MEM_RELEASE)
        return state, inside, sized, VirtualQuery(address).State

    found = run(app)
    assert found == (MEM_RESERVE, ERROR_INVALID_ADDRESS, ERROR_INVALID_PARAMETER, MEM_FREE)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((0, 0, BOTH, PAGE_READWRITE), ERROR_INVALID_PARAMETER),
        ((0, 0x1000, 0, PAGE_READWRITE), ERROR_INVALID_PARAMETER),
        ((0, 0x1000, BOTH, 0x3), ERROR_INVALID_PARAMETER),
        ((layout.NTDLL_BASE, 0x1000, BOTH, PAGE_READWRITE), ERROR_INVALID_ADDRESS),
        ((0xFFFF_8000_0000_0000, 0x1000, BOTH, PAGE_READWRITE), ERROR_INVALID_PARAMETER),
        ((0, 1 << 30, BOTH, PAGE_READWRITE), ERROR_COMMITMENT_LIMIT),
        ((0x7654_0000, 0x1000, MEM_COMMIT, PAGE_READWRITE), ERROR_INVALID_ADDRESS),
    ],
)
def test_what_virtual_alloc_refuses(run: Run, arguments: Any, code: int) -> None:
    assert run(lambda: winerror_of(VirtualAlloc, *arguments)) == code


def test_process_memory_by_handle(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        me = GetCurrentProcess()
        address = VirtualAlloc(0, 0x1000, BOTH, PAGE_READWRITE)
        count = WriteProcessMemory(me, address, b"hello")
        bad = winerror_of(ReadProcessMemory, me, address + 0xFFF, 2)
        return count, ReadProcessMemory(me, address, 5), bad

    assert run(app) == (5, b"hello", ERROR_PARTIAL_COPY)


def test_another_process_s_memory_by_handle(machine: Machine) -> None:
    def owner() -> None:
        write_bytes(VirtualAlloc(0x6000_0000, 0x1000, BOTH, PAGE_READWRITE), b"secret")
        Sleep(50)

    victim = machine.start(owner)

    def reader() -> None:
        Sleep(10)
        process = OpenProcess(PROCESS_ALL_ACCESS, False, victim.pid)
        assert ReadProcessMemory(process, 0x6000_0000, 6) == b"secret"

    assert machine.run(reader).exit_code == 0


def test_the_system_call_stubs_are_code(run: Run) -> None:
    stub = layout.SERVICE_STUBS + 7 * layout.STUB_SIZE
    expected = "4c8bd1b807000000f604250803fe7f0175030f05c3cd2ec3"
    assert run(lambda: read_bytes(stub, 24).hex()) == expected


def test_images_and_shared_data_cannot_be_written(run: Run) -> None:
    def app() -> list[int]:
        codes = []
        for address in (layout.NTDLL_BASE, layout.SERVICE_STUBS, 0x7FFE0000):
            with pytest.raises(StructuredException) as caught:
                write_bytes(address, b"x")
            codes.append(caught.value.ExceptionCode)
        return codes

    assert run(app) == [0xC0000005] * 3


def test_shared_data_tells_the_version(run: Run) -> None:
    def app() -> tuple[int, ...]:
        data = read_bytes(0x7FFE026C, 8) + read_bytes(0x7FFE0260, 4)
        return tuple(int.from_bytes(data[i : i + 4], "little") for i in (0, 4, 8))

    assert run(app) == (10, 0, 19041)


def test_the_teb_is_the_thread_s(machine: Machine) -> None:
    process = machine.start(lambda: Sleep(10))
    thread = process.first_thread.thread
    seen = {}

    def app() -> None:
        handle = OpenProcess(PROCESS_ALL_ACCESS, False, process.pid)
        teb = ReadProcessMemory(handle, thread.v.Teb, 0x70)
        for name, offset in (("base", 0x8), ("self", 0x30), ("pid", 0x40), ("tid", 0x48)):
            seen[name] = int.from_bytes(teb[offset : offset + 8], "little")

    assert machine.run(app).exit_code == 0
    assert seen == {
        "base": layout.FIRST_STACK_BASE,
        "self": thread.v.Teb,
        "pid": process.pid,
        "tid": thread.tid,
    }


def test_read_bytes_serves_drivers_too(machine: Machine) -> None:
    seen: list[bytes] = []

    def DriverEntry(DriverObject: Any, RegistryPath: Any) -> int:
        seen.append(read_bytes(RegistryPath.Buffer, 4))
        write_bytes(RegistryPath.Buffer, b"/")
        seen.append(read_bytes(RegistryPath.Buffer, 2))
        return 0

    machine.load_driver(DriverEntry, name="reader.sys")
    assert seen == [b"\\\0R\0", b"/\0"]
