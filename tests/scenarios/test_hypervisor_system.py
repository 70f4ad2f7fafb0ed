"""Every way out of driver/hypervisor_system.py leaves the processors as they were."""

from __future__ import annotations

import pytest

import ntsim
from driver.hypervisor.system_ioctl import BY_AFFINITY, BY_DPC, BY_IPI, HV_EVENTS, HV_VIRTUALISE
from ntsim.intrin import *
from ntsim.lab.samples import samples_root
from ntsim.wdm import *
from ntsim.win32 import (
    FILE_FLAG_OVERLAPPED,
    GENERIC_READ,
    GENERIC_WRITE,
    OPEN_EXISTING,
    OVERLAPPED,
    CloseHandle,
    CreateFile,
    DeviceIoControl,
    GetCurrentProcess,
    TerminateProcess,
    error,
)

DRIVER = samples_root() / "driver" / "hypervisor_system.py"
WAYS = [BY_AFFINITY, BY_DPC, BY_IPI]


def open_device(flags=0):
    access = GENERIC_READ | GENERIC_WRITE
    return CreateFile(r"\\.\HypervisorSystem", access, 0, None, OPEN_EXISTING, flags, None)


def virtualise(device, way):
    DeviceIoControl(device, HV_VIRTUALISE, way.to_bytes(4, "little"), 0)


def modes(machine):
    return [processor.vmx.mode_name for processor in machine.nt.processors]


def state(machine):
    return [
        (p.cr4, p.gdtr.limit, p.idtr.limit, p.gs.base, p.interrupts_enabled, p.cr8)
        for p in machine.nt.processors
    ]


@pytest.mark.parametrize("way", WAYS)
def test_closing_the_handle_gives_every_processor_back(way):
    with ntsim.Machine(processors=3) as machine:
        driver = machine.load_driver(DRIVER)
        before, seen = state(machine), []

        def app():
            device = open_device()
            virtualise(device, way)
            seen.append(modes(machine))
            CloseHandle(device)

        assert machine.run(app).exit_code == 0
        assert seen == [["non-root"] * 3]
        assert modes(machine) == ["off"] * 3
        machine.unload_driver(driver)
        assert state(machine) == before
        assert not machine.findings


def test_an_app_that_is_killed_with_a_request_waiting_leaves_nothing_behind():
    with ntsim.Machine(processors=2) as machine:
        driver = machine.load_driver(DRIVER)

        def app():
            device = open_device(FILE_FLAG_OVERLAPPED)
            virtualise(device, BY_DPC)
            DeviceIoControl(device, HV_EVENTS, b"", 96, OVERLAPPED())
            TerminateProcess(GetCurrentProcess(), 7)

        assert machine.run(app).exit_code == 7
        assert modes(machine) == ["off"] * 2
        machine.unload_driver(driver)


@pytest.mark.parametrize("way", WAYS)
def test_a_processor_that_refuses_takes_the_others_out_again(way):
    def vmx_on(DriverObject, RegistryPath):
        """Somebody else's VMX operation, on the last processor."""
        KeSetSystemAffinityThread(1 << 2)
        region = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        cast(region, PULONG)[0] = __readmsr(0x480) & 0x7FFFFFFF
        __writecr4(__readcr4() | 1 << 13)
        return __vmx_on(MmGetPhysicalAddress(region))

    with ntsim.Machine(processors=3) as machine:
        machine.load_driver(vmx_on, name="other.sys")
        machine.load_driver(DRIVER)
        errors = []

        def app():
            device = open_device()
            try:
                virtualise(device, way)
            except error as e:
                errors.append(e.winerror)
            CloseHandle(device)

        assert machine.run(app).exit_code == 0
        assert len(errors) == 1
        assert modes(machine) == ["off", "off", "root"]
