"""Where a read or write begins. Source: WDK NtReadFile and ZwWriteFile, ByteOffset."""

import pytest

from ntsim import win32 as w
from ntsim.wdm import *


class Tape:
    """A device of endless bytes whose driver moves the file's position; `offsets` it was given."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def DriverEntry(self, DriverObject, RegistryPath):
        for major in (IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP, IRP_MJ_READ, IRP_MJ_WRITE):
            DriverObject.MajorFunction[major] = self.Dispatch
        IoCreateDevice(
            DriverObject, 0, UNICODE_STRING("\\Device\\Tape"), FILE_DEVICE_UNKNOWN, 0, FALSE
        )
        IoCreateSymbolicLink(
            UNICODE_STRING("\\DosDevices\\Tape"), UNICODE_STRING("\\Device\\Tape")
        )
        return STATUS_SUCCESS

    def Dispatch(self, DeviceObject, Irp):
        stack = IoGetCurrentIrpStackLocation(Irp)
        length = 0
        if stack.MajorFunction in (IRP_MJ_READ, IRP_MJ_WRITE):
            length, offset = stack.Parameters.Read.Length, stack.Parameters.Read.ByteOffset.QuadPart
            self.offsets.append(offset)
            stack.FileObject.CurrentByteOffset.QuadPart = offset + length
        Irp.IoStatus.Status = STATUS_SUCCESS
        Irp.IoStatus.Information = length
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS


@pytest.fixture
def tape(ntsim_machine):
    machine, driver = ntsim_machine(), Tape()
    machine.load_driver(driver.DriverEntry, name="tape.sys")
    return machine, driver


def open_tape(flags: int = 0) -> int:
    access = w.GENERIC_READ | w.GENERIC_WRITE
    return w.CreateFile("\\\\.\\Tape", access, 0, None, w.OPEN_EXISTING, flags, None)


def test_a_synchronous_file_goes_on_where_its_driver_left_it(tape) -> None:
    machine, driver = tape

    def app() -> None:
        device = open_tape()
        w.ReadFile(device, 16)
        w.WriteFile(device, b"12345")
        w.ReadFile(device, 4)

    machine.run(app)
    assert driver.offsets == [0, 16, 21]


def test_an_overlapped_request_says_where_it_begins(tape) -> None:
    machine, driver = tape

    def app() -> None:
        device = open_tape(w.FILE_FLAG_OVERLAPPED)
        request = w.OVERLAPPED()
        request.Offset = 0x1000
        w.ReadFile(device, 16, request)
        w.GetOverlappedResult(device, request, True)

    machine.run(app)
    assert driver.offsets == [0x1000]


def test_an_overlapped_handle_needs_an_offset(tape) -> None:
    machine, driver = tape

    def app() -> None:
        device = open_tape(w.FILE_FLAG_OVERLAPPED)
        with pytest.raises(w.error) as caught:
            w.ReadFile(device, 16)
        assert caught.value.winerror == w.ERROR_INVALID_PARAMETER

    machine.run(app)
    assert driver.offsets == []
