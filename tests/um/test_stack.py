"""Stacks cross from the app to the driver, as in a dump of Windows."""

from pathlib import Path
from typing import Any

import pytest

import ntsim
from ntsim.um import layout

DRIVER = """
from ntsim.wdm import *

def Control(DeviceObject, Irp):
    KeRaiseIrql(DISPATCH_LEVEL)
    Irp.IoStatus.Status = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return 0

def Succeed(DeviceObject, Irp):
    Irp.IoStatus.Status = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return 0

def DriverEntry(DriverObject, RegistryPath):
    name = UNICODE_STRING("\\\\Device\\\\Raise")
    IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
    IoCreateSymbolicLink(UNICODE_STRING("\\\\DosDevices\\\\Raise"), name)
    DriverObject.MajorFunction[IRP_MJ_CREATE] = Succeed
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control
    return STATUS_SUCCESS
"""
APP = """
from ntsim.win32 import *

def main():
    device = CreateFile(r"\\\\.\\Raise", GENERIC_READ | GENERIC_WRITE, 0, None, 3, 0, None)
    DeviceIoControl(device, 0x22E000, b"", 0)

main()
"""


@pytest.fixture
def crashed(tmp_path: Path) -> Any:
    """A machine after the app's call came back at IRQL 2."""
    driver, app = tmp_path / "raise_irql.py", tmp_path / "EHApp.py"
    driver.write_text(DRIVER)
    app.write_text(APP)
    with ntsim.Machine(processors=1) as m:
        m.load_driver(driver)
        with pytest.raises(ntsim.BugCheck) as caught:
            m.run(app)
        yield m, caught.value, app


def test_parameter_1_is_the_return_address_in_the_stub(crashed: Any) -> None:
    _, bugcheck, _ = crashed
    stub = layout.SERVICE_STUBS + 7 * layout.STUB_SIZE
    assert bugcheck.code == 0x4A
    assert bugcheck.parameters[0] == stub + 0x14 == 0x7FFF_A6AE_BEA4
    assert bugcheck.parameters[1:3] == (2, 0)


def test_the_user_frames_are_those_of_windows(crashed: Any) -> None:
    m, _, app = crashed
    state = m.nt.bugcheck_state
    user = [frame for frame in state.stack if frame.user]
    sites = [frame.call_site for frame in user]
    assert sites[:3] == [
        "ntdll!NtDeviceIoControlFile+0x14",
        "KERNELBASE!DeviceIoControl+0x6b",
        "KERNEL32!DeviceIoControlImplementation+0x81",
    ]
    assert sites[3].startswith("EHApp!main+")
    assert (user[3].file, user[3].line) == (str(app), 6)
    assert sites[-2:] == ["KERNEL32!BaseThreadInitThunk+0x14", "ntdll!RtlUserThreadStart+0x21"]
    assert user[0].child_sp == layout.FIRST_STACK_BASE - layout.STACK_IN_USE
    assert all(layout.PEB < f.child_sp <= layout.FIRST_STACK_BASE for f in user)


def test_a_process_that_was_running_has_no_exit_code(crashed: Any) -> None:
    m, _, _ = crashed
    assert m.processes[0].exit_code is None


def test_addresses_of_user_modules_have_names(crashed: Any) -> None:
    m, _, _ = crashed
    stub = layout.SERVICE_STUBS + 7 * layout.STUB_SIZE
    assert m.nt.images.describe(stub + 0x14) == "ntdll!NtDeviceIoControlFile+0x14"
    assert m.nt.images.describe(layout.KERNEL32_BASE + 0x1_5530) == (
        "KERNEL32!DeviceIoControlImplementation"
    )
