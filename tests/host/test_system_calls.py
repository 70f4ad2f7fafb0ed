"""System calls go through the service tables once a driver has written there.

The table's form: an entry is the routine's distance from the table times 16, plus how many
arguments lie on the stack (Windows Internals 7, part 2, ch. 8). The drivers here write as such
drivers do: with CR0.WP cleared, through an MDL, through the page-table entry.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest

import ntsim
from ntsim import win32
from ntsim.abi.services import argument_counts, service_numbers
from ntsim.intrin import *
from ntsim.nt.mm import layout
from ntsim.wdm import *

TABLE = layout.KI_SERVICE_TABLE
CREATE_FILE, CLOSE, OPEN_PROCESS, QUERY = (
    service_numbers()[name]
    for name in ("NtCreateFile", "NtClose", "NtOpenProcess", "NtQuerySystemInformation")
)
CR0_WP, PTE_WRITE = 1 << 16, 2
DENIED = 0xC0000022
ACCESS_DENIED = 5


def without_write_protection(address, data):
    cr0 = __readcr0()
    _disable()
    __writecr0(cr0 & ~CR0_WP)
    write_bytes(address, data)
    __writecr0(cr0)
    _enable()


def through_an_mdl(address, data):
    mdl = IoAllocateMdl(address, len(data), FALSE, FALSE, NULL)
    MmBuildMdlForNonPagedPool(mdl)
    mdl.MdlFlags &= ~MDL_SOURCE_IS_NONPAGED_POOL
    mdl.MdlFlags |= MDL_PAGES_LOCKED
    alias = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority)
    write_bytes(alias, data)
    MmUnmapLockedPages(alias, mdl)
    IoFreeMdl(mdl)


def through_physical_memory(address, data):
    where = MmGetPhysicalAddress(address)
    alias = MmMapIoSpace(where, len(data), MmCached)
    write_bytes(alias, data)
    MmUnmapIoSpace(alias, len(data))


def through_the_page_table(address, data):
    """The entry is made writable for a moment, and nobody executes INVLPG."""
    entry = cast(0xFFFFF68000000000 | (address >> 9) & 0x7FFFFFFFF8, PULONGLONG)
    before = entry[0]
    entry[0] = before | PTE_WRITE
    write_bytes(address, data)
    entry[0] = before


WAYS = [
    without_write_protection, through_an_mdl, through_physical_memory, through_the_page_table,
]  # fmt: skip


def address_of(routine):
    place = PVOID()
    place[0] = routine
    return int(place[0])


def entry_for(routine, stacked):
    return struct.pack("<i", (routine - TABLE) << 4 | stacked)


def replace(number, routine, write=without_write_protection, stacked=None):
    """Let an entry lead to `routine`; what it led to."""
    old = int.from_bytes(read_bytes(TABLE + 4 * number, 4), "little", signed=True)
    nibble = old & 15 if stacked is None else stacked
    write(TABLE + 4 * number, entry_for(routine, nibble))
    return TABLE + (old >> 4)


def deny_create_file(write):
    """DriverEntry whose hook refuses one file and leaves others alone; what it has seen."""
    seen = SimpleNamespace(names=[], modes=[], denied=0, original=0)

    def hook(
        FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, AllocationSize, FileAttributes,
        ShareAccess, CreateDisposition, CreateOptions, EaBuffer, EaLength,
    ):  # fmt: skip
        name = cast(ObjectAttributes, POBJECT_ATTRIBUTES).ObjectName
        text = read_bytes(name.Buffer, name.Length).decode("utf-16-le")
        seen.names.append(text)
        seen.modes.append(ExGetPreviousMode())
        if text.endswith("Secret"):
            return DENIED
        return cast(seen.original, PROUTINE)(
            FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, AllocationSize,
            FileAttributes, ShareAccess, CreateDisposition, CreateOptions, EaBuffer, EaLength,
        )  # fmt: skip

    def DriverEntry(DriverObject, RegistryPath):
        for name in ("Secret", "Open"):
            device = UNICODE_STRING(f"\\Device\\{name}")
            IoCreateDevice(DriverObject, 0, device, FILE_DEVICE_UNKNOWN, 0, FALSE)
            IoCreateSymbolicLink(UNICODE_STRING(f"\\DosDevices\\{name}"), device)
        for major in (IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP):
            DriverObject.MajorFunction[major] = succeed
        seen.original = replace(CREATE_FILE, address_of(hook), write)
        return STATUS_SUCCESS

    return DriverEntry, seen


def succeed(DeviceObject, Irp):
    Irp.IoStatus.Status = STATUS_SUCCESS
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return STATUS_SUCCESS


def opened(name):
    access = win32.GENERIC_READ
    return win32.CreateFile(f"\\\\.\\{name}", access, 0, None, win32.OPEN_EXISTING, 0, None)


def run_app(machine, app):
    """The app's result."""
    results = []
    process = machine.run(lambda: results.append(app()))
    assert process.exit_code == 0, process.stderr
    return results[0]


