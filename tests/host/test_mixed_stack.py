"""Compiled and Python drivers on one device stack, and compiled code as a VT-x host."""

from pathlib import Path

import pytest

from driver.c.echo_ioctl import ECHO_BUFFERED
from ntsim.wdm import *
from ntsim.win32 import (
    GENERIC_READ,
    GENERIC_WRITE,
    OPEN_EXISTING,
    CloseHandle,
    CreateFile,
    DeviceIoControl,
)

DRIVERS = Path(__file__).parents[2] / "driver/c"
BASE = """
from ntsim.wdm import *

def Done(Irp, Information=0):
    Irp.IoStatus.Status, Irp.IoStatus.Information = STATUS_SUCCESS, Information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return STATUS_SUCCESS

def Open(DeviceObject, Irp):
    return Done(Irp)

def Control(DeviceObject, Irp):
    DbgPrint("base: control\\n")
    return Done(Irp, 3)

def Unload(DriverObject):
    IoDeleteSymbolicLink(UNICODE_STRING("\\\\DosDevices\\\\Base"))
    IoDeleteDevice(DriverObject.DeviceObject)

def DriverEntry(DriverObject, RegistryPath):
    Name = UNICODE_STRING("\\\\Device\\\\Base")
    Status, Device = IoCreateDevice(DriverObject, 0, Name, FILE_DEVICE_UNKNOWN, 0, FALSE)
    IoCreateSymbolicLink(UNICODE_STRING("\\\\DosDevices\\\\Base"), Name)
    DriverObject.MajorFunction[IRP_MJ_CREATE] = DriverObject.MajorFunction[IRP_MJ_CLOSE] = Open
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control
    DriverObject.DriverUnload = Unload
    return Status
"""


@pytest.mark.parametrize("seed", [0, 5])
def test_a_compiled_filter_sits_on_a_python_driver(ntsim_machine, tmp_path, seed) -> None:
    machine = ntsim_machine(seed=seed)
    file = tmp_path / "base.py"
    file.write_text(BASE)
    machine.load_driver(file)
    filter_driver = machine.load_driver(DRIVERS / "filter.sys")

    def app() -> None:
        access = GENERIC_READ | GENERIC_WRITE
        handle = CreateFile(r"\\.\Base", access, 0, None, OPEN_EXISTING, 0, None)
        assert DeviceIoControl(handle, ECHO_BUFFERED, b"abcdef", 6) == b"abc"
        CloseHandle(handle)

    process = machine.run(app)
    assert (process.exit_code, process.stderr) == (0, "")
    machine.unload_driver(filter_driver)
    assert machine.debug_output == [
        "base: control",
        "filter: completed with 0, 3 bytes, request 0000000000000001",
        "filter: saw 1",
    ]


def test_a_python_driver_calls_exports_of_its_own_through_a_compiled_ones_addresses(
    ntsim_machine,
) -> None:
    machine = ntsim_machine()
    machine.load_driver(DRIVERS / "echo.sys")
    address = machine.nt.host.native.exports.address("KeGetCurrentProcessorNumberEx")
    assert address is not None
    values = []

    def entry(DriverObject, RegistryPath):
        values.append(machine.nt.call(address, 0))
        return STATUS_SUCCESS

    machine.load_driver(entry, name="caller.sys")
    assert values[0] < 4


@pytest.mark.parametrize("seed", range(3))
def test_compiled_code_enters_a_guest_answers_its_exits_and_comes_back(ntsim_machine, seed):
    machine = ntsim_machine(seed=seed)
    machine.load_driver(DRIVERS / "guest.sys")
    assert machine.debug_output == [
        "CPUID at guest+7",
        "exit 12, IF 0",
        "guest saw 4d49534e, made 7 calls, IRQL 0",
    ]
    assert all(machine.nt.vmx_mode(processor) == "off" for processor in machine.nt.processors)
