"""Patch protection: 0x109 for what a driver leaves changed in a processor.

Source: bug check 0x109 reference; dumps in SinaKarvandi/Hypervisor-From-Scratch issue 16 and
tandasat/HyperPlatform issue 51 (GDT: parameter 4 is 3, parameter 3 the GDT's base).
"""

from __future__ import annotations

import pytest

import ntsim
from ntsim.intrin import *
from ntsim.wdm import *

IDT, GDT, MSR, CONTROL_REGISTER = 2, 3, 7, 0x15
MINUTE = 60 * 10_000_000
LSTAR, EFER = 0xC0000082, 0xC0000080


def table_register(base, limit):
    register = ExAllocatePoolWithTag(NonPagedPool, 16, 1)
    write_bytes(register, limit.to_bytes(2, "little") + base.to_bytes(8, "little"))
    return register


def stored(store):
    register = ExAllocatePoolWithTag(NonPagedPool, 16, 1)
    store(register)
    data = read_bytes(register, 10)
    return int.from_bytes(data[2:], "little"), int.from_bytes(data[:2], "little")


def copy_of(base, size):
    copy = ExAllocatePoolWithTag(NonPagedPool, size, 1)
    write_bytes(copy, read_bytes(base, size))
    return int(copy)


def limit_of_gdt():
    base, _ = stored(_sgdt)
    _lgdt(table_register(base, 0xFFFF))
    return GDT, base


def limit_of_idt():
    base, _ = stored(__sidt)
    __lidt(table_register(base, 0xFFFF))
    return IDT, base


def base_of_gdt():
    base, limit = stored(_sgdt)
    copy = copy_of(base, limit + 1)
    _lgdt(table_register(copy, limit))
    return GDT, copy


def base_of_idt():
    base, limit = stored(__sidt)
    copy = copy_of(base, limit + 1)
    __lidt(table_register(copy, limit))
    return IDT, copy


def an_entry_of_gdt():
    base, _ = stored(_sgdt)
    cast(base, PULONGLONG)[4] = 0x00CFFB000000FFFE
    return GDT, base


def a_gate_of_idt():
    base, _ = stored(__sidt)
    cast(base, PULONGLONG)[2 * 0xE] ^= 0x10
    return IDT, base


def lstar():
    __writemsr(LSTAR, __readmsr(LSTAR) + 0x10)
    return MSR, LSTAR


def efer():
    __writemsr(EFER, __readmsr(EFER) & ~(1 << 11))
    return MSR, EFER


def write_protection():
    __writecr0(__readcr0() & ~(1 << 16))
    return CONTROL_REGISTER, 0


CHANGES = [
    limit_of_gdt, limit_of_idt, base_of_gdt, base_of_idt, an_entry_of_gdt, a_gate_of_idt, lstar,
    efer, write_protection,
]  # fmt: skip


def changed(change, number=0):
    """DriverEntry that changes something on a processor; `seen` is (kind, parameter 3)."""
    seen = []

    def DriverEntry(DriverObject, RegistryPath):
        KeSetSystemAffinityThread(1 << number)
        seen.append(change())
        return STATUS_SUCCESS

    return DriverEntry, seen


def wait(minutes):
    interval = LARGE_INTEGER()
    interval.QuadPart = -minutes * MINUTE
    KeDelayExecutionThread(KernelMode, FALSE, interval)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("processors", "number"), [(1, 0), (4, 2)])
def test_what_is_left_changed_bugchecks_0x109_when_nothing_else_happens(
    change, processors, number
):
    DriverEntry, seen = changed(change, number)
    with ntsim.Machine(processors=processors) as machine:
        machine.load_driver(DriverEntry, name="drv.sys")
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.run_until_idle()
        stop, [(kind, third)] = caught.value, seen
        assert (stop.code, stop.parameters[2:], stop.processor) == (0x109, (third, kind), number)
        assert 2 * MINUTE <= machine.nt.clock.now <= 11 * MINUTE


@pytest.mark.parametrize("change", [limit_of_gdt, lstar])
def test_it_is_found_while_a_driver_goes_on(change):
    def DriverEntry(DriverObject, RegistryPath):
        change()
        for _ in range(25):
            wait(1)
        return STATUS_SUCCESS

    with ntsim.Machine(processors=1) as machine, pytest.raises(ntsim.BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    assert caught.value.code == 0x109


def test_when_it_is_found_depends_on_the_seed_and_on_nothing_else():
    def found_at(seed):
        with ntsim.Machine(processors=1, seed=seed) as machine:
            machine.load_driver(changed(lstar)[0], name="drv.sys")
            with pytest.raises(ntsim.BugCheck):
                machine.run_until_idle()
            return machine.nt.clock.now

    first = found_at(1)
    assert first == found_at(1) != found_at(2)


def test_what_is_put_back_in_time_is_never_noticed():
    def DriverEntry(DriverObject, RegistryPath):
        old = __readmsr(LSTAR)
        __writemsr(LSTAR, old + 0x10)
        wait(1)
        __writemsr(LSTAR, old)
        return STATUS_SUCCESS

    with ntsim.Machine(processors=2) as machine:
        machine.load_driver(DriverEntry, name="drv.sys")
        machine.run_until_idle()
        assert machine.bugcheck is None


def test_an_untouched_machine_runs_for_hours():
    def DriverEntry(DriverObject, RegistryPath):
        for _ in range(60):
            wait(3)
        return STATUS_SUCCESS

    with ntsim.Machine(processors=4) as machine:
        machine.load_driver(DriverEntry, name="drv.sys")
        machine.run_until_idle()
        assert machine.nt.clock.now > 180 * MINUTE


def test_the_report_names_the_register_and_the_line_that_loaded_it(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(
        "from ntsim.intrin import *\nfrom ntsim.wdm import *\n\n\n"
        "def DriverEntry(DriverObject, RegistryPath):\n"
        "    __writemsr(0xC0000082, 0xFFFFF80012345000)\n"
        "    return STATUS_SUCCESS\n"
    )
    with ntsim.Machine(processors=1) as machine:
        machine.load_driver(path)
        with pytest.raises(ntsim.BugCheck):
            machine.run_until_idle()
        report = machine.report()
    assert "IA32_LSTAR of processor 0" in report.summary and "bad.py:6" in report.summary
    assert any("bad.py:6" in step.where and "loaded" in step.text for step in report.why)
