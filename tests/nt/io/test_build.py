"""IRPs that drivers build, and devices they find by name.

Source: WDK IoBuildDeviceIoControlRequest, IoGetDeviceObjectPointer, IoMakeAssociatedIrp; Wine
ntoskrnl tests test_IoAttachDeviceToDeviceStack.
"""

import pytest

from ntsim.wdm import *

ECHO = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
OUT_DIRECT = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)


class Target:
    """A driver's device that echoes, fails, or keeps requests; `log` has the major functions."""

    def __init__(self, driver, name=NULL, flags: int = DO_BUFFERED_IO) -> None:
        self.log: list[int] = []
        self.kept: list = []
        self.keep = False
        self.status = STATUS_SUCCESS
        _, self.device = IoCreateDevice(driver, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        self.device.Flags = self.device.Flags & ~DO_DEVICE_INITIALIZING | flags
        for major in range(IRP_MJ_MAXIMUM_FUNCTION + 1):
            driver.MajorFunction[major] = self.dispatcher()

    def dispatcher(self):
        def dispatch(DeviceObject, Irp) -> int:
            stack = IoGetCurrentIrpStackLocation(Irp)
            self.log.append(stack.MajorFunction)
            if self.keep:
                IoMarkIrpPending(Irp)
                self.kept.append(Irp)
                return STATUS_PENDING
            if stack.MajorFunction == IRP_MJ_DEVICE_CONTROL:
                Irp.IoStatus.Information = stack.Parameters.DeviceIoControl.InputBufferLength
            else:
                Irp.IoStatus.Information = stack.Parameters.Read.Length
            status = self.status
            Irp.IoStatus.Status = status
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return status

        return dispatch


def event():
    made = KEVENT()
    KeInitializeEvent(made, NotificationEvent, FALSE)
    return made


def memory(data: bytes) -> int:
    address = ExAllocatePoolWithTag(NonPagedPoolNx, max(len(data), 16), 1)
    write_bytes(address, data)
    return address


def test_a_device_control_request_goes_there_and_back(value_of) -> None:
    def body(DriverObject) -> list:
        target, done, block = Target(DriverObject), event(), IO_STATUS_BLOCK()
        source, out = memory(b"hello, driver"), memory(bytes(16))
        irp = IoBuildDeviceIoControlRequest(
            ECHO, target.device, source, 13, out, 16, FALSE, done, block
        )
        queued = irp.ThreadListEntry.Flink != irp.ThreadListEntry
        status = IoCallDriver(target.device, irp)
        return [
            queued, status, KeReadStateEvent(done), block.Status, block.Information,
            read_bytes(out, 13), target.log,
        ]  # fmt: skip

    assert value_of(body) == [True, 0, 1, 0, 13, b"hello, driver", [IRP_MJ_DEVICE_CONTROL]]


def test_a_pending_request_sets_the_event_when_it_completes(value_of) -> None:
    def body(DriverObject) -> list:
        target, done, block = Target(DriverObject), event(), IO_STATUS_BLOCK()
        target.keep = True
        irp = IoBuildDeviceIoControlRequest(
            ECHO, target.device, NULL, 0, NULL, 0, TRUE, done, block
        )
        status = IoCallDriver(target.device, irp)
        before = KeReadStateEvent(done)
        target.kept[0].IoStatus.Status = STATUS_UNSUCCESSFUL
        IoCompleteRequest(target.kept[0], IO_NO_INCREMENT)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
        return [status, before, block.Status, target.log]

    internal = IRP_MJ_INTERNAL_DEVICE_CONTROL
    assert value_of(body) == [STATUS_PENDING, 0, STATUS_UNSUCCESSFUL, [internal]]


def test_a_request_that_fails_at_once_sets_no_event(value_of) -> None:
    def body(DriverObject) -> list:
        target, done, block = Target(DriverObject), event(), IO_STATUS_BLOCK()
        target.status = STATUS_INVALID_PARAMETER
        irp = IoBuildDeviceIoControlRequest(
            ECHO, target.device, NULL, 0, NULL, 0, FALSE, done, block
        )
        return [IoCallDriver(target.device, irp), KeReadStateEvent(done), block.Status]

    assert value_of(body) == [STATUS_INVALID_PARAMETER, 0, 0]


def test_a_direct_request_has_an_mdl_of_the_output(value_of) -> None:
    def body(DriverObject) -> list:
        target = Target(DriverObject)
        irp = IoBuildDeviceIoControlRequest(
            OUT_DIRECT, target.device, memory(b"in"), 2, memory(bytes(64)), 64, FALSE, event(),
            IO_STATUS_BLOCK(),
        )  # fmt: skip
        found = [irp.MdlAddress.ByteCount, read_bytes(irp.AssociatedIrp.SystemBuffer, 2)]
        return [*found, IoCallDriver(target.device, irp)]

    assert value_of(body) == [64, b"in", 0]


@pytest.mark.parametrize("flags", [DO_BUFFERED_IO, DO_DIRECT_IO, 0])
def test_a_synchronous_read_has_its_buffer_by_the_devices_method(value_of, flags: int) -> None:
    def body(DriverObject) -> list:
        target, done, block = Target(DriverObject, NULL, flags), event(), IO_STATUS_BLOCK()
        offset = LARGE_INTEGER()
        offset.QuadPart = 0x1000
        buffer = memory(bytes(32))
        irp = IoBuildSynchronousFsdRequest(
            IRP_MJ_READ, target.device, buffer, 32, offset, done, block
        )
        stack = IoGetNextIrpStackLocation(irp)
        found = [stack.Parameters.Read.Length, stack.Parameters.Read.ByteOffset.QuadPart]
        found += [irp.AssociatedIrp.SystemBuffer != 0, irp.MdlAddress != 0]
        found += [irp.UserBuffer == buffer and flags == 0]
        IoCallDriver(target.device, irp)
        return [*found, block.Information, KeReadStateEvent(done)]

    kind = [flags == DO_BUFFERED_IO, flags == DO_DIRECT_IO, flags == 0]
    assert value_of(body) == [32, 0x1000, *kind, 32, 1]


def test_an_asynchronous_request_is_the_drivers_to_free(value_of) -> None:
    def body(DriverObject) -> list:
        target, block = Target(DriverObject), IO_STATUS_BLOCK()
        irp = IoBuildAsynchronousFsdRequest(
            IRP_MJ_WRITE, target.device, memory(b"data"), 4, NULL, block
        )
        found = [irp.ThreadListEntry.Flink == irp.ThreadListEntry]
        found.append(read_bytes(irp.AssociatedIrp.SystemBuffer, 4))

        def completed(DeviceObject, Irp, Context) -> int:
            found.append(Irp.IoStatus.Information)
            ExFreePool(Irp.AssociatedIrp.SystemBuffer)
            IoFreeIrp(Irp)
            return STATUS_MORE_PROCESSING_REQUIRED

        IoSetCompletionRoutine(irp, completed, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(target.device, irp)
        return found

    assert value_of(body) == [True, b"data", 4]


def test_the_master_completes_with_its_last_associate(value_of) -> None:
    def body(DriverObject) -> list:
        target, done, block = Target(DriverObject), event(), IO_STATUS_BLOCK()
        target.keep = True
        master = IoBuildDeviceIoControlRequest(
            ECHO, target.device, NULL, 0, NULL, 0, FALSE, done, block
        )
        IoCallDriver(target.device, master)
        master.AssociatedIrp.IrpCount = 2
        found = []
        for _ in range(2):
            part = IoMakeAssociatedIrp(master, target.device.StackSize)
            IoGetNextIrpStackLocation(part).MajorFunction = IRP_MJ_READ
            target.keep = False
            IoCallDriver(target.device, part)
            found.append(KeReadStateEvent(done))
        return found

    assert value_of(body) == [0, 1]


@pytest.mark.parametrize("pending", [False, True])
def test_forwarding_waits_and_leaves_completion_to_the_caller(value_of, pending: bool) -> None:
    def body(DriverObject) -> list:
        target, done, block = Target(DriverObject), event(), IO_STATUS_BLOCK()
        _, upper = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        status, below = IoAttachDeviceToDeviceStackSafe(upper, target.device)
        irp = IoBuildDeviceIoControlRequest(ECHO, upper, NULL, 0, NULL, 0, FALSE, done, block)
        IoSetNextIrpStackLocation(irp)
        IoGetCurrentIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
        if pending:
            target.keep = True

            def completer(Context) -> None:
                target.kept[0].IoStatus.Status = STATUS_SUCCESS
                IoCompleteRequest(target.kept[0], IO_NO_INCREMENT)

            thread = PsCreateSystemThread(0, NULL, NULL, NULL, completer, NULL)
            ZwClose(thread[1])
        sent = IoForwardIrpSynchronously(below, irp)
        found = [status, below == target.device, sent, KeReadStateEvent(done)]
        IoCompleteRequest(irp, IO_NO_INCREMENT)
        return [*found, KeReadStateEvent(done)]

    assert value_of(body, processors=1) == [0, True, True, 0, 1]


def test_a_device_is_found_by_name_with_create_cleanup_and_close(value_of) -> None:
    def body(DriverObject) -> list:
        name = UNICODE_STRING("\\Device\\Found")
        target = Target(DriverObject, name)
        status, file, device = IoGetDeviceObjectPointer(name, FILE_READ_DATA)
        found = [status, device == target.device, file.DeviceObject == device, target.log[:]]
        ObDereferenceObject(file)
        absent = IoGetDeviceObjectPointer(UNICODE_STRING("\\Device\\Lost"), 1)[0]
        return [*found, target.log[2:], absent]

    create, cleanup, close = IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE
    lost = STATUS_OBJECT_NAME_NOT_FOUND
    assert value_of(body) == [0, True, True, [create, cleanup], [close], lost]


def test_stacks_are_walked_up_and_down(value_of) -> None:
    def body(DriverObject) -> list:
        name = UNICODE_STRING("\\Device\\Base")
        target = Target(DriverObject, name)
        _, middle = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        middle.Flags &= ~DO_DEVICE_INITIALIZING
        _, top = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        status, below = IoAttachDevice(middle, name)
        _, second = IoAttachDeviceToDeviceStackSafe(top, target.device)
        found = [status, below == target.device, second == middle]
        found += [IoGetLowerDeviceObject(top) == middle, int(IoGetLowerDeviceObject(target.device))]
        found.append(IoGetDeviceAttachmentBaseRef(top) == target.device)
        IoDetachDevice(middle)
        for device in (middle, target.device):
            ObDereferenceObject(device)
        return found

    assert value_of(body) == [0, True, True, True, 0, True]


def test_questions_about_the_thread_and_the_system(value_of) -> None:
    def body() -> list:
        low, high = IoGetStackLimits()
        thread = KeGetCurrentThread()
        found = [high - low, low == thread.StackLimit, IoGetInitialStack() == thread.InitialStack]
        IoSetTopLevelIrp(1)
        found += [int(IoGetTopLevelIrp()), IoIs32bitProcess(NULL)]
        IoSetTopLevelIrp(NULL)
        versions = ((1, 0x30), (1, 0x31), (0, 0x99), (2, 0))
        return [*found, [IoIsWdmVersionAvailable(*version) for version in versions]]

    assert value_of(body) == [0x6000, True, True, 1, False, [True, False, True, False]]


def test_an_irp_without_a_location_left_is_not_forwarded(value_of) -> None:
    def body(DriverObject) -> bool:
        irp = IoAllocateIrp(1, FALSE)
        IoSetNextIrpStackLocation(irp)
        return IoForwardIrpSynchronously(Target(DriverObject).device, irp)

    assert value_of(body) is False
