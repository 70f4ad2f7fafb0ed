"""Driver Verifier and Plug and Play: what drivers send on, complete, and leave of their devices.

Source: WDK Bug Check 0xC9, parameter 1 from 0x206 on; the IRP_MN_* pages.
"""

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

from .conftest import Function

IO = {"verifier": "io"}


def crash(plug, function: Function, act=lambda made: None) -> tuple[int, ...]:
    """Code and first parameter of what plugging the device in, then `act`, ends in."""
    with pytest.raises(BugCheck) as caught:
        act(plug(function, options=IO))
    return caught.value.code, caught.value.parameters[0]


def test_a_driver_that_does_it_right_passes(plug) -> None:
    made = plug(options=IO)
    made.device.stop()
    made.device.start()
    made.device.surprise_remove()
    assert made.device.state == "Deleted"


# AddDevice


@pytest.mark.parametrize(("add", "kind"), [(DO_DEVICE_INITIALIZING, 0x243), (0, 0x23F)])
def test_flags_that_add_device_leaves(plug, add: int, kind: int) -> None:
    function = Function(flags=DO_POWER_PAGABLE if kind == 0x243 else 0)

    def attach(DriverObject, PhysicalDeviceObject) -> int:
        PhysicalDeviceObject.Flags |= DO_POWER_PAGABLE
        function.attach(DriverObject, PhysicalDeviceObject)
        function.fdo.Flags |= add
        return STATUS_SUCCESS

    function.add = attach
    assert crash(plug, function) == (0xC9, kind)


@pytest.mark.parametrize(
    ("flags", "kind_of_device", "kind"),
    [(0, FILE_DEVICE_UNKNOWN, 0x244), (DO_BUFFERED_IO, FILE_DEVICE_DISK, 0x246)],
)
def test_an_upper_filter_takes_over_what_is_below(
    ntsim_machine, flags: int, kind_of_device: int, kind: int
) -> None:
    upper = Function(flags=DO_POWER_PAGABLE | flags)

    def attach(DriverObject, PhysicalDeviceObject) -> int:
        upper.attach(DriverObject, PhysicalDeviceObject)
        upper.fdo.DeviceType = kind_of_device
        return STATUS_SUCCESS

    upper.add = attach
    function = Function(flags=DO_POWER_PAGABLE | DO_BUFFERED_IO)
    assert crash_of_stack(ntsim_machine, function, upper) == (0xC9, kind)


def crash_of_stack(ntsim_machine, function: Function, upper: Function) -> tuple[int, ...]:
    """What plugging in a device with a function driver and an upper filter ends in."""
    machine = ntsim_machine(**IO)
    drivers = []
    for name, each in (("function", function), ("upper", upper)):

        def DriverEntry(DriverObject, RegistryPath, each=each):
            return each.entry(DriverObject, RegistryPath)

        drivers.append(machine.load_driver(DriverEntry, name=f"{name}.sys"))
    with pytest.raises(BugCheck) as caught:
        machine.plug("ROOT\\THING", drivers[0], upper_filters=(drivers[1],))
    return caught.value.code, caught.value.parameters[0]


# Removal


@pytest.mark.parametrize(("detach", "kind"), [(False, 0x21D), (True, 0x21E)])
def test_a_device_that_stays_after_its_removal(plug, detach: bool, kind: int) -> None:
    function = Function()

    def remove(DeviceObject, Irp) -> int:
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoCopyCurrentIrpStackLocationToNext(Irp)
        IoCallDriver(function.below, Irp)
        if detach:
            IoDetachDevice(function.below)
        return STATUS_SUCCESS

    whole = function.pnp
    function.pnp = dispatch(whole, IRP_MN_REMOVE_DEVICE, remove)
    assert crash(plug, function, lambda made: made.device.remove()) == (0xC9, kind)


def dispatch(whole, minor: int, other):
    """The function driver's PnP routine with another answer to one minor function."""

    def routine(DeviceObject, Irp) -> int:
        if IoGetCurrentIrpStackLocation(Irp).MinorFunction == minor:
            return other(DeviceObject, Irp)
        return whole(DeviceObject, Irp)

    return routine


@pytest.mark.parametrize(("delete", "kind"), [(False, 0x241), (True, 0x242)])
def test_a_device_that_goes_at_its_surprise_removal(plug, delete: bool, kind: int) -> None:
    function = Function()

    def pulled(DeviceObject, Irp) -> int:
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoSkipCurrentIrpStackLocation(Irp)
        status = IoCallDriver(function.below, Irp)
        IoDetachDevice(function.below)
        if delete:
            IoDeleteDevice(DeviceObject)
        return status

    function.pnp = dispatch(function.pnp, IRP_MN_SURPRISE_REMOVAL, pulled)
    assert crash(plug, function, lambda made: made.device.surprise_remove()) == (0xC9, kind)


@pytest.mark.parametrize(
    ("minor", "status", "kind"),
    [
        (IRP_MN_REMOVE_DEVICE, STATUS_UNSUCCESSFUL, 0x306),
        (IRP_MN_STOP_DEVICE, STATUS_SUCCESS, 0x22E),
        (IRP_MN_QUERY_CAPABILITIES, STATUS_NOT_SUPPORTED, 0x22F),
    ],
)
def test_pnp_irps_completed_instead_of_passed_down(plug, minor, status, kind) -> None:
    function = Function({minor: lambda device, irp: status})

    def act(made) -> None:
        made.device.stop()
        made.device.remove()

    assert crash(plug, function, act) == (0xC9, kind)


