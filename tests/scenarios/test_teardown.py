"""driver/hypervisor_system.py leaves nothing behind, whichever way it ends and wherever it fails.

Every processor is out of VMX operation afterwards with CR4, descriptor tables and MSRs as before,
the verifier finds no pool or contiguous memory that was not freed, patch protection finds nothing,
and the driver can be loaded again.
"""

from __future__ import annotations

import shutil

import pytest

import ntsim
from driver.hypervisor.system_ioctl import (
    BY_AFFINITY,
    BY_DPC,
    BY_IPI,
    HV_DEVIRTUALISE,
    HV_EVENTS,
    HV_VIRTUALISE,
    HV_WATCH_MSR,
)
from ntsim.abi.winerror import status_to_win32
from ntsim.hw.cpu import IA32_EFER, IA32_LSTAR
from ntsim.lab.samples import samples_root
from ntsim.wdm import STATUS_HV_OPERATION_FAILED
from ntsim.win32 import *

DRIVER = samples_root() / "driver" / "hypervisor_system.py"
WAYS = {"affinity": BY_AFFINITY, "dpc": BY_DPC, "ipi": BY_IPI}


def state(machine):
    """What a hypervisor has to leave as it was."""
    return [
        (
            p.vmx.mode_name, p.cr0, p.cr4, p.cr8, p.interrupts_enabled, p.gs.base, p.tr.selector,
            (p.gdtr.base, p.gdtr.limit), (p.idtr.base, p.idtr.limit),
            p.rdmsr(IA32_LSTAR), p.rdmsr(IA32_EFER),
        )
        for p in machine.nt.processors
    ]  # fmt: skip


def modes(machine):
    return {processor.vmx.mode_name for processor in machine.nt.processors}


def open_device(flags=0):
    access = GENERIC_READ | GENERIC_WRITE
    return CreateFile(r"\\.\HypervisorSystem", access, 0, None, OPEN_EXISTING, flags, None)


def control(device, code, number):
    DeviceIoControl(device, code, number.to_bytes(8, "little"), 0)


# Ways to end: each is what an app does when the system has been virtualised.


def close_the_handle(device, way):
    CloseHandle(device)


def ask_for_it(device, way):
    control(device, HV_DEVIRTUALISE, way)
    CloseHandle(device)


def just_exit(device, way):
    """The handle is closed by the end of the process."""


def be_killed(device, way):
    DeviceIoControl(device, HV_EVENTS, b"", 96, OVERLAPPED())
    TerminateProcess(GetCurrentProcess(), 7)


def come_back(device, way):
    """Once more, the other way round."""
    for each in (way, BY_IPI, BY_AFFINITY):
        control(device, HV_DEVIRTUALISE, each)
        control(device, HV_VIRTUALISE, each)
    CloseHandle(device)


ENDS = [close_the_handle, ask_for_it, just_exit, be_killed, come_back]


def run_and_end(machine, way, end):
    """An app virtualises the system and ends; the modes it had meanwhile."""
    seen = []

    def app():
        device = open_device(FILE_FLAG_OVERLAPPED if end is be_killed else 0)
        if end is be_killed:
            overlapped = OVERLAPPED()
            DeviceIoControl(device, HV_VIRTUALISE, way.to_bytes(4, "little"), 0, overlapped)
        else:
            control(device, HV_VIRTUALISE, way)
            control(device, HV_WATCH_MSR, IA32_LSTAR)
        seen.append(modes(machine))
        end(device, way)

    process = machine.run(app, name="app.exe")
    assert process.exit_code == (7 if end is be_killed else 0), process.stderr
    return seen


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("processors", [1, 2, 4])
def test_every_end_leaves_nothing_behind(processors, way, end):
    with ntsim.Machine(processors=processors, verifier=("pool-tracking",)) as machine:
        before = state(machine)
        for _ in range(2):
            driver = machine.load_driver(DRIVER)
            assert run_and_end(machine, way, end) == [{"non-root"}]
            assert state(machine) == before
            machine.unload_driver(driver)
        machine.run_until_idle()
        assert machine.bugcheck is None and not machine.findings


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_64_processors_come_back(way):
    with ntsim.Machine(processors=64, verifier=("pool-tracking",)) as machine:
        before = state(machine)
        driver = machine.load_driver(DRIVER)
        assert run_and_end(machine, way, close_the_handle) == [{"non-root"}]
        assert state(machine) == before
        machine.unload_driver(driver)
        machine.run_until_idle()
        assert not machine.findings


