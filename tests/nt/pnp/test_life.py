"""A device's life: plugged in, started, stopped, removed, pulled out.

Source: WDK "Adding a PnP Device to a Running System", "Removing a Device", IRP_MN_* pages; Wine's
ntoskrnl driver_pnp.c for capabilities, resources and surprise removal.
"""

import pytest

from ntsim.errors import ConfigurationError
from ntsim.wdm import *

from .conftest import Function


def test_the_irps_of_a_new_device_in_order(plug) -> None:
    made = plug()
    assert made.seen() == [
        "AddDevice",
        "QUERY_RESOURCES",
        "QUERY_RESOURCE_REQUIREMENTS",
        "FILTER_RESOURCE_REQUIREMENTS",
        "START_DEVICE",
        "QUERY_CAPABILITIES",
        "QUERY_PNP_DEVICE_STATE",
        "QUERY_DEVICE_RELATIONS",
    ]
    assert made.device.state == "Started"
    assert made.device.instance_path == "ROOT\\THING\\0000"


def test_pnp_irps_come_at_passive_level_with_status_not_supported(plug) -> None:
    made = plug()
    made.device.remove()
    assert made.function.levels == {(0, STATUS_NOT_SUPPORTED)}


def test_orderly_removal_asks_first_and_unloads_the_driver_at_the_end(plug) -> None:
    made = plug()
    made.seen()
    assert made.device.remove() == STATUS_SUCCESS
    assert made.seen() == ["QUERY_REMOVE_DEVICE", "REMOVE_DEVICE", "Unload"]
    assert made.device.state == "Removed"
    assert made.driver.unloaded


def test_a_veto_of_removal_sends_the_cancel_irp_and_the_device_lives(plug) -> None:
    veto = {IRP_MN_QUERY_REMOVE_DEVICE: lambda device, irp: STATUS_DEVICE_BUSY}
    made = plug(Function(veto))
    made.seen()
    assert made.device.remove() == STATUS_DEVICE_BUSY
    assert made.seen() == ["QUERY_REMOVE_DEVICE", "CANCEL_REMOVE_DEVICE"]
    assert made.device.state == "Started"


def test_stop_and_start_again_keep_the_stack(plug) -> None:
    made = plug()
    made.seen()
    assert made.device.stop() == STATUS_SUCCESS
    assert made.device.state == "Stopped"
    assert made.device.start() == STATUS_SUCCESS
    assert made.seen() == [
        "QUERY_STOP_DEVICE",
        "STOP_DEVICE",
        "START_DEVICE",
        "QUERY_CAPABILITIES",
        "QUERY_PNP_DEVICE_STATE",
        "QUERY_DEVICE_RELATIONS",
    ]


def test_a_veto_of_stopping_is_followed_by_the_cancel_irp(plug) -> None:
    veto = {IRP_MN_QUERY_STOP_DEVICE: lambda device, irp: STATUS_UNSUCCESSFUL}
    made = plug(Function(veto))
    made.seen()
    assert made.device.stop() == STATUS_UNSUCCESSFUL
    assert made.seen() == ["QUERY_STOP_DEVICE", "CANCEL_STOP_DEVICE"]
    assert made.device.state == "Started"


def test_pulled_out_a_device_gets_surprise_removal_then_removal_and_no_query(plug) -> None:
    made = plug()
    made.seen()
    made.device.surprise_remove()
    assert made.seen() == ["SURPRISE_REMOVAL", "REMOVE_DEVICE", "Unload"]
    assert made.device.state == "Deleted"
    with pytest.raises(ConfigurationError, match="gone"):
        made.device.stop()


def test_a_failed_start_removes_the_stack_and_is_problem_10(plug) -> None:
    fail = {IRP_MN_START_DEVICE: lambda device, irp: STATUS_DEVICE_CONFIGURATION_ERROR}
    made = plug(Function(fail))
    assert made.seen()[-3:] == ["START_DEVICE", "REMOVE_DEVICE", "Unload"]
    assert made.device.problem == 10


def test_a_failed_add_device_is_problem_31(plug) -> None:
    made = plug(Function(add=lambda driver, pdo: STATUS_INSUFFICIENT_RESOURCES))
    assert made.seen() == ["AddDevice", "Unload"]
    assert made.device.problem == 31


def test_without_a_driver_the_device_waits_and_binds_later(ntsim_machine) -> None:
    machine = ntsim_machine()
    device = machine.plug("ROOT\\THING")
    assert (device.state, device.problem) == ("Initialized", 1)
    function = Function()

    def DriverEntry(DriverObject, RegistryPath):
        return function.entry(DriverObject, RegistryPath)

    machine.bind("ROOT\\THING", machine.load_driver(DriverEntry, name="late.sys"))
    assert (device.state, device.problem) == ("Started", 0)


def test_a_driver_without_add_device_cannot_be_bound(ntsim_machine) -> None:
    machine = ntsim_machine()
    legacy = machine.load_driver(lambda d, r: STATUS_SUCCESS, name="old.sys")
    with pytest.raises(ConfigurationError, match="AddDevice"):
        machine.plug("ROOT\\THING", legacy)


def test_capabilities_start_empty_and_the_bus_fills_in_the_states(plug) -> None:
    notes = []

    def look(device, irp) -> None:
        caps = cast(
            IoGetCurrentIrpStackLocation(irp).Parameters.DeviceCapabilities.Capabilities,
            DEVICE_CAPABILITIES,
        )
        notes.append((caps.Size, caps.Version, caps.Flags, caps.Address, caps.UINumber))

    plug(Function({IRP_MN_QUERY_CAPABILITIES: look}))
    assert notes == [(0x40, 1, 0, 0xFFFFFFFF, 0xFFFFFFFF)]


