"""Facts of what a control request's caller sees: the matrix of statuses, methods and handles."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import WINE, Facts, as_tests, poll

STATUS = Facts(f"{WINE}/ntoskrnl.c do_return_status, test_return_status")
TAG = 0x74736554
POISON = 0xDEADF00D
STATUSES = [
    STATUS_SUCCESS, STATUS_PENDING, STATUS_TIMEOUT, 0x0EADBEEF, 0x4EADBEEF, STATUS_BUFFER_OVERFLOW,
    0x8EADBEEF, 0xC0000002, 0xCEADBEEF,
]  # fmt: skip
METHODS = [METHOD_BUFFERED, METHOD_OUT_DIRECT, METHOD_NEITHER]


def is_error(status: int) -> bool:
    return status >> 30 == 3


class Answer:
    """A device that writes ghijkl into its output, completes with one status, returns another."""

    def __init__(self, driver: Any) -> None:
        self.completed = self.returned = 0
        self.pending = False
        name = UNICODE_STRING("\\Device\\Answer")
        _, self.device = IoCreateDevice(driver, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        self.device.Flags &= ~DO_DEVICE_INITIALIZING

        def control(DeviceObject: Any, Irp: Any) -> int:
            return self.control(Irp)

        def succeed(DeviceObject: Any, Irp: Any) -> int:
            Irp.IoStatus.Status = STATUS_SUCCESS
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return STATUS_SUCCESS

        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            driver.MajorFunction[major] = succeed
        driver.MajorFunction[IRP_MJ_DEVICE_CONTROL] = control

    def control(self, irp: Any) -> int:
        stack = IoGetCurrentIrpStackLocation(irp)
        method = stack.Parameters.DeviceIoControl.IoControlCode & 3
        if method == METHOD_BUFFERED:
            target = irp.AssociatedIrp.SystemBuffer
        elif method == METHOD_NEITHER:
            target = irp.UserBuffer
        else:
            target = MmGetSystemAddressForMdlSafe(irp.MdlAddress, NormalPagePriority)
        if self.pending:
            IoMarkIrpPending(irp)
        write_bytes(target, b"ghijkl")
        irp.IoStatus.Status, irp.IoStatus.Information = self.completed, 3
        IoCompleteRequest(irp, IO_NO_INCREMENT)
        return self.returned

    def open(self, asynchronous: bool) -> int:
        attributes, handle, iosb = OBJECT_ATTRIBUTES(), HANDLE(), IO_STATUS_BLOCK()
        name = UNICODE_STRING("\\Device\\Answer")
        InitializeObjectAttributes(attributes, name, OBJ_KERNEL_HANDLE, NULL, NULL)
        ZwCreateFile(
            handle, FILE_ALL_ACCESS, attributes, iosb, NULL, 0, 0, FILE_OPEN,
            0 if asynchronous else FILE_SYNCHRONOUS_IO_NONALERT, NULL, 0,
        )  # fmt: skip
        return int(handle[0])


def combinations(pending: bool) -> list[tuple[int, int]]:
    """What is returned, and how; STATUS_PENDING for an unmarked request hangs on Windows too."""
    returned = [each for each in STATUSES if pending or each != STATUS_PENDING]
    return [(status, method) for status in returned for method in METHODS]


def expected(asynchronous: bool, pending: bool, completed: int) -> list[Any]:
    found = []
    for returned, method in combinations(pending):
        told = not is_error(completed) or (asynchronous and pending)
        status = completed if returned == STATUS_PENDING and not asynchronous else returned
        buffer = b"ghijkl" if method else b"abcdef" if is_error(completed) else b"ghidef"
        block = (completed, 3) if told else (POISON, POISON)
        event = STATUS_SUCCESS if told else STATUS_TIMEOUT
        found.append((status, block, event, buffer))
    return found


@STATUS.fact(expected, asynchronous=[False, True], pending=[False, True], completed=STATUSES)
def status_block_event_and_output_go_by_the_status_of_completion(
    asynchronous: bool, pending: bool, completed: int, DriverObject: Any
) -> list[Any]:
    answer, found = Answer(DriverObject), []
    answer.completed, answer.pending = completed, pending
    handle = answer.open(asynchronous)
    event, attributes = HANDLE(), OBJECT_ATTRIBUTES()
    InitializeObjectAttributes(attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL)
    ZwCreateEvent(event, EVENT_ALL_ACCESS, attributes, NotificationEvent, TRUE)
    _, body = ObReferenceObjectByHandle(event[0], 0, NULL, KernelMode, NULL)
    buffer, iosb = ExAllocatePoolWithTag(NonPagedPool, 16, TAG), IO_STATUS_BLOCK()
    for returned, method in combinations(pending):
        answer.returned = returned
        write_bytes(buffer, b"abcdef")
        iosb.Status, iosb.Information = POISON, POISON
        code = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, method, FILE_ANY_ACCESS)
        status = ZwDeviceIoControlFile(handle, event[0], NULL, NULL, iosb, code, NULL, 0, buffer, 6)
        block = iosb.Status & 0xFFFFFFFF, iosb.Information
        found.append((status & 0xFFFFFFFF, block, poll(body), read_bytes(buffer, 6)))
    return found


test_fact = as_tests(STATUS)