# One processor refuses

FAILING = """
from driver.hypervisor import system
from driver.hypervisor.fields import *
from driver.hypervisor_system import DriverEntry
from driver.vmx_guest import vmread
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]
VirtualiseProcessor, SetUpVmcs = system.VirtualiseProcessor, system.SetUpVmcs


def here():
    return KeGetCurrentProcessorNumberEx(NULL) == {number}
"""

VMXON_FAILS = """

def OtherRevision():
    Region = cast(system.CurrentVcpu().VmxonRegion, PULONG)
    if here():
        Region[0] ^= 1
    VirtualiseProcessor()
    if here():
        Region[0] ^= 1


system.VirtualiseProcessor = OtherRevision
"""

VMPTRLD_FAILS = """

def OtherRevision():
    Region = cast(system.CurrentVcpu().VmcsRegion, PULONG)
    if here():
        Region[0] ^= 1
    VirtualiseProcessor()
    if here():
        Region[0] ^= 1


system.VirtualiseProcessor = OtherRevision
"""

VMLAUNCH_FAILS = """

def ReservedControl(Vcpu, ExitHandler):
    Failed = SetUpVmcs(Vcpu, ExitHandler)
    if here():
        __vmx_vmwrite(PIN_BASED_VM_EXEC_CONTROL, vmread(PIN_BASED_VM_EXEC_CONTROL) ^ 2)
    return Failed


system.SetUpVmcs = ReservedControl
"""

ENTRY_FAILS = """

def NoHostRip(Vcpu, ExitHandler):
    Failed = SetUpVmcs(Vcpu, ExitHandler)
    if here():
        __vmx_vmwrite(HOST_RIP, 1 << 63 >> 1)
    return Failed


system.SetUpVmcs = NoHostRip
"""

FAILURES = {
    "VMXON": (VMXON_FAILS, 2),
    "VMPTRLD": (VMPTRLD_FAILS, 2),
    "VMLAUNCH": (VMLAUNCH_FAILS, 1),
    "host state": (ENTRY_FAILS, 1),
}
"""How it fails, and what the intrinsic returns: VMfailInvalid while no VMCS is current."""

OF = {1: (0,), 2: (0, 1), 4: (2, 3), 64: (37,)}
"""Which processor refuses, by how many there are."""

REFUSING = [
    pytest.param(processors, number, way, id=f"{number}-of-{processors}-{name}")
    for processors, numbers in OF.items()
    for number in numbers
    for name, way in WAYS.items()
]


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize(("processors", "number", "way"), REFUSING)
def test_a_processor_that_refuses_leaves_nothing_behind(
    tmp_path, processors, number, way, failure
):
    source, status = failure
    shutil.copytree(samples_root() / "driver", tmp_path / "driver")
    path = tmp_path / "driver" / "failing.py"
    path.write_text(FAILING.format(number=number) + source)
    errors = []

    def app():
        device = open_device()
        try:
            control(device, HV_VIRTUALISE, way)
        except error as e:
            errors.append(e.winerror)
        CloseHandle(device)

    with ntsim.Machine(processors=processors, verifier=("pool-tracking",)) as machine:
        before = state(machine)
        driver = machine.load_driver(path)
        assert machine.run(app).exit_code == 0
        refused = f"processor {number} refused, status {status}"
        assert any(refused in line for line in machine.debug_output)
        assert errors == [status_to_win32(STATUS_HV_OPERATION_FAILED)] and state(machine) == before
        machine.unload_driver(driver)
        again = machine.load_driver(DRIVER)
        assert run_and_end(machine, way, close_the_handle) == [{"non-root"}]
        machine.unload_driver(again)
        machine.run_until_idle()
        assert state(machine) == before and not machine.findings