@pytest.mark.parametrize(
    ("status", "kind"), [(STATUS_SUCCESS, 0x231), (STATUS_NOT_SUPPORTED, 0x232)]
)
def test_power_irps_completed_instead_of_passed_down(plug, status, kind) -> None:
    function = Function()

    def power(DeviceObject, Irp) -> int:
        Irp.IoStatus.Status = status
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return status

    function.power = power
    assert crash(plug, function, lambda made: made.machine.sleep()) == (0xC9, kind)


# Sending


def test_a_status_that_becomes_not_supported_on_the_way(ntsim_machine) -> None:
    function, upper = Function(), Function()

    def start(DeviceObject, Irp) -> int:
        Irp.IoStatus.Status = STATUS_NOT_SUPPORTED
        IoSkipCurrentIrpStackLocation(Irp)
        return IoCallDriver(function.below, Irp)

    function.pnp = dispatch(function.pnp, IRP_MN_START_DEVICE, start)
    assert crash_of_stack(ntsim_machine, function, upper) == (0xC9, 0x216)


def test_a_location_marked_pending_and_skipped(plug) -> None:
    function = Function()

    def start(DeviceObject, Irp) -> int:
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoMarkIrpPending(Irp)
        IoSkipCurrentIrpStackLocation(Irp)
        IoCallDriver(function.below, Irp)
        return STATUS_PENDING

    function.pnp = dispatch(function.pnp, IRP_MN_START_DEVICE, start)
    assert crash(plug, function) == (0xC9, 0x206)


def test_a_location_copied_by_hand_with_its_completion_routine(ntsim_machine) -> None:
    function, upper = Function(), Function()

    def above(DeviceObject, Irp) -> int:
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoCopyCurrentIrpStackLocationToNext(Irp)
        IoSetCompletionRoutine(Irp, completion, NULL, TRUE, TRUE, TRUE)
        return IoCallDriver(upper.below, Irp)

    def completion(DeviceObject, Irp, Context) -> int:
        return STATUS_SUCCESS

    def copies(DeviceObject, Irp) -> int:
        here, there = IoGetCurrentIrpStackLocation(Irp), IoGetNextIrpStackLocation(Irp)
        RtlCopyMemory(there, here, IO_STACK_LOCATION.size)
        return IoCallDriver(function.below, Irp)

    upper.pnp = dispatch(upper.pnp, IRP_MN_START_DEVICE, above)
    function.pnp = dispatch(function.pnp, IRP_MN_START_DEVICE, copies)
    assert crash_of_stack(ntsim_machine, function, upper) == (0xC9, 0x207)


def crash_when_sending(plug, minor: int, capabilities=None, level: int = 0) -> tuple[int, ...]:
    """What ends a driver that sends a PnP IRP of its own while it is started."""
    function = Function()

    def start(DeviceObject, Irp) -> int:
        own = IoAllocateIrp(4, FALSE)
        own.IoStatus.Status = STATUS_NOT_SUPPORTED
        location = IoGetNextIrpStackLocation(own)
        location.MajorFunction, location.MinorFunction = IRP_MJ_PNP, minor
        if capabilities is not None:
            asked = DEVICE_CAPABILITIES()
            for name, value in capabilities.items():
                setattr(asked, name, value)
            location.Parameters.DeviceCapabilities.Capabilities = asked
        KeRaiseIrql(level)
        return IoCallDriver(function.below, own)

    function.pnp = dispatch(function.pnp, IRP_MN_START_DEVICE, start)
    return crash(plug, function)


def test_pnp_irps_that_only_the_system_sends(plug) -> None:
    assert crash_when_sending(plug, IRP_MN_START_DEVICE) == (0xC9, 0x237)


def test_pnp_irps_are_sent_at_passive_level(plug) -> None:
    found = crash_when_sending(plug, IRP_MN_QUERY_ID, level=DISPATCH_LEVEL)
    assert found == (0xC9, 0x23A)


RIGHT = {"Version": 1, "Size": 0x40, "Address": 0xFFFFFFFF, "UINumber": 0xFFFFFFFF}


@pytest.mark.parametrize(
    ("missing", "kind"),
    [("Version", 0x233), ("Size", 0x234), ("Address", 0x235), ("UINumber", 0x236)],
)
def test_capabilities_that_are_not_initialized(plug, missing: str, kind: int) -> None:
    asked = RIGHT | {missing: 0}
    assert crash_when_sending(plug, IRP_MN_QUERY_CAPABILITIES, asked) == (0xC9, kind)


def test_an_irp_that_may_not_fail(plug) -> None:
    function = Function({IRP_MN_STOP_DEVICE: lambda DeviceObject, Irp: STATUS_UNSUCCESSFUL})
    with pytest.raises(BugCheck) as caught:
        plug(function, options=IO).device.stop()
    assert (caught.value.code, *caught.value.parameters) == (0xC9, 0x247, 0, 0, 0)
