"""FastIoDeviceControl. Sources: WDK FAST_IO_DISPATCH; Windows Internals 7, part 1, chapter 6."""

import pytest

from ntsim import BugCheck, Machine
from ntsim.wdm import *

CODE = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_NEITHER, FILE_ANY_ACCESS)
SLOW = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_ANY_ACCESS)


class Fast:
    """A driver with a fast path; `calls` in order."""

    def __init__(self, table_size: int = 0xE0) -> None:
        self.calls: list[tuple] = []
        self.table_size = table_size

    def DriverEntry(self, DriverObject, RegistryPath):
        table = cast(ExAllocatePoolWithTag(NonPagedPool, 0xE0, 0x74736146), FAST_IO_DISPATCH)
        RtlZeroMemory(table, 0xE0)
        table.SizeOfFastIoDispatch = self.table_size
        table.FastIoDeviceControl = self.FastIoDeviceControl
        DriverObject.FastIoDispatch = table
        self.table = table
        for major in (IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP, IRP_MJ_DEVICE_CONTROL):
            DriverObject.MajorFunction[major] = self.Dispatch
        DriverObject.DriverUnload = self.Unload
        IoCreateDevice(
            DriverObject, 0, UNICODE_STRING("\\Device\\Fast"), FILE_DEVICE_UNKNOWN, 0, FALSE
        )
        IoCreateSymbolicLink(
            UNICODE_STRING("\\DosDevices\\Fast"), UNICODE_STRING("\\Device\\Fast")
        )
        return STATUS_SUCCESS

    def Unload(self, DriverObject):
        ExFreePoolWithTag(self.table, 0x74736146)
        IoDeleteSymbolicLink(UNICODE_STRING("\\DosDevices\\Fast"))
        IoDeleteDevice(DriverObject.DeviceObject)

    def FastIoDeviceControl(
        self, FileObject, Wait, InputBuffer, InputBufferLength, OutputBuffer, OutputBufferLength,
        IoControlCode, IoStatus, DeviceObject,
    ):  # fmt: skip
        self.calls.append(("fast", IoControlCode, Wait, KeGetCurrentIrql()))
        if IoControlCode != CODE:
            return FALSE
        data = read_bytes(InputBuffer, InputBufferLength)
        write_bytes(OutputBuffer, data[::-1])
        block = cast(IoStatus, IO_STATUS_BLOCK)
        block.Status = STATUS_SUCCESS
        block.Information = len(data)
        return TRUE

    def Dispatch(self, DeviceObject, Irp):
        stack = IoGetCurrentIrpStackLocation(Irp)
        self.calls.append(("irp", stack.MajorFunction))
        Irp.IoStatus.Status = STATUS_SUCCESS
        Irp.IoStatus.Information = 0
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS


def control(machine: Machine, code: int, data: bytes = b"abc", room: int = 8) -> bytes:
    from ntsim import win32 as w

    answer = bytearray()

    def app() -> None:
        device = w.CreateFile("\\\\.\\Fast", w.GENERIC_READ, 0, None, w.OPEN_EXISTING, 0, None)
        answer.extend(w.DeviceIoControl(device, code, data, room))

    machine.run(app)
    return bytes(answer)


def test_an_answer_without_an_irp(ntsim_machine) -> None:
    machine, driver = ntsim_machine(), Fast()
    machine.load_driver(driver.DriverEntry, name="fast.sys")
    assert control(machine, CODE) == b"cba"
    controls = [each for each in driver.calls if each[0] == "fast" or each[1] == 14]
    assert controls == [("fast", CODE, 1, 0)]


def test_false_means_an_irp(ntsim_machine) -> None:
    machine, driver = ntsim_machine(), Fast()
    machine.load_driver(driver.DriverEntry, name="fast.sys")
    assert control(machine, SLOW) == b""
    assert ("irp", IRP_MJ_DEVICE_CONTROL) in driver.calls
    assert driver.calls[1] == ("fast", SLOW, 1, 0)


def test_a_table_too_short_for_the_routine_has_none(ntsim_machine) -> None:
    machine, driver = ntsim_machine(), Fast(table_size=0x50)
    machine.load_driver(driver.DriverEntry, name="fast.sys")
    control(machine, CODE)
    assert not [each for each in driver.calls if each[0] == "fast"]


def test_the_output_buffer_is_probed_unless_the_method_is_neither(ntsim_machine) -> None:
    from ntsim import win32 as w

    machine, driver = ntsim_machine(), Fast()
    machine.load_driver(driver.DriverEntry, name="fast.sys")

    def app() -> None:
        device = w.CreateFile("\\\\.\\Fast", w.GENERIC_READ, 0, None, w.OPEN_EXISTING, 0, None)
        with pytest.raises(w.error) as caught:
            w.DeviceIoControl(device, SLOW, b"", (0xFFFF_8000_0000_0000, 8))
        assert caught.value.winerror == w.ERROR_NOACCESS

    machine.run(app)
    assert not [each for each in driver.calls if each[0] == "fast"]


def test_a_fault_on_the_caller_s_buffer_is_the_driver_s(ntsim_machine) -> None:
    from ntsim import win32 as w

    machine, driver = ntsim_machine(), Fast()
    machine.load_driver(driver.DriverEntry, name="fast.sys")

    def app() -> None:
        device = w.CreateFile("\\\\.\\Fast", w.GENERIC_READ, 0, None, w.OPEN_EXISTING, 0, None)
        w.DeviceIoControl(device, CODE, (0x10, 4), 8)

    with pytest.raises(BugCheck) as caught:
        machine.run(app)
    assert caught.value.code == 0x3B