def open_both():
    with pytest.raises(win32.error) as caught:
        opened("Secret")
    handle = opened("Open")
    win32.CloseHandle(handle)
    return caught.value.winerror


@pytest.mark.parametrize("write", WAYS)
def test_an_entry_leads_an_apps_call_to_a_python_hook_that_may_call_the_original(
    ntsim_machine, write
):
    machine = ntsim_machine()
    DriverEntry, seen = deny_create_file(write)
    machine.load_driver(DriverEntry, name="drv.sys")
    assert run_app(machine, open_both) == ACCESS_DENIED
    assert seen.names == ["\\??\\Secret", "\\??\\Open"]
    assert seen.modes == [UserMode, UserMode]


def test_an_entry_put_back_leads_to_the_service_again(ntsim_machine):
    def DriverEntry(DriverObject, RegistryPath):
        original = replace(QUERY, address_of(lambda a, b, c, d: DENIED))
        replace(QUERY, original)
        return STATUS_SUCCESS

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")
    assert run_app(machine, lambda: win32.GetSystemInfo() is not None)


def test_zw_routines_of_drivers_meet_the_hook_with_previous_mode_kernel(run_driver):
    seen = []

    def hook(handle):
        seen.append((handle, ExGetPreviousMode()))
        return cast(original[0], PROUTINE)(handle)

    original = []

    def body():
        _, handle = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        original.append(replace(CLOSE, address_of(hook)))
        return [handle, ZwClose(handle), ZwClose(handle)]

    handle, first, second = run_driver(body).value
    assert (first, second) == (STATUS_SUCCESS, 0xC0000008)
    assert seen == [(handle, KernelMode)] * 2


def test_zw_routines_return_the_out_arguments_that_a_hook_has_filled(value_of):
    def hook(ProcessHandle, DesiredAccess, ObjectAttributes, ClientId):
        cast(ProcessHandle, PHANDLE)[0] = 0x1234
        return STATUS_SUCCESS

    def body():
        client = CLIENT_ID()
        replace(OPEN_PROCESS, address_of(hook))
        attributes = OBJECT_ATTRIBUTES()
        InitializeObjectAttributes(attributes, NULL, 0, NULL, NULL)
        handle = HANDLE()
        full = ZwOpenProcess(handle, 0, attributes, client)
        return [ZwOpenProcess(0, attributes, client), full, int(handle[0])]

    assert value_of(body) == [(STATUS_SUCCESS, 0x1234), STATUS_SUCCESS, 0x1234]


def test_the_entry_says_how_many_arguments_are_copied_from_the_users_stack(ntsim_machine):
    """A driver that forgets the low four bits: the hook's fifth argument is not the app's."""
    seen = []

    def hook(a, b, c, d, AllocationSize, FileAttributes, ShareAccess, CreateDisposition):
        seen.append(CreateDisposition)
        return DENIED

    def with_nibble(stacked):
        def DriverEntry(DriverObject, RegistryPath):
            replace(CREATE_FILE, address_of(hook), stacked=stacked)
            return STATUS_SUCCESS

        machine = ntsim_machine()
        machine.load_driver(DriverEntry, name="drv.sys")
        with pytest.raises(win32.error):
            run_app_raising(machine, lambda: opened("Nothing"))

    with_nibble(7)
    with_nibble(0)
    assert seen[0] == FILE_OPEN
    assert seen[1] != FILE_OPEN
    assert argument_counts()[CREATE_FILE] - 4 == 7


def run_app_raising(machine, app):
    caught = []

    def main():
        try:
            app()
        except win32.error as error:
            caught.append(error)

    machine.run(main)
    raise caught[0]


def test_an_entry_that_leads_to_another_service_is_that_service(ntsim_machine):
    def DriverEntry(DriverObject, RegistryPath):
        yielded = service_numbers()["NtYieldExecution"]
        target = TABLE + (
            int.from_bytes(read_bytes(TABLE + 4 * yielded, 4), "little", signed=True) >> 4
        )
        replace(CLOSE, target)
        return STATUS_SUCCESS

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")

    def app():
        event = win32.CreateEvent(None, True, True, None)
        win32.CloseHandle(event)
        return win32.WaitForSingleObject(event, 0)

    assert run_app(machine, app) == win32.WAIT_OBJECT_0


