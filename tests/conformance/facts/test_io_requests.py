"""Facts of IRPs: how they are made, called, completed and cancelled."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, poll

IRP_FACTS = Facts(f"{KMTESTS}/ntos_io/IoIrp.c")
STRUCT = Facts(f"{WINE}/driver.c test_irp_struct")
CALL = Facts(f"{WINE}/driver.c test_call_driver")
CANCEL = Facts(f"{WINE}/driver.c test_cancel_irp")
COMPLETION = Facts(f"{WINE}/driver.c test_completion, completion_ioctl")
TAG = 0x74736554
POISON = 0xDEADBEEF


# What a new one looks like


@IRP_FACTS.fact(lambda stacks: [6, True, stacks, stacks + 1, True, True], stacks=[1, 5])
def an_irp_initialized_in_ones_own_memory_has_its_fields(stacks: int) -> list[Any]:
    size = IoSizeOfIrp(stacks)
    irp = cast(ExAllocatePoolWithTag(NonPagedPool, size, TAG), PIRP)
    RtlFillMemory(irp, size, 0x55)
    IoInitializeIrp(irp, size, stacks)
    return fields_of(irp, stacks, size)


def fields_of(irp: Any, stacks: int, size: int) -> list[Any]:
    links = irp.ThreadListEntry
    top = int(irp) + IoSizeOfIrp(0) + stacks * (IoSizeOfIrp(1) - IoSizeOfIrp(0))
    return [
        irp.Type, irp.Size >= size, irp.StackCount, irp.CurrentLocation,
        links.Flink == links.Blink == links, int(irp.Tail.Overlay.CurrentStackLocation) == top,
    ]  # fmt: skip


@IRP_FACTS.fact(
    lambda stacks, quota: [6, True, stacks, stacks + 1, True, True, True, bool(quota)],
    stacks=[1, 2], quota=[FALSE, TRUE],
)  # fmt: skip
def an_allocated_irp_has_its_fields_and_a_fixed_size(stacks: int, quota: int) -> list[Any]:
    irp = IoAllocateIrp(stacks, quota)
    found = fields_of(irp, stacks, IoSizeOfIrp(stacks))
    found.append(bool(irp.AllocationFlags & IRP_ALLOCATED_FIXED_SIZE))
    found.append(bool(irp.AllocationFlags & IRP_LOOKASIDE_ALLOCATION))
    IoFreeIrp(irp)
    return found


@STRUCT.fact([IRP_ALLOCATED_FIXED_SIZE, 2, 2, [1], 2, IRP_ALLOCATED_FIXED_SIZE, 0xC0000001])
def completing_at_the_drivers_own_location_calls_its_routine_and_stops_there() -> list[Any]:
    called = []

    def completed(DeviceObject: Any, Irp: Any, Context: Any) -> int:
        called.append(1)
        return STATUS_MORE_PROCESSING_REQUIRED

    irp = IoAllocateIrp(1, FALSE)
    found: list[Any] = [irp.AllocationFlags, irp.CurrentLocation]
    IoSetCompletionRoutine(irp, completed, NULL, TRUE, TRUE, TRUE)
    irp.IoStatus.Status = STATUS_SUCCESS
    IoSetNextIrpStackLocation(irp)
    IoCompleteRequest(irp, IO_NO_INCREMENT)
    found += [irp.CurrentLocation, called]
    IoSetNextIrpStackLocation(irp)
    IoReuseIrp(irp, STATUS_UNSUCCESSFUL)
    found += [irp.CurrentLocation, irp.AllocationFlags, irp.IoStatus.Status & 0xFFFFFFFF]
    IoFreeIrp(irp)
    return found


# A device that keeps what it gets


class Keeper:
    """A device whose flush requests stay pending."""

    def __init__(self, DriverObject: Any) -> None:
        self.seen: list[Any] = []
        _, self.device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        self.device.Flags &= ~DO_DEVICE_INITIALIZING

        def flush(DeviceObject: Any, Irp: Any) -> int:
            stack = IoGetCurrentIrpStackLocation(Irp)
            mine = int(Irp.Tail.Overlay.Thread) == int(KeGetCurrentThread())
            self.seen.append((stack.DeviceObject == DeviceObject, mine))
            IoMarkIrpPending(Irp)
            return STATUS_PENDING

        DriverObject.MajorFunction[IRP_MJ_FLUSH_BUFFERS] = flush


def status_block() -> Any:
    iosb = IO_STATUS_BLOCK()
    iosb.Status = iosb.Information = POISON
    return iosb


def build(keeper: Keeper, iosb: Any) -> Any:
    flush = IRP_MJ_FLUSH_BUFFERS
    return IoBuildAsynchronousFsdRequest(flush, keeper.device, NULL, 0, NULL, iosb)


@CALL.fact(
    [True, 0, 0, 0, 2, True, 0, 0, (POISON, POISON), IRP_MJ_FLUSH_BUFFERS, 0, 0, 0],
)
def a_built_request_begins_above_its_only_location(DriverObject: Any) -> list[Any]:
    iosb = status_block()
    irp = build(Keeper(DriverObject), iosb)
    found = [int(irp.UserIosb) == int(iosb), irp.Cancel, int(irp.CancelRoutine)]
    found += [int(irp.UserEvent), irp.CurrentLocation]
    found.append(int(irp.Tail.Overlay.Thread) == int(KeGetCurrentThread()))
    found += [irp.IoStatus.Status, irp.IoStatus.Information]
    found.append((iosb.Status & 0xFFFFFFFF, iosb.Information))
    stack = IoGetNextIrpStackLocation(irp)
    found += [stack.MajorFunction, int(stack.DeviceObject), int(stack.FileObject)]
    found.append(int(stack.CompletionRoutine))
    IoFreeIrp(irp)
    return found


@CALL.fact([STATUS_PENDING, (0, 0), (POISON, POISON), (0, 123), [(True, True)]])
def the_status_block_is_written_when_the_request_is_completed(DriverObject: Any) -> list[Any]:
    keeper, iosb = Keeper(DriverObject), status_block()
    irp = build(keeper, iosb)
    found: list[Any] = [IoCallDriver(keeper.device, irp)]
    found.append((irp.IoStatus.Status, irp.IoStatus.Information))
    found.append((iosb.Status & 0xFFFFFFFF, iosb.Information))
    irp.IoStatus.Status, irp.IoStatus.Information = STATUS_SUCCESS, 123
    IoCompleteRequest(irp, IO_NO_INCREMENT)
    return [*found, (iosb.Status, iosb.Information), keeper.seen]


@CALL.fact([True, 2, STATUS_TIMEOUT, STATUS_PENDING, STATUS_TIMEOUT, STATUS_SUCCESS, (0, 0)])
def a_synchronous_request_sets_its_event_at_completion(DriverObject: Any) -> list[Any]:
    keeper, iosb, event = Keeper(DriverObject), status_block(), KEVENT()
    KeInitializeEvent(event, NotificationEvent, FALSE)
    flush = IRP_MJ_FLUSH_BUFFERS
    irp = IoBuildSynchronousFsdRequest(flush, keeper.device, NULL, 0, NULL, event, iosb)
    found: list[Any] = [int(irp.UserEvent) == int(event), irp.CurrentLocation, poll(event)]
    found += [IoCallDriver(keeper.device, irp), poll(event)]
    irp.IoStatus.Status, irp.IoStatus.Information = STATUS_SUCCESS, 0
    IoCompleteRequest(irp, IO_NO_INCREMENT)
    return [*found, poll(event), (iosb.Status, iosb.Information)]


# Cancellation


@CANCEL.fact([(False, 1), (False, 1)])
def cancelling_without_a_routine_only_marks_the_irp(DriverObject: Any) -> list[Any]:
    irp = build(Keeper(DriverObject), status_block())
    found = [(bool(IoCancelIrp(irp)), irp.Cancel) for _ in range(2)]
    IoFreeIrp(irp)
    return found


class Cancel:
    """A cancel routine that counts its calls and completes nothing."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, DeviceObject: Any, Irp: Any) -> None:
        level = KeGetCurrentIrql()
        IoReleaseCancelSpinLock(Irp.CancelIrql)
        self.calls.append((level, KeGetCurrentIrql(), Irp.Cancel, int(Irp.CancelRoutine)))
        Irp.IoStatus.Status, Irp.IoStatus.Information = STATUS_CANCELLED, 0


