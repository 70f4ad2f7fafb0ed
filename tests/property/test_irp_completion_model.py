"""IRPs through random stacks of one to three devices, against the rules of IoCompleteRequest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ntsim.machine import Machine
from ntsim.wdm import *

MORE = STATUS_MORE_PROCESSING_REQUIRED
STATUSES = (STATUS_SUCCESS, STATUS_TIMEOUT, STATUS_BUFFER_OVERFLOW, STATUS_UNSUCCESSFUL)


@dataclass(frozen=True)
class Layer:
    """What a driver above the lowest does with an IRP.

    `flags` are the completion routine's InvokeOn*, None if it sets none; `skip` passes its own
    location on; `more` lets its routine take the IRP back, `propagate` marks it pending if the
    lower one was; `again` completes a taken IRP once more.
    """

    skip: bool
    flags: tuple[int, int, int] | None
    more: bool
    propagate: bool


@dataclass(frozen=True)
class Lowest:
    """How the lowest driver completes."""

    status: int
    cancelled: bool
    pending: bool


LAYER = st.builds(
    Layer,
    st.booleans(),
    st.one_of(st.none(), st.tuples(*[st.integers(0, 1)] * 3)),
    st.booleans(),
    st.booleans(),
)
LOWEST = st.builds(Lowest, st.sampled_from(STATUSES), st.booleans(), st.booleans())


def invoked(flags: tuple[int, int, int] | None, lowest: Lowest) -> bool:
    if flags is None:
        return False
    success, error, cancel = flags
    return bool((lowest.cancelled and cancel) or (error if lowest.status >> 31 else success))


def predict(layers: list[Layer], lowest: Lowest) -> list[tuple[int, int]]:
    """(layer, PendingReturned) of every completion routine that runs, -1 being the allocator's.

    A taken IRP is completed again by the layer that took it, after its IoCallDriver returned.
    """
    routines: list[int] = [-1]
    for number, layer in enumerate(layers):
        if not layer.skip:
            routines.append(number)
    pending = [False] * (len(routines) + 1)
    pending[len(routines)] = lowest.pending
    calls: list[tuple[int, int]] = []
    place = len(routines)
    while place:
        owner = routines[place - 1]
        flag = pending[place]
        layer = layers[owner] if owner >= 0 else None
        flags = (1, 1, 1) if layer is None else layer.flags
        place -= 1
        if invoked(flags, lowest):
            calls.append((owner, int(flag)))
            if layer is not None and flag and layer.propagate:
                pending[place] = True
        elif flag:
            pending[place] = True
    return calls


def execute(layers: list[Layer], lowest: Lowest) -> tuple[list[tuple[int, int]], int]:
    """(completion routines as they ran, IRP's status at the end) on a machine."""
    calls: list[tuple[int, int]] = []
    final: list[int] = []

    def DriverEntry(DriverObject: Any, RegistryPath: Any) -> int:
        devices: list[Any] = []
        for _ in range(len(layers) + 1):
            device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]
            device.Flags &= ~DO_DEVICE_INITIALIZING
            if devices:
                IoAttachDeviceToDeviceStack(device, devices[0])
            devices.insert(0, device)
        taken: list[int] = []

        def done(DeviceObject: Any, Irp: Any, Context: int) -> int:
            number = Context - 1
            calls.append((number, Irp.PendingReturned))
            if number < 0:
                final.append(Irp.IoStatus.Status)
                return MORE
            if Irp.PendingReturned and layers[number].propagate:
                IoMarkIrpPending(Irp)
            if layers[number].more:
                taken.append(number)
                return MORE
            return STATUS_CONTINUE_COMPLETION

        def read(DeviceObject: Any, Irp: Any) -> int:
            number = devices.index(DeviceObject)
            if number == len(layers):
                if lowest.pending:
                    IoMarkIrpPending(Irp)
                Irp.Cancel = lowest.cancelled
                Irp.IoStatus.Status = lowest.status
                IoCompleteRequest(Irp, IO_NO_INCREMENT)
                return STATUS_PENDING if lowest.pending else lowest.status
            layer = layers[number]
            if layer.skip:
                IoSkipCurrentIrpStackLocation(Irp)
            else:
                IoCopyCurrentIrpStackLocationToNext(Irp)
                if layer.flags is not None:
                    IoSetCompletionRoutine(Irp, done, number + 1, *layer.flags)
            status = IoCallDriver(devices[number + 1], Irp)
            if number in taken:
                taken.remove(number)
                IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return status

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        irp = IoAllocateIrp(devices[0].StackSize, FALSE)
        IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
        IoSetCompletionRoutine(irp, done, 0, TRUE, TRUE, TRUE)
        IoCallDriver(devices[0], irp)
        assert irp.CurrentLocation == irp.StackCount + 1
        return STATUS_SUCCESS

    with Machine(processors=1, record=False) as machine:
        machine.load_driver(DriverEntry, name="drv.sys")
    return calls, final[0]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(LAYER, max_size=2), LOWEST)
def test_completion_goes_up_as_the_rules_say(layers: list[Layer], lowest: Lowest) -> None:
    calls, status = execute(layers, lowest)
    assert calls == predict(layers, lowest)
    assert status == lowest.status
