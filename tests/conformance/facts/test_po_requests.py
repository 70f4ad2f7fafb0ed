"""Facts of power requests: what a driver's PoRequestPowerIrp sends down its stack."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, variable, wait

POWER = Facts(f"{KMTESTS}/ntos_po/PoIrp_drv.c")
CONTEXT = 0x1234


class Stack:
    """Three devices on each other; the middle one's driver asks for D0."""

    def __init__(self, driver: Any) -> None:
        self.devices: list[Any] = []
        self.seen: list[Any] = []
        self.completed: list[Any] = []
        driver.MajorFunction[IRP_MJ_POWER] = self.power
        for _ in range(3):
            _, device = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
            if self.devices:
                below = IoAttachDeviceToDeviceStack(device, self.devices[0])
                assert int(below) == int(self.devices[-1])
            device.Flags &= ~DO_DEVICE_INITIALIZING
            self.devices.append(device)
        self.done = KEVENT()
        KeInitializeEvent(self.done, NotificationEvent, FALSE)

    def place(self, device: Any) -> int:
        """The number of a device, counted from the lowest."""
        return [int(each) for each in self.devices].index(int(device))

    def power(self, DeviceObject: Any, Irp: Any) -> int:
        stack = IoGetCurrentIrpStackLocation(Irp)
        power = stack.Parameters.Power
        at = self.place(DeviceObject)
        self.seen.append((
            at, stack.MinorFunction, power.Type, power.State.DeviceState, Irp.IoStatus.Status,
            Irp.IoStatus.Information, int(Irp.Tail.Overlay.Thread), int(Irp), Irp.CurrentLocation,
        ))  # fmt: skip
        PoStartNextPowerIrp(Irp)
        if at:
            IoSkipCurrentIrpStackLocation(Irp)
            return int(PoCallDriver(self.devices[at - 1], Irp))
        Irp.IoStatus.Information, Irp.IoStatus.Status = 7, STATUS_WAIT_3
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    def complete(self, Device: Any, Minor: int, State: Any, Context: Any, Status: Any) -> None:
        block = cast(Status, PIO_STATUS_BLOCK)
        irp = CONTAINING_RECORD(block, IRP, "IoStatus")
        self.completed = [
            self.place(Device), Minor, int(State), int(Context), block.Status, block.Information,
            int(irp),
        ]  # fmt: skip
        KeSetEvent(self.done, IO_NO_INCREMENT, FALSE)

    def request(self) -> tuple[int, int]:
        """(status, address of the request)"""
        state = POWER_STATE()
        state.DeviceState = PowerDeviceD0
        irp = variable(PVOID, 0)
        status = PoRequestPowerIrp(
            self.devices[1], IRP_MN_SET_POWER, state, self.complete, CONTEXT, irp
        )
        wait(self.done)
        return status, irp[0]


@POWER.fact([STATUS_PENDING, [2, 1, 0], True, True])
def a_request_begins_at_the_top_of_the_stack_and_keeps_its_location_when_skipped(
    DriverObject: Any,
) -> list[Any]:
    stack = Stack(DriverObject)
    status, irp = stack.request()
    same = {entry[7] for entry in stack.seen} == {irp}
    locations = {entry[8] for entry in stack.seen}
    return [status, [entry[0] for entry in stack.seen], same, len(locations) == 1]


@POWER.fact([(IRP_MN_SET_POWER, DevicePowerState, PowerDeviceD0, STATUS_NOT_SUPPORTED, 0, 0)] * 3)
def a_request_is_new_not_supported_and_of_no_thread(DriverObject: Any) -> list[Any]:
    stack = Stack(DriverObject)
    stack.request()
    return [entry[1:7] for entry in stack.seen]


@POWER.fact([[1, IRP_MN_SET_POWER, PowerDeviceD0, CONTEXT, STATUS_WAIT_3, 7], True])
def the_requester_is_called_with_the_requests_own_status_block(DriverObject: Any) -> list[Any]:
    stack = Stack(DriverObject)
    _, irp = stack.request()
    return [stack.completed[:6], stack.completed[6] == irp]


test_fact = as_tests(POWER)