@CANCEL.fact([1, True, True, 1, [(2, 0, 1, 0)], False, 1, 1])
def a_cancel_routine_is_called_once_and_at_its_drivers_location(DriverObject: Any) -> list[Any]:
    keeper, cancel = Keeper(DriverObject), Cancel()
    irp = build(keeper, status_block())
    IoCallDriver(keeper.device, irp)
    stack = IoGetCurrentIrpStackLocation(irp)
    found: list[Any] = [irp.CurrentLocation, stack.DeviceObject == keeper.device]
    IoSetCancelRoutine(irp, lambda device, request: cancel(device, request))
    found += [bool(IoCancelIrp(irp)), irp.Cancel, cancel.calls]
    found += [bool(IoCancelIrp(irp)), irp.Cancel, len(cancel.calls)]
    IoCompleteRequest(irp, IO_NO_INCREMENT)
    return found


@CANCEL.fact(
    lambda on_success, on_error, on_cancel, status: [
        bool(on_error or on_cancel) if status else bool(on_success or on_cancel)
    ],
    on_success=[FALSE, TRUE], on_error=[FALSE, TRUE], on_cancel=[FALSE, TRUE],
    status=[STATUS_SUCCESS, STATUS_CANCELLED],
)  # fmt: skip
def a_cancelled_irp_calls_completion_routines_that_want_cancels_or_its_status(
    on_success: int, on_error: int, on_cancel: int, status: int, DriverObject: Any
) -> list[bool]:
    keeper, called = Keeper(DriverObject), []

    def completed(DeviceObject: Any, Irp: Any, Context: Any) -> int:
        called.append(1)
        return STATUS_SUCCESS

    irp = build(keeper, status_block())
    IoSetCompletionRoutine(irp, completed, NULL, on_success, on_error, on_cancel)
    IoCallDriver(keeper.device, irp)
    IoCancelIrp(irp)
    irp.IoStatus.Status = status
    IoCompleteRequest(irp, IO_NO_INCREMENT)
    return [bool(called)]