def change(kind):
    """What DriverEntry does to the tables, and the bug check it leads to."""

    def code_in_data():
        place = ExAllocatePoolWithTag(NonPagedPoolNx, 16, 1)
        base = layout.NT_BASE + 0x10_0000
        replace(CLOSE, base)
        return place

    def nowhere():
        replace(CLOSE, layout.NT_BASE - 0x4000)

    def base_of_table():
        without_write_protection(TABLE - 0x80, struct.pack("<Q", 0xFFFFF800_00001000))

    return {"data": code_in_data, "nowhere": nowhere, "base": base_of_table}[kind]


@pytest.mark.parametrize(("kind", "code"), [("data", 0xFC), ("nowhere", 0x50), ("base", 0x50)])
def test_an_entry_into_nothing_bugchecks_at_the_next_call(ntsim_machine, kind, code):
    def DriverEntry(DriverObject, RegistryPath):
        change(kind)()
        return STATUS_SUCCESS

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(ntsim.BugCheck) as caught:
        machine.run(lambda: win32.CloseHandle(win32.CreateEvent(None, True, True, None)))
    assert caught.value.code == code


def test_a_limit_of_zero_makes_every_service_invalid(run_driver):
    def body():
        without_write_protection(TABLE - 0x70, struct.pack("<I", 0))
        return ZwClose(0x4)

    assert run_driver(body).value == 0xC000001C


def test_an_entry_that_leads_to_an_unloaded_driver_bugchecks_0xce(ntsim_machine):
    def hook(handle):
        return STATUS_SUCCESS

    def DriverEntry(DriverObject, RegistryPath):
        DriverObject.DriverUnload = lambda driver: None
        replace(CLOSE, address_of(hook))
        return STATUS_SUCCESS

    machine = ntsim_machine()
    driver = machine.load_driver(DriverEntry, name="drv.sys")
    machine.unload_driver(driver)
    with pytest.raises(ntsim.BugCheck) as caught:
        machine.run(lambda: win32.CloseHandle(win32.CreateEvent(None, True, True, None)))
    assert caught.value.code == 0xCE


def test_a_fault_in_the_hook_is_0x3b(ntsim_machine):
    def DriverEntry(DriverObject, RegistryPath):
        replace(CLOSE, address_of(lambda handle: ExRaiseStatus(0xC0000005)))
        return STATUS_SUCCESS

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(ntsim.BugCheck) as caught:
        machine.run(lambda: win32.CloseHandle(win32.CreateEvent(None, True, True, None)))
    assert caught.value.code == 0x3B


@pytest.mark.parametrize("write", WAYS)
def test_a_detour_in_a_services_body_is_met_by_apps(ntsim_machine, write):
    """MOV RAX, hook; JMP RAX over the first bytes of nt!NtCreateFile; the original by a trampoline
    of the bytes that were there."""
    seen = SimpleNamespace(calls=[], trampoline=0)

    def hook(
        FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, AllocationSize, FileAttributes,
        ShareAccess, CreateDisposition, CreateOptions, EaBuffer, EaLength,
    ):  # fmt: skip
        seen.calls.append((CreateDisposition, ExGetPreviousMode()))
        return cast(seen.trampoline, PROUTINE)(
            FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, AllocationSize,
            FileAttributes, ShareAccess, CreateDisposition, CreateOptions, EaBuffer, EaLength,
        )  # fmt: skip

    def jump(target):
        return b"\x48\xb8" + struct.pack("<Q", target) + b"\xff\xe0"

    def DriverEntry(DriverObject, RegistryPath):
        device = UNICODE_STRING("\\Device\\Open")
        IoCreateDevice(DriverObject, 0, device, FILE_DEVICE_UNKNOWN, 0, FALSE)
        IoCreateSymbolicLink(UNICODE_STRING("\\DosDevices\\Open"), device)
        for major in (IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP):
            DriverObject.MajorFunction[major] = succeed
        body = MmGetSystemRoutineAddress(UNICODE_STRING("NtCreateFile"))
        seen.trampoline = int(ExAllocatePoolWithTag(NonPagedPool, 64, 1))
        write_bytes(seen.trampoline, read_bytes(body, 15) + jump(body + 15))
        write(body, jump(address_of(hook)))
        return STATUS_SUCCESS

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")
    run_app(machine, lambda: win32.CloseHandle(opened("Open")))
    assert seen.calls == [(FILE_OPEN, UserMode)]


def test_nothing_is_looked_up_as_long_as_nobody_can_have_written(ntsim_machine):
    machine = ntsim_machine()
    machine.load_driver(lambda DriverObject, RegistryPath: STATUS_SUCCESS, name="drv.sys")
    run_app(machine, lambda: win32.CloseHandle(win32.CreateEvent(None, True, True, None)))
    nt = machine.nt
    assert nt.watched[0] == nt.untouched
