"""`syscall`: services by their numbers in Windows 10 build 19041 (hfiref0x/SyscallTables)."""

import struct

import pytest

import ntsim
from ntsim.abi.services import argument_counts, service_numbers
from ntsim.um import ntdll
from ntsim.win32 import *

CLOSE, ALLOCATE = 0x0F, 0x18
INVALID_HANDLE, INVALID_SYSTEM_SERVICE = 0xC0000008, 0xC000001C
CURRENT_PROCESS = (1 << 64) - 1


def test_a_service_is_called_by_its_number_and_returns_its_status(run) -> None:
    def app() -> tuple[int, int]:
        handle = int(CreateEvent(None, True, True, None))
        return syscall(CLOSE, handle), syscall(CLOSE, handle)

    assert run(app) == (0, INVALID_HANDLE)


def test_arguments_beyond_the_fourth_lie_on_the_stack(run) -> None:
    def app() -> tuple[int, bytes]:
        page = VirtualAlloc(None, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
        write_bytes(page, struct.pack("<QQ", 0, 0x3000))
        status = syscall(
            ALLOCATE, CURRENT_PROCESS, page, 0, page + 8, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE
        )
        base = int.from_bytes(read_bytes(page, 8), "little")
        write_bytes(base + 0x2FFF, b"x")
        return status, read_bytes(base + 0x2FFF, 1)

    assert run(app) == (0, b"x")


@pytest.mark.parametrize("bits", [0x2000, 0x8000_0000])
def test_bits_above_the_table_number_are_not_looked_at(run, bits: int) -> None:
    def app() -> int:
        return syscall(CLOSE | bits, int(CreateEvent(None, True, True, None)))

    assert run(app) == 0


@pytest.mark.parametrize("number", [len(service_numbers()), 0xFFF])
def test_a_number_beyond_the_table_is_no_service(run, number: int) -> None:
    assert run(lambda: syscall(number)) == INVALID_SYSTEM_SERVICE


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (service_numbers()["NtAlpcCreatePort"], "NtAlpcCreatePort"),
        (service_numbers()["NtOpenKey"], "NtOpenKey"),
        (0x1000, "system service 0x1000"),
    ],
)
def test_what_is_not_modelled_for_apps_ends_the_run_by_name(machine, number, name) -> None:
    with pytest.raises(ntsim.UnmodelledRoutine) as caught:
        machine.run(lambda: syscall(number, 0, 0, 0))
    assert caught.value.routine == name


def test_a_driver_is_told_to_use_the_zw_routines(ntsim_machine) -> None:
    def DriverEntry(DriverObject, RegistryPath):
        return syscall(CLOSE, 0)

    machine = ntsim_machine()
    with pytest.raises(ntsim.BugCheck):
        machine.load_driver(DriverEntry, name="drv.sys")
    assert "syscall is for apps" in machine.report().summary


def test_every_stub_of_ntdll_has_its_services_number_and_arguments() -> None:
    numbers, counts = service_numbers(), argument_counts()
    for name, (number, stub) in ntdll.SERVICES.items():
        assert number == numbers[name]
        assert counts[number] == stub.__code__.co_argcount, name
