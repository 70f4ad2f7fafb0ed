"""Patch protection: 0x109 for a hook written into the body of a routine of the kernel.

Source: bug check 0x109 reference (parameter 4 is 1, "a function modification"); dumps have an
address in nt as parameter 3, here the routine's.
"""

from __future__ import annotations

import pytest

import ntsim
from ntsim.abi.services import services
from ntsim.intrin import *
from ntsim.lab.samples import samples_root
from ntsim.nt.mm import layout
from ntsim.wdm import *

C = samples_root() / "driver" / "c"
HOOKED, FUNCTION, JUMP = "KeQueryPerformanceCounter", 1, b"\xff\x25" + bytes(4)
CR0_WP = 1 << 16
MINUTE = 60 * 10_000_000


def body_of(name):
    return MmGetSystemRoutineAddress(UNICODE_STRING(name))


def without_write_protection(address, data):
    """CR0.WP off for a moment, as old hooking code does it."""
    cr0 = __readcr0()
    _disable()
    __writecr0(cr0 & ~CR0_WP)
    write_bytes(address, data)
    __writecr0(cr0)
    _enable()


def through_an_mdl(address, data):
    """A second mapping of the page, which may be written."""
    mdl = IoAllocateMdl(address, len(data), FALSE, FALSE, NULL)
    MmBuildMdlForNonPagedPool(mdl)
    mdl.MdlFlags &= ~MDL_SOURCE_IS_NONPAGED_POOL
    mdl.MdlFlags |= MDL_PAGES_LOCKED
    alias = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority)
    write_bytes(alias, data)
    MmUnmapLockedPages(alias, mdl)
    IoFreeMdl(mdl)


WAYS = [without_write_protection, through_an_mdl]


def hook(write, offset, undo=False):
    """DriverEntry that writes a jump into the routine; `where` is the routine's address."""
    where = []

    def DriverEntry(DriverObject, RegistryPath):
        body = body_of(HOOKED)
        where.append(int(body))
        old = read_bytes(body + offset, len(JUMP))
        write(body + offset, JUMP)
        if undo:
            interval = LARGE_INTEGER()
            interval.QuadPart = -MINUTE
            KeDelayExecutionThread(KernelMode, FALSE, interval)
            write(body + offset, old)
        return STATUS_SUCCESS

    return DriverEntry, where


def machine_with_code(processors=2, **options):
    machine = ntsim.Machine(processors=processors, **options)
    machine.load_driver(C / "hello.sys")
    return machine


@pytest.mark.parametrize("offset", [0, 15])
@pytest.mark.parametrize("write", WAYS)
@pytest.mark.parametrize("processors", [1, 4])
def test_a_hook_in_the_body_of_an_export_is_0x109(processors, write, offset):
    DriverEntry, where = hook(write, offset)
    with machine_with_code(processors) as machine:
        machine.load_driver(DriverEntry, name="hook.sys")
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.run_until_idle()
        assert (caught.value.code, caught.value.parameters[2:]) == (0x109, (where[0], FUNCTION))
        report = machine.report()
    place = f"nt!{HOOKED}" + (f"+{offset:#x}" if offset else "")
    assert place in report.summary and JUMP.hex() in report.summary


def test_it_is_found_while_the_machine_is_busy():
    DriverEntry, _ = hook(through_an_mdl, 0)

    def busy(DriverObject, RegistryPath):
        interval = LARGE_INTEGER()
        interval.QuadPart = -MINUTE
        for _ in range(25):
            KeDelayExecutionThread(KernelMode, FALSE, interval)
        return STATUS_SUCCESS

    with machine_with_code() as machine:
        machine.load_driver(DriverEntry, name="hook.sys")
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.load_driver(busy, name="busy.sys")
    assert caught.value.code == 0x109


def test_a_hook_of_machine_code_is_0x109():
    with machine_with_code() as machine:
        machine.load_driver(C / "hook.sys")
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.run_until_idle()
        assert (caught.value.code, caught.value.parameters[3]) == (0x109, FUNCTION)
        assert machine.nt.describe_address(caught.value.parameters[2]) == f"nt!{HOOKED}"


def test_a_hook_that_is_taken_back_in_time_is_never_noticed():
    with machine_with_code() as machine:
        machine.load_driver(hook(through_an_mdl, 0, undo=True)[0], name="hook.sys")
        machine.run_until_idle()
        assert machine.bugcheck is None