def test_start_brings_translated_resources(plug) -> None:
    notes = []

    def look(device, irp) -> None:
        start = IoGetCurrentIrpStackLocation(irp).Parameters.StartDevice
        for address in (start.AllocatedResources, start.AllocatedResourcesTranslated):
            found = cast(address, CM_RESOURCE_LIST)
            partial = found.List[0].PartialResourceList
            first = partial.PartialDescriptors
            notes.append(
                [
                    found.Count,
                    (first[0].Type, first[0].u.Port.Start.QuadPart, first[0].u.Port.Length),
                    (first[1].Type, first[1].u.Interrupt.Level, first[1].u.Interrupt.Vector),
                    first[1].u.Interrupt.Affinity,
                ]
            )

    function = Function({IRP_MN_START_DEVICE: look})
    plug(function, {"processors": 2}, ports=[(0x300, 8)], interrupts=(7,))
    assert notes == [
        [1, (CmResourceTypePort, 0x300, 8), (CmResourceTypeInterrupt, 7, 7), 3],
        [1, (CmResourceTypePort, 0x300, 8), (CmResourceTypeInterrupt, 7, 0x72), 3],
    ]


def test_a_device_without_resources_starts_with_null(plug) -> None:
    notes = []

    def look(device, irp) -> None:
        start = IoGetCurrentIrpStackLocation(irp).Parameters.StartDevice
        notes.append((start.AllocatedResources, start.AllocatedResourcesTranslated))

    plug(Function({IRP_MN_START_DEVICE: look}))
    assert notes == [(0, 0)]


def test_a_driver_that_stays_attached_after_removal_is_a_finding(plug) -> None:
    function = Function({IRP_MN_REMOVE_DEVICE: lambda device, irp: STATUS_SUCCESS})
    made = plug(function)
    made.device.remove()
    assert [each.rule for each in made.machine.findings] == ["device-left-attached"]


def test_the_device_node_is_in_memory(plug) -> None:
    made = plug()
    nt = made.machine.nt
    pdo = nt.io.device_at(made.device.pdo)
    node = cast_node(nt, pdo)
    assert node.PhysicalDeviceObject == pdo
    assert node.State == 0x308
    assert node.StateHistory[0] == 0x301
    assert nt.mmu.read(node.ServiceName.Buffer, 16).decode("utf-16-le") == "function"
    assert node.Parent.Child == node


def cast_node(nt, pdo):
    from ntsim.abi.pnp import DEVICE_NODE

    return DEVICE_NODE.at(nt.mmu, pdo.DeviceObjectExtension.DeviceNode)


def test_removal_waits_for_the_holders_of_the_remove_lock(plug) -> None:
    """IoReleaseRemoveLockAndWait in IRP_MN_REMOVE_DEVICE. Source: WDK "Using Remove Locks"."""
    order, blocks = [], []

    def lock():
        return cast(blocks[0], PIO_REMOVE_LOCK)

    def holder(Context) -> None:
        interval = LARGE_INTEGER()
        interval.QuadPart = -10_000_000
        KeDelayExecutionThread(KernelMode, FALSE, interval)
        order.append("released")
        IoReleaseRemoveLock(lock(), 2)

    def start(DeviceObject, Irp) -> None:
        blocks.append(ExAllocatePoolWithTag(NonPagedPool, IO_REMOVE_LOCK.size, 0x74736554))
        IoInitializeRemoveLock(lock(), 0, 0, 0)

    def query(DeviceObject, Irp) -> None:
        IoAcquireRemoveLock(lock(), 2)
        _, thread = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, holder, NULL)
        ZwClose(thread)

    def remove(DeviceObject, Irp) -> None:
        IoAcquireRemoveLock(lock(), Irp)
        order.append("waits")
        IoReleaseRemoveLockAndWait(lock(), Irp)
        order.append("removed")
        order.append(IoAcquireRemoveLock(lock(), 3))

    hooks = {
        IRP_MN_START_DEVICE: start, IRP_MN_QUERY_REMOVE_DEVICE: query, IRP_MN_REMOVE_DEVICE: remove
    }  # fmt: skip
    made = plug(Function(hooks))
    assert made.device.remove() == STATUS_SUCCESS
    assert order == ["waits", "released", "removed", STATUS_DELETE_PENDING]


def test_filters_sit_below_and_above_the_function_driver(ntsim_machine) -> None:
    machine, order = ntsim_machine(), []

    def load(name: str):
        function = Function()

        def add(DriverObject, Pdo) -> int:
            order.append(name)
            return function.attach(DriverObject, Pdo)

        function.add = add

        def DriverEntry(DriverObject, RegistryPath):
            return function.entry(DriverObject, RegistryPath)

        return machine.load_driver(DriverEntry, name=f"{name}.sys"), function

    lower, function, upper = load("lower"), load("function"), load("upper")
    device = machine.plug(
        "ROOT\\THING", function[0], lower_filters=(lower[0],), upper_filters=(upper[0],)
    )
    assert order == ["lower", "function", "upper"]
    assert upper[1].below == function[1].fdo
    assert function[1].below == lower[1].fdo
    assert int(lower[1].below) == device.pdo
    assert device.remove() == STATUS_SUCCESS
    assert all(each[0].unloaded for each in (lower, function, upper))