# Completion through two devices

WANTS_ALL = SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR


class Stack:
    """Two devices; what their routines and the originator's see of a control request."""

    def __init__(self, DriverObject: Any, lower: bool, upper: bool) -> None:
        self.lower, self.upper = lower, upper
        self.seen: list[Any] = []
        self.devices = []
        for _ in range(2):
            _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
            device.Flags &= ~DO_DEVICE_INITIALIZING
            self.devices.append(device)
        IoAttachDeviceToDeviceStack(self.devices[1], self.devices[0])

        def control(DeviceObject: Any, Irp: Any) -> int:
            return self.dispatch(DeviceObject, Irp)

        def completed(DeviceObject: Any, Irp: Any, Context: Any) -> int:
            return self.completed(DeviceObject, Irp)

        self.routine = completed
        DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = control

    def dispatch(self, device: Any, irp: Any) -> int:
        stack = IoGetCurrentIrpStackLocation(irp)
        number = self.devices.index(device)
        self.seen.append(("dispatch", number, irp.CurrentLocation, irp.PendingReturned,
                          stack.Control))  # fmt: skip
        if number:
            IoCopyCurrentIrpStackLocationToNext(irp)
            IoSetCompletionRoutine(irp, self.routine, NULL, TRUE, TRUE, TRUE)
            return IoCallDriver(self.devices[0], irp)
        if self.lower:
            IoMarkIrpPending(irp)
            return STATUS_PENDING
        irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    def completed(self, device: Any, irp: Any) -> int:
        stack = IoGetCurrentIrpStackLocation(irp)
        control = stack.Control if irp.CurrentLocation <= irp.StackCount else None
        self.seen.append(("completed", irp.CurrentLocation, irp.PendingReturned, control))
        if self.upper and irp.PendingReturned and irp.CurrentLocation <= irp.StackCount:
            IoMarkIrpPending(irp)
        return STATUS_SUCCESS

    def send(self) -> tuple[Any, int]:
        event, iosb = KEVENT(), IO_STATUS_BLOCK()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        irp = IoBuildDeviceIoControlRequest(
            0x222000, self.devices[1], NULL, 0, NULL, 0, FALSE, event, iosb
        )
        IoSetCompletionRoutine(irp, self.routine, NULL, TRUE, TRUE, TRUE)
        return irp, IoCallDriver(self.devices[1], irp)


def expected_flow(lower: bool, upper: bool) -> list[Any]:
    down = [("dispatch", 1, 2, 0, WANTS_ALL), ("dispatch", 0, 1, 0, WANTS_ALL)]
    up = [("completed", 2, int(lower), WANTS_ALL), ("completed", 3, int(lower and upper), None)]
    return [STATUS_PENDING if lower else STATUS_SUCCESS, *down, *up]


@COMPLETION.fact(expected_flow, lower=[False, True], upper=[False, True])
def PendingReturned_is_the_flag_of_the_location_below_at_each_completion_routine(
    lower: bool, upper: bool, DriverObject: Any
) -> list[Any]:
    stack = Stack(DriverObject, lower, upper)
    irp, status = stack.send()
    if lower:
        irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(irp, IO_NO_INCREMENT)
    return [status, *stack.seen]


@COMPLETION.fact([STATUS_PENDING, 1, 0, 2])
def a_pending_irp_stays_at_the_lowest_location_without_its_flag_in_the_irp(
    DriverObject: Any,
) -> list[Any]:
    stack = Stack(DriverObject, lower=True, upper=False)
    irp, status = stack.send()
    found = [status, irp.CurrentLocation, irp.PendingReturned, len(stack.seen)]
    irp.IoStatus.Status = STATUS_SUCCESS
    IoCompleteRequest(irp, IO_NO_INCREMENT)
    return found


test_fact = as_tests(IRP_FACTS, STRUCT, CALL, CANCEL, COMPLETION)