def test_a_page_table_entry_that_leads_to_a_patched_copy_is_0x109():
    """The frame is as it was; what the address shows is not."""

    def DriverEntry(DriverObject, RegistryPath):
        page = int(body_of(HOOKED)) & ~0xFFF
        copy = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        RtlCopyMemory(copy, page, PAGE_SIZE)
        write_bytes(copy + (int(body_of(HOOKED)) & 0xFFF), JUMP)
        nt = machine.nt
        old = nt.mm.tables.read(nt.mm.system_root, page)
        entry = old & ~0x000F_FFFF_FFFF_F000 | MmGetPhysicalAddress(copy)
        nt.mmu.write_entry(nt.mm.system_root, page, entry)
        return STATUS_SUCCESS

    with machine_with_code() as machine:
        machine.load_driver(DriverEntry, name="hook.sys")
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.run_until_idle()
        assert (caught.value.code, caught.value.parameters[3]) == (0x109, FUNCTION)


RETURNS_7 = b"\xb8\x07\x00\x00\x00\xc3"


@pytest.mark.parametrize("write", WAYS)
def test_code_that_a_python_driver_has_patched_is_what_runs(write):
    found = []

    def DriverEntry(DriverObject, RegistryPath):
        body, call = int(body_of(HOOKED)), machine.nt.call
        found.append(call(body, NULL))
        write(body, RETURNS_7)
        found.append(call(body, NULL))
        return STATUS_SUCCESS

    with machine_with_code() as machine:
        machine.load_driver(DriverEntry, name="patch.sys")
    assert found[0] != 7 and found[1] == 7


def test_after_a_write_with_write_protection_off_the_page_is_read_only_again():
    def DriverEntry(DriverObject, RegistryPath):
        without_write_protection(body_of(HOOKED), RETURNS_7)
        write_bytes(body_of(HOOKED), RETURNS_7)
        return STATUS_SUCCESS

    with machine_with_code() as machine, pytest.raises(ntsim.BugCheck) as caught:
        machine.load_driver(DriverEntry, name="patch.sys")
    assert caught.value.code == 0xBE


def test_a_drivers_own_code_is_its_own_affair():
    def DriverEntry(DriverObject, RegistryPath):
        through_an_mdl(image.base + 0x1000, b"\xcc")
        return STATUS_SUCCESS

    with machine_with_code() as machine:
        image = machine.nt.images.loaded[-1]
        machine.load_driver(DriverEntry, name="hook.sys")
        machine.run_until_idle()
        assert machine.bugcheck is None


def test_with_compiled_code_a_routine_has_one_address_for_everybody():
    seen = []

    def DriverEntry(DriverObject, RegistryPath):
        seen.append(read_bytes(body_of(HOOKED), 15).hex())
        return STATUS_SUCCESS

    with machine_with_code() as machine:
        machine.load_driver(DriverEntry, name="look.sys")
        assert seen == ["48894c240848895424104c89442418"]


TABLES = {
    "an entry": (layout.KI_SERVICE_TABLE + 4 * 0x55, layout.KI_SERVICE_TABLE),
    "how many bytes the arguments take": (
        layout.KI_SERVICE_TABLE + 4 * len(services()) + 0x55, layout.KI_SERVICE_TABLE,
    ),
    "the limit": (layout.KE_SERVICE_DESCRIPTOR_TABLE + 16, layout.SERVICE_TABLES),
    "the second table's descriptor": (
        layout.KE_SERVICE_DESCRIPTOR_TABLE_SHADOW + 0x20, layout.SERVICE_TABLES,
    ),
}  # fmt: skip
"""Where a byte is changed, and the region that it belongs to."""


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("what", TABLES)
def test_changed_service_tables_are_0x109_with_the_region_as_parameter_3(what, undo):
    """As in tandasat/HyperPlatform issue 61, a dump with a changed byte of KUSER_SHARED_DATA:
    parameter 4 is 0, parameter 3 where the compared region begins."""
    place, region = TABLES[what]

    def DriverEntry(DriverObject, RegistryPath):
        old = read_bytes(place, 1)
        without_write_protection(place, bytes((old[0] ^ 0x10,)))
        if undo:
            without_write_protection(place, old)
        return STATUS_SUCCESS

    with ntsim.Machine(processors=2) as machine:
        machine.load_driver(DriverEntry, name="hook.sys")
        if undo:
            machine.run_until_idle()
            return
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.run_until_idle()
    assert (caught.value.code, caught.value.parameters[2:]) == (0x109, (region, 0))
